"""A prepared collection, opened for reading."""

from collections import Counter
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cxr_ldm import content
from cxr_ldm.artifacts import RECORD, fingerprint, read_record
from cxr_ldm.data.prepared.splits import SPLITS, Split
from cxr_ldm.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import torch

MANIFEST, IMAGES, WEIGHTS = "manifest.parquet", "images.npy", "weights.npy"
DRAWS = "draws.npy"  # of folders prepared by an earlier version: training rows as often as every pass drew them


class Prepared:
    """What `prepare` made: a manifest and one square image for each of its rows, read from disk as they are used.

    Args:
        folder: a complete prepared folder.
        verify: "full" compares all of the content of files above 1 GiB with their checksums, and not a sample.

    Attributes:
        images: uint8 or uint16 [N, size, size], mapped from disk.
        name, kind: as given to `prepare`.
        size: side of the images in pixels.
        fingerprint: of the settings and the raw files; equal for equal content.
        packed: what its images went through on the way here (see `cxr_ldm.data.pack`); None for the original.

    Raises:
        UserError: the folder is not a complete prepared folder, or a file of it is damaged.
    """

    def __init__(self, folder: str | Path, verify: content.Verify = "stat"):
        self.folder = Path(folder)
        advice = "`python -m cxr_ldm.prepare data=…` makes one"
        missing = [name for name in (RECORD, MANIFEST, IMAGES) if not (self.folder / name).is_file()]
        if missing:
            raise UserError(f"{self.folder} is not a complete prepared folder ({missing[0]} is missing); {advice}.")
        record = read_record(self.folder)
        self.advice = f"delete {self.folder}, and {advice}"
        if "files" not in record:
            say_once(f"{self.folder} was made before checksums were kept, so damage in it may go unnoticed.")
        content.check(self.folder, record.get("files", {}), self.advice, verify)
        self.name: str = record["name"]
        self.kind: str = record["kind"]
        self.size: int = record["size"]
        self.fingerprint: str = record["fingerprint"]
        self.packed: dict[str, Any] | None = record.get("packed")
        self.images = content.read_array(self.folder / IMAGES, self.advice, mapped=True)

    @property
    def identity(self) -> str:
        """Of these very rows and pixels, for caches: a packed folder has the original's fingerprint, but fewer rows."""
        return self.fingerprint if self.packed is None else fingerprint([self.fingerprint, self.packed])

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def table(self) -> "pa.Table":
        """The manifest, a row for each image in the order of `images`, by columns: a tenth of its memory in Python."""
        from pyarrow import parquet

        path = self.folder / MANIFEST
        return content.reading(path, lambda: parquet.read_table(path), self.advice)

    @property
    def manifest(self) -> "pd.DataFrame":
        """All of `table` in Python's own objects; None where a value is unknown, lists as lists."""
        import pandas as pd

        # dtype=object: pandas would turn None into NaN, which is true.
        made = pd.DataFrame(self.table.to_pylist(), dtype=object, columns=self.table.column_names)
        return made.astype({"height": "int64", "width": "int64"})

    def column(self, name: str) -> np.ndarray:
        """One column of the manifest, object [N]; None where a value is unknown."""
        # with a None among them, NumPy takes lists of one length for values and not for an axis
        return np.array([*self.table.column(name).to_pylist(), None], dtype=object)[:-1]

    def entry(self, row: int) -> dict[str, Any]:
        """All that the manifest says of one image."""
        return self.table.slice(row, 1).to_pylist()[0]  # type: ignore[no-any-return]

    def rows(self, split: Split) -> np.ndarray:
        """Row numbers of a split, int64, ascending.

        Raises:
            UserError: no such split.
        """
        if split not in SPLITS:
            raise UserError(f"split {split!r} is unknown; use {', '.join(SPLITS)}.")
        return np.flatnonzero(self.column("split") == split)

    def draws(self) -> np.ndarray:
        """Training rows to draw from, int64, each as often as `draw_weights` says."""
        path = self.folder / DRAWS
        return content.read_array(path, self.advice) if path.is_file() else self.rows("train")

    def draw_weights(self, rows: np.ndarray) -> np.ndarray | None:
        """How often one pass of training draws each of `rows`, float64; None where that is once each."""
        path = self.folder / WEIGHTS
        return content.read_array(path, self.advice)[rows] if path.is_file() else None

    def pixels(self, rows: ArrayLike) -> "torch.Tensor":
        """Images of `rows` as float32 [B, 1, size, size] in [-1, 1]."""
        return to_pixels(self.images[np.asarray(rows)])

    def texts(self, rows: ArrayLike) -> list[str]:
        """Texts of `rows`."""
        return self._values("text", rows)

    def ids(self, rows: ArrayLike) -> list[str]:
        """Image ids of `rows`."""
        return self._values("image_id", rows)

    def people(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """View, age and sex of `rows`, None where not known.

        Raises:
            UserError: the folder was made before they were kept.
        """
        if "age" not in self.table.column_names:
            raise UserError(f"{self.folder} holds no age and sex; prepare the collection again.")
        return self.table.select(["view", "age", "sex"]).take(np.asarray(rows)).to_pylist()  # type: ignore[no-any-return]

    def patients(self, rows: np.ndarray) -> list[str]:
        """Patient ids of `rows`."""
        return self._values("patient_id", rows)

    def _values(self, column: str, rows: ArrayLike) -> list[str]:
        return self.table.column(column).take(np.asarray(rows, dtype=np.int64)).to_pylist()  # type: ignore[no-any-return]

    def labels(self, split: str) -> set[str]:
        """All labels of a split's images, as their sources give them."""
        stated = self.column("labels")[self.column("split") == split]
        return {label for labels in stated if labels is not None for label in labels}

    def facts(self) -> dict[str, Any]:
        """What identifies it: name, kind, fingerprint, size, images of each split and of each source; JSON values."""
        images = {split: len(self.rows(split)) for split in SPLITS}
        named = {name: getattr(self, name) for name in ("name", "kind", "fingerprint", "size")}
        return named | {"images": images, "sources": self.sources()}

    def sources(self) -> dict[str, int]:
        """Training images of each collection, by name."""
        return dict(sorted(Counter(self._values("source", self.rows("train"))).items()))


def checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """Of the files of a prepared folder that training reads; `run.json` keeps them under "files"."""
    return content.sums(folder, (name for name in (MANIFEST, IMAGES, WEIGHTS) if (folder / name).is_file()))


@cache
def say_once(line: str) -> None:
    """Print a line that this process has not printed yet."""
    print(line)


def to_pixels(images: np.ndarray) -> "torch.Tensor":
    """uint8 or uint16 [B, H, W] as float32 [B, 1, H, W] in [-1, 1]; black is -1 and the largest value 1."""
    import torch

    middle = np.iinfo(images.dtype).max / 2
    return torch.from_numpy(images).unsqueeze(1).float().div_(middle).sub_(1)
