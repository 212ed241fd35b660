"""Kinds of values, as annotations: what a parameter takes is said once, where it is declared.

A plain call ignores them; a command checks its settings by them before anything heavy (cxr_ldm.commands.checking).
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval, Len, Predicate


def fits_a_path(path: str | Path) -> bool:
    """No file system holds a name of more than 255 bytes, or a path of none.

    >>> fits_a_path("a/b"), fits_a_path(""), fits_a_path("a/" + "b" * 256)
    (True, False, False)
    """
    text = str(path)
    return bool(text) and "\0" not in text and all(len(part.encode()) <= 255 for part in text.split(os.sep))


Count = Annotated[int, Interval(ge=1, le=10**9)]
Several = Annotated[int, Interval(ge=2, le=10**9)]  # of which a spread can be taken
Whole = Annotated[int, Interval(ge=0, le=10**9)]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]
Pixels = Annotated[int, Interval(ge=8, le=4096)]
Share = Annotated[float, Interval(ge=0, le=1)]
Proper = Annotated[float, Interval(gt=0, lt=1)]  # a share that is neither none nor all
Positive = Annotated[float, Interval(gt=0, le=1e6)]
NotNegative = Annotated[float, Interval(ge=0, le=1e6)]
Real = Annotated[float, Interval(ge=-1e6, le=1e6)]
Word = Annotated[str, Len(1, 255)]
Place = Annotated[str | Path, Predicate(fits_a_path)]
Text = Annotated[str, Len(1, 10_000)]
Precision = Literal["32", "bf16"]  # number format of networks in sampling
