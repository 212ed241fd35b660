"""Several collections read as one."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxr_ldm.data.manifest import Counting, Reader, Record, Rejected


class JoinedReader:
    """The records of several readers one after the other.

    Ids are prefixed by the reader's name, so that they stay unique and no two collections share a patient by chance;
    the name is also the records' source.

    Args:
        readers: name → reader.
    """

    def __init__(self, readers: Mapping[str, Reader]):
        self.readers = dict(readers)

    def settings(self) -> dict[str, Any]:
        """Settings of every reader by its name."""
        return {"reader": "joined", "readers": {name: reader.settings() for name, reader in self.readers.items()}}

    def steps(self) -> dict[str, Any]:
        """Steps of every reader that counts them, by its name."""
        return {name: reader.steps() for name, reader in self.readers.items() if isinstance(reader, Counting)}

    def files(self) -> list[Path]:
        """The raw files of every reader."""
        return [path for reader in self.readers.values() for path in reader.files()]

    def records(self) -> Iterator[Record | Rejected]:
        """The records of every reader in the order given."""
        for name, reader in self.readers.items():
            for record in reader.records():
                image_id = f"{name}/{record.image_id}"
                if isinstance(record, Rejected):
                    yield Rejected(image_id, record.reason)
                    continue
                study_id, patient_id = f"{name}/{record.study_id}", f"{name}/{record.patient_id}"
                yield replace(record, image_id=image_id, study_id=study_id, patient_id=patient_id, source=name)
