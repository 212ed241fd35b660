"""What a reader of raw files yields: one record for each image, or the reason why there is none."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cxr_ldm.data.pixels.images import Grey
from cxr_ldm.data.prepared.people import Sex, View
from cxr_ldm.data.prepared.splits import Split
from cxr_ldm.errors import UserError

# height and width are those of the original image, before it was resized.
COLUMNS = (
    "image_id",
    "study_id",
    "patient_id",
    "split",
    "view",
    "text",
    "findings",
    "labels",
    "source",
    "height",
    "width",
    "age",
    "sex",
)


MOST_WEIGHT = 1000  # how often a pass of training may draw an image: its order is kept in memory
OUTSIDE = "image path leads out of the collection's folder"


def inside(root: Path, path: Path) -> bool:
    """Whether a path that a table names stays below `root`, by its words: links are the owner's own.

    >>> [inside(Path("a"), Path(path)) for path in ("a/b/../c.png", "a/../c.png", "/c.png")]
    [True, False, False]
    """
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root))


@dataclass(frozen=True)
class Record:
    """One image with its text, not yet read from disk.

    Attributes:
        image_id: unique within the reader.
        study_id: shared by the images of one report.
        patient_id: shared by the images of one person; decides the split.
        view: the projection; None where the source does not say.
        text: what the model is conditioned on.
        labels: classes as the source gives them; an empty list is "none of them", None is unknown.
        findings: ours, each with name, side, severity and certainty; None where nobody has looked.
        source: name of the collection.
        load: returns the picture in standard display (the patient's right at the left of the image, bone bright), as
            uint8 [H, W] or as stored values with their tone; raises UserError naming the file where it cannot be read.
            Picklable, since it runs in another process.
        split: where the source fixes it; None leaves it to a hash of the patient.
        isolate: whether loading may bring the whole process down, as decoders of damaged DICOM files may.
        age: of the patient in years; None where the source does not say.
        sex: of the patient; None where the source does not say.
        path: the image's file; None where it has none of its own.
        weight: how often training draws the image, relative to one with weight 1.
    """

    image_id: str
    study_id: str
    patient_id: str
    view: View | None
    text: str
    labels: list[str] | None
    findings: list[dict[str, Any]] | None
    source: str
    load: Callable[[], Grey]
    split: Split | None = None
    isolate: bool = False
    age: float | None = None
    sex: Sex | None = None
    weight: float = 1.0
    path: Path | None = None


@dataclass(frozen=True)
class Rejected:
    """An image that is left out, and why.

    Attributes:
        reason: one of a few sentences, which are counted.
        detail: what is particular to this image, such as another image's id.
    """

    image_id: str
    reason: str
    detail: str = ""


class Reader(Protocol):
    """A collection of raw files in one published layout."""

    def records(self) -> Iterator[Record | Rejected]:
        """Every image of the collection once, in an order that depends on the files alone.

        Raises:
            UserError: the collection itself (its root, its tables) is missing or unusable.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What decides the result apart from the files, as JSON values."""
        ...

    def files(self) -> list[Path]:
        """The raw files, for the fingerprint by name, size and modification time."""
        ...


@runtime_checkable
class Counting(Protocol):
    """A reader that can tell how it came to its records."""

    def steps(self) -> dict[str, Any]:
        """What each step left over and what was removed from the texts: name → count, nested by group."""
        ...


def require_root(root: Path) -> Path:
    """`root` itself, once it is known to be a folder.

    Raises:
        UserError: it does not exist, or is a file.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root} is not a folder; give the folder that holds the collection.")
    return root
