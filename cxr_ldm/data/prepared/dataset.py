"""A prepared collection as a torch Dataset, for code of one's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from cxr_ldm import artifacts
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.splits import SPLITS, Split
from cxr_ldm.errors import UserError


class PreparedImages(Dataset[Mapping[str, Any]]):
    """Images with their texts.

    Item i is `{"image": float32 [1,size,size] in [-1, 1], "text": str, "image_id": str, "patient_id": str}`, which the
    default collate function of a DataLoader takes; `manifest` has all else that is known.

    Args:
        prepared: the collection.
        split: "train", "val" or "test"; None takes every image.

    Attributes:
        rows: of the collection, int64 [N].
        manifest: a pandas table with a row for each item.
    """

    def __init__(self, prepared: Prepared, split: Split | None = None):
        self.prepared, self.split = prepared, split
        self.rows = np.arange(len(prepared)) if split is None else prepared.rows(split)
        self.manifest = prepared.manifest.iloc[self.rows].reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        row = [self.rows[index]]
        return {
            "image": self.prepared.pixels(row)[0],
            "text": self.prepared.texts(row)[0],
            "image_id": self.prepared.ids(row)[0],
            "patient_id": self.prepared.patients(np.asarray(row))[0],
        }

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {len(self.prepared.rows(split))}" for split in SPLITS)
        of = "all splits" if self.split is None else f"split {self.split}"
        return f"PreparedImages of {self.prepared.name}, {of}: {len(self)} of {self.prepared.size} pixels ({sizes})"


def load_prepared(name: str | Path, split: Split | None = None, outputs: str | Path = "outputs") -> PreparedImages:
    """Open a prepared collection.

    Args:
        name: of the collection below `outputs`, or its folder.
        split: as of `PreparedImages`.

    Raises:
        UserError: there is none of this name, or it is damaged.
    """
    below = Path(outputs) / "prepared"
    found = next((place for place in (Path(name), below / name) if (place / artifacts.RECORD).is_file()), None)
    if found is None:
        there = ", ".join(sorted(path.parent.name for path in below.glob(f"*/{artifacts.RECORD}"))) or "none"
        raise UserError(f"{name} is no prepared folder, and {below} holds {there}.")
    return PreparedImages(Prepared(found), split)
