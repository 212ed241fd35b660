"""A generated chest collection with the truth known: patients, studies, pictures and their reports.

Everything is a function of (seed, index): an image, its findings and its text come from the same drawn parameters, so
the text is true of the picture by construction.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cxr_ldm.data.manifest import Record
from cxr_ldm.data.phantom_anatomy import Anatomy, Finding, Position, draw
from cxr_ldm.data.phantom_report import write_report
from cxr_ldm.errors import UserError

# Changes whenever the pictures or the texts change, so that a prepared folder of an older phantom is not reused.
VERSION = 1
PATIENT, STUDY, NOISE, REPORT = range(4)  # independent random streams
FINDING_SHARES = {
    "normal": 0.35,
    "pleural effusion": 0.25,
    "cardiomegaly": 0.13,
    "consolidation": 0.12,
    "nodule": 0.08,
    "pneumothorax": 0.07,
}
SECOND_FINDING = 0.2  # of the studies that have one
LABELS = {
    "pleural effusion": "Pleural Effusion",
    "cardiomegaly": "Cardiomegaly",
    "consolidation": "Consolidation",
    "nodule": "Nodule",
    "pneumothorax": "Pneumothorax",
}
EXTENTS = {
    "pleural effusion": {"small": (0.14, 0.24), "moderate": (0.42, 0.56), "large": (0.78, 1.0)},
    "cardiomegaly": {"mild": (0.20, 0.25), "moderate": (0.32, 0.39), "severe": (0.48, 0.58)},
    "consolidation": {"small": (0.0, 0.25), "moderate": (0.35, 0.6), "large": (0.75, 1.0)},
    "pneumothorax": {"small": (0.05, 0.25), "moderate": (0.4, 0.6), "large": (0.75, 1.0)},
}


class PhantomReader:
    """Reader of `n` generated studies of size × size pixels; nothing is read from disk.

    Raises:
        UserError: n is below 1, or size is below 16.
    """

    def __init__(self, n: int, size: int, seed: int) -> None:
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
        findings = draw_findings(self.seed, index)
        names = sorted({finding.name for finding in findings}, key=list(LABELS).index)
        study = f"phantom-{self.seed}-{index:06d}"
        return Record(
            image_id=study,
            study_id=study,
            patient_id=f"phantom-{self.seed}-p{patient_of(index):06d}",
            view="PA",
            text=write_report(findings, np.random.default_rng([self.seed, REPORT, index])),
            labels=[LABELS[name] for name in names],
            findings=[
                {"name": finding.name, "side": finding.side, "severity": finding.severity, "certainty": "present"}
                for finding in findings
            ],
            source="phantom",
            load=partial(load_image, self.seed, index, self.size),
        )

    def settings(self) -> dict[str, Any]:
        """What decides the content, for the prepared folder's fingerprint."""
        return {"reader": "phantom", "version": VERSION, "n": self.n, "size": self.size, "seed": self.seed}

    def files(self) -> list[Path]:
        """Raw files: none."""
        return []


def patient_of(index: int) -> int:
    """Patient of a study: of each two patients in a row the first has two studies and the second one.

    >>> [patient_of(index) for index in range(7)]
    [0, 0, 1, 2, 2, 3, 4]
    """
    block, place = divmod(index, 3)
    return 2 * block + place // 2


def load_image(seed: int, index: int, size: int) -> np.ndarray:
    """The picture of one study, uint8 [size, size], standard display."""
    position = _position(np.random.default_rng([seed, STUDY, index, 1]))
    return draw(_anatomy(seed, patient_of(index)), position, draw_findings(seed, index), size, [seed, NOISE, index])


def _anatomy(seed: int, patient: int) -> Anatomy:
    uniform = np.random.default_rng([seed, PATIENT, patient]).uniform
    return Anatomy(
        width=uniform(0.92, 1.05),
        thickness=uniform(0.50, 0.60),
        wall=uniform(0.06, 0.16),
        heart=uniform(0.90, 1.08),
        apex_angle=uniform(0.45, 0.75),
        lung_top=uniform(-0.80, -0.70),
        dome=uniform(0.42, 0.54),
        dome_difference=uniform(0.05, 0.09),
        lung_shape=uniform(2.1, 2.7),
        rib_spacing=uniform(0.165, 0.195),
        rib_phase=uniform(0, 1),
        clavicle_tilt=uniform(0.0, 0.25),
        vessel_phase=uniform(0, 2 * np.pi),
    )


def _position(generator: np.random.Generator) -> Position:
    uniform = generator.uniform
    return Position(
        shift_x=uniform(-0.04, 0.04),
        shift_y=uniform(-0.04, 0.04),
        rotation=uniform(-0.04, 0.04),
        scale=uniform(0.95, 1.04),
        exposure=uniform(0.85, 1.05),
        gamma=uniform(1.25, 1.55),
        noise=uniform(1.5, 3.5),
    )


def draw_findings(seed: int, index: int) -> list[Finding]:
    """Findings of one study, none for a normal one, in the order in which a report names them."""
    generator = np.random.default_rng([seed, STUDY, index, 0])
    first = str(generator.choice(list(FINDING_SHARES), p=list(FINDING_SHARES.values())))
    if first == "normal":
        return []
    findings = [_finding(first, generator, side=None)]
    if generator.random() < SECOND_FINDING:
        second = str(generator.choice([name for name in LABELS if name != first]))
        # Two findings in one lung would hide each other, and the text would no longer be true of the picture.
        taken = findings[0].side
        findings.append(_finding(second, generator, side={"right": "left", "left": "right", None: None}[taken]))
    return sorted(findings, key=lambda finding: list(LABELS).index(finding.name))


def _finding(name: str, generator: np.random.Generator, side: str | None) -> Finding:
    """Draw one finding; `side` None leaves the side to chance."""
    if name == "cardiomegaly":
        severity, extent = _severity(name, generator)
        return Finding(name, None, severity, extent)
    side = side or str(generator.choice(["right", "left"]))
    if name == "nodule":
        # Lateral of the heart and the hilum, above the dome.
        place = generator.uniform(0.40, 0.60), generator.uniform(-0.42, 0.15)
        return Finding(name, side, None, generator.uniform(0, 1), *place)
    severity, extent = _severity(name, generator)
    if name == "consolidation":
        zone = str(generator.choice(["upper", "lower"]))
        x, y = (
            (generator.uniform(0.36, 0.48), generator.uniform(-0.40, -0.28))
            if zone == "upper"
            else (generator.uniform(0.40, 0.52), generator.uniform(0.16, 0.26))
        )
        return Finding(name, side, severity, extent, x, y, zone)
    return Finding(name, side, severity, extent)


def _severity(name: str, generator: np.random.Generator) -> tuple[str, float]:
    severity = str(generator.choice(list(EXTENTS[name])))
    return severity, generator.uniform(*EXTENTS[name][severity])
