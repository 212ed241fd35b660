"""Several collections read as one."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxr_ldm.data.prepared.manifest import MOST_WEIGHT, Counting, Reader, Record, Rejected
from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Positive


class JoinedReader:
    """The records of several readers one after the other.

    Ids are prefixed by the reader's name, so that they stay unique and no two collections share a patient by chance;
    the name is also the records' source.

    Args:
        readers: name → reader.
        patients: name → name of the reader whose people these are too: one patient id in both is one person.
        weights: name → how often training draws an image of this reader in a pass; 1 where none is given. Validation
            and test hold each image once.

    Raises:
        UserError: `patients` or `weights` name a reader that is not there, or a weight is not above 0.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        patients: Mapping[str, str] | None = None,
        weights: Mapping[str, Positive] | None = None,
    ):
        self.readers, self.patients, self.weights = dict(readers), dict(patients or {}), dict(weights or {})
        for key, names in (("patients", [*self.patients, *self.patients.values()]), ("weights", [*self.weights])):
            unknown = sorted(set(names) - self.readers.keys())
            if unknown:
                raise UserError(f"data.reader.{key} names {unknown[0]!r}; the readers are {', '.join(self.readers)}.")
        for name, weight in self.weights.items():
            if not 0 < weight <= MOST_WEIGHT:
                raise UserError(f"data.reader.weights.{name}={weight} must be above 0 and at most {MOST_WEIGHT}.")

    def settings(self) -> dict[str, Any]:
        """Settings of every reader by its name, and what was given besides."""
        own = {"patients": self.patients, "weights": self.weights}
        readers = {name: reader.settings() for name, reader in self.readers.items()}
        return {"reader": "joined", "readers": readers} | {key: value for key, value in own.items() if value}

    def steps(self) -> dict[str, Any]:
        """Steps of every reader that has any, by its name."""
        steps = {name: reader.steps() for name, reader in self.readers.items() if isinstance(reader, Counting)}
        return {name: counts for name, counts in steps.items() if counts}

    def files(self) -> list[Path]:
        """The raw files of every reader."""
        return [path for reader in self.readers.values() for path in reader.files()]

    def records(self) -> Iterator[Record | Rejected]:
        """The records of every reader in the order given."""
        for name, reader in self.readers.items():
            for record in reader.records():
                image_id = f"{name}/{record.image_id}"
                if isinstance(record, Rejected):
                    yield replace(record, image_id=image_id)
                    continue
                yield replace(
                    record,
                    image_id=image_id,
                    study_id=f"{name}/{record.study_id}",
                    patient_id=f"{self.patients.get(name, name)}/{record.patient_id}",
                    source=self.patients.get(name, name),
                    weight=record.weight * self.weights.get(name, 1.0),
                )
