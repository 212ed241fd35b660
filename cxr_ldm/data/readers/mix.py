"""Several prepared folders as one training set, each with its weight."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.manifest import MOST_WEIGHT, Record, Rejected
from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Positive


class MixReader:
    """The images of prepared folders, with the splits that they have there.

    A person is known by source and patient id, so one who is in two folders must be in one split; where two folders
    disagree (they were prepared with other `splits`), that is refused. An image that is in two folders is kept once.

    Args:
        folders: prepared folders.
        weights: how often an image of each folder is drawn in training, relative to an image with weight 1; validation
            and test hold each image once. None weighs all alike.

    Raises:
        UserError: no folder, as many weights as folders are not there, or a weight is not above 0.
    """

    def __init__(self, folders: Sequence[str | Path], weights: Sequence[Positive] | None = None):
        self.parts = [Prepared(folder) for folder in folders]
        self.weights = [float(weight) for weight in (weights or [1.0] * len(self.parts))]
        if not self.parts:
            raise UserError(
                "data.reader.folders names no prepared folder; give those to mix: data.reader.folders=[A,B]."
            )
        if len(self.weights) != len(self.parts) or not all(0 < weight <= MOST_WEIGHT for weight in self.weights):
            raise UserError(
                f"data.reader.weights={self.weights} must be one number above 0, at most {MOST_WEIGHT}, for each of "
                f"the {len(self.parts)} data.reader.folders."
            )

    def settings(self) -> dict[str, Any]:
        """Which content is mixed, and how."""
        return {"reader": "mix", "parts": [part.identity for part in self.parts], "weights": self.weights}

    def files(self) -> list[Path]:
        """None: the fingerprints of the parts say what they are made from."""
        return []

    def records(self) -> Iterator[Record | Rejected]:
        """Every image of every part, in their order."""
        splits: dict[str, str] = {}
        for part, weight in zip(self.parts, self.weights, strict=True):
            for number, row in enumerate(part.manifest.to_dict("records")):
                patient = f"{row['source']}:{row['patient_id']}"
                if splits.setdefault(patient, row["split"]) != row["split"]:
                    raise UserError(
                        f"{part.folder} has patient {patient} in {row['split']} and another part in {splits[patient]}; "
                        "prepare all parts with the same data.splits."
                    )
                yield Record(
                    image_id=f"{row['source']}:{row['image_id']}",
                    study_id=f"{row['source']}:{row['study_id']}",
                    patient_id=patient,
                    view=row["view"],
                    text=row["text"],
                    labels=row["labels"],
                    findings=row["findings"],
                    source=row["source"],
                    load=partial(load_row, part.folder, number),
                    split=row["split"],
                    age=row.get("age"),
                    sex=row.get("sex"),
                    weight=weight,
                )


def load_row(folder: Path, row: int) -> np.ndarray:
    """One image of a prepared folder, uint8 [size, size]."""
    image = np.array(Prepared(folder).images[row])
    return image if image.dtype == np.uint8 else np.rint(image / 257).astype(np.uint8)
