"""A generated chest collection with the truth known: patients, studies, pictures and their reports.

Everything is a function of (seed, index): an image, its findings, its text and its masks come from the same drawn
parameters, so the text is true of the picture by construction. In order of reading: `phantom_patient` draws who and
what, `phantom_anatomy` and `phantom_findings` are the solids, `phantom_picture` exposes them, `phantom_report` tells
them, and `phantom_files` writes them like the Indiana collection.

    python -m cxr_ldm.data.phantom out=DIR n=10000 size=256 seed=0
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cxr_ldm.data.findings.words import DEVICE
from cxr_ldm.data.phantom.patient import NAMES, REPORT, draw_anatomy, draw_findings, draw_position, patient_of
from cxr_ldm.data.phantom.picture import Study, attenuation, draw, masks, noise_seed, parameters
from cxr_ldm.data.phantom.report import write_report
from cxr_ldm.data.prepared.manifest import Record
from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Count, Seed

# Changes whenever the pictures or the texts change, so that a prepared folder of an older phantom is not reused.
VERSION = 2
LABELS = {name: name.title() for name in NAMES}
# As `read_findings` names what it reads.
READ_AS = {name: name for name in NAMES} | {"pacemaker": DEVICE}


class PhantomReader:
    """Reader of `n` generated studies of size × size pixels; nothing is read from disk.

    Raises:
        UserError: n is below 1, or size is below 16.
    """

    def __init__(self, n: Count, size: Count, seed: Seed) -> None:
        if n < 1:
            raise UserError(f"data.reader.n is {n}; the phantom needs at least 1 study.")
        if size < 16:
            raise UserError(f"data.size is {size}; the phantom shows nothing below 16 pixels.")
        self.n, self.size, self.seed = int(n), int(size), int(seed)

    def records(self) -> Iterator[Record]:
        """One record for each study, in index order."""
        for index in range(self.n):
            yield self.record(index)

    def record(self, index: int) -> Record:
        """Record of one study; the same for the same (seed, index), whatever n is."""
        findings, anatomy = draw_findings(self.seed, index), draw_anatomy(self.seed, patient_of(index))
        study = f"phantom-{self.seed}-{index:06d}"
        return Record(
            image_id=study,
            study_id=study,
            patient_id=f"phantom-{self.seed}-p{patient_of(index):06d}",
            view=draw_position(self.seed, index).view,
            text=write_report(findings, np.random.default_rng([self.seed, REPORT, index])),
            labels=[LABELS[finding.name] for finding in findings],
            findings=[
                {"name": READ_AS[each.name], "side": each.side, "severity": each.severity, "certainty": "present"}
                for each in findings
            ],
            source="phantom",
            load=partial(load_image, self.seed, index, self.size),
            age=float(anatomy.age),
            sex=anatomy.sex,
        )

    def settings(self) -> dict[str, Any]:
        """What decides the content, for the prepared folder's fingerprint."""
        return {"reader": "phantom", "version": VERSION, "n": self.n, "size": self.size, "seed": self.seed}

    def files(self) -> list[Path]:
        """Raw files: none."""
        return []


def study_of(seed: int, index: int) -> Study:
    """All that decides the picture of one study."""
    anatomy = draw_anatomy(seed, patient_of(index))
    return Study(anatomy, draw_position(seed, index), draw_findings(seed, index), noise_seed(seed, index))


def load_image(seed: int, index: int, size: int) -> np.ndarray:
    """The picture of one study, uint8 [size, size], standard display."""
    return np.rint(draw(study_of(seed, index), size)).astype(np.uint8)


def truth(seed: int, index: int, size: int) -> tuple[dict[str, Any], np.ndarray]:
    """What the picture of one study shows, and where.

    Returns:
        patient, exposure and findings as JSON values; and the masks, bool [F, size, size] in the order of
        parameters["findings"], aligned with `load_image` of the same arguments.

    >>> parameters, shapes = truth(seed=0, index=0, size=32)
    >>> parameters["patient"]["age"], len(parameters["findings"]) == len(shapes)
    (55, True)
    """
    study = study_of(seed, index)
    shapes = masks(attenuation(study, size)[1], size)
    return {"seed": seed, "index": index, **parameters(study, shapes)}, shapes
