"""A dataset of one's own: grey squares, bright ones and dark ones."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cxr_ldm.data.prepared.manifest import Record


def square(number: int) -> np.ndarray:
    """uint8 [16, 16]."""
    picture = np.full((16, 16), 190 if number % 2 else 65, dtype=np.uint8)
    picture[0, 0] = number  # identical pictures are kept once
    return picture


class Squares:
    """Reader of n squares, each of a patient of its own."""

    def __init__(self, n: int) -> None:
        self.n = n

    def records(self) -> Iterator[Record]:
        for number in range(self.n):
            name, word = f"square {number}", "bright" if number % 2 else "dark"
            picture = partial(square, number)
            yield Record(name, name, name, None, f"A {word} square.", [word], None, "squares", picture)

    def settings(self) -> dict[str, Any]:
        return {"reader": "squares", "n": self.n}

    def files(self) -> list[Path]:
        return []
