"""Who the phantoms are: patients, the exposures taken of them, and their findings, drawn from (seed, index) alone."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

PATIENT, STUDY, NOISE, REPORT, HEADER = range(5)  # independent random streams
AP_SHARE = 0.2
FINDING_SHARES = {
    "normal": 0.33,
    "pleural effusion": 0.24,
    "cardiomegaly": 0.09,
    "consolidation": 0.09,
    "nodule": 0.06,
    "pneumothorax": 0.06,
    "atelectasis": 0.05,
    "edema": 0.04,
    "pacemaker": 0.04,
}
NAMES = tuple(name for name in FINDING_SHARES if name != "normal")
SECOND_FINDING = 0.2  # of the studies that have one
EXTENTS = {
    "pleural effusion": {"small": (0.14, 0.24), "moderate": (0.42, 0.56), "large": (0.78, 1.0)},
    "cardiomegaly": {"mild": (0.20, 0.25), "moderate": (0.32, 0.39), "severe": (0.48, 0.58)},
    "consolidation": {"small": (0.0, 0.25), "moderate": (0.35, 0.6), "large": (0.75, 1.0)},
    "pneumothorax": {"small": (0.05, 0.25), "moderate": (0.4, 0.6), "large": (0.75, 1.0)},
    "atelectasis": {"mild": (0.0, 0.2), "moderate": (0.4, 0.6), "severe": (0.8, 1.0)},
    "edema": {"mild": (0.15, 0.3), "moderate": (0.45, 0.6), "severe": (0.8, 1.0)},
}
# What fills or moves a lung: two of them in one lung would hide each other.
IN_ONE_LUNG = frozenset({"pleural effusion", "consolidation", "nodule", "pneumothorax", "atelectasis"})
# Edema greys both lungs, which would hide these.
HIDDEN_BY_EDEMA = IN_ONE_LUNG - {"pleural effusion"}

Sex = Literal["female", "male"]
Projection = Literal["PA", "AP"]


@dataclass(frozen=True)
class Anatomy:
    """One patient: what all of that patient's studies share. Lengths in image units, 19 cm each."""

    sex: Sex
    age: int  # years
    width: float  # factor on the thorax, 1 is typical
    thickness: float  # half depth of the trunk
    wall: float  # chest wall lateral to the lungs
    heart: float  # factor on the heart
    apex_angle: float  # of the heart's long axis below the horizontal, radians
    aorta: float  # factor on the arch, 1 is typical of 50 years
    lung_top: float  # y of the lung apices
    dome: float  # y of the right diaphragm dome at full inspiration
    dome_difference: float  # how much lower the left dome is
    lung_shape: float  # superellipse exponent
    bone: float  # factor on the contrast of bone
    rib_spacing: float
    rib_phase: float
    clavicle_tilt: float
    vessel_phase: float
    breast: float  # size, 0 for none
    bubble: float  # half width of the gas in the stomach


@dataclass(frozen=True)
class Position:
    """One exposure: how the patient stood and how the picture was made."""

    view: Projection
    shift_x: float
    shift_y: float
    rotation: float  # in the plane of the picture, radians
    turn: float  # about the long axis, as a sine; above 0 what lies in front moves to image right
    scale: float
    inspiration: float  # 1 is full; the dome rises by 0.1 at 0
    heart_magnification: float  # 1 for PA
    exposure: float  # attenuation at 63 % grey
    gamma: float
    quanta: float  # per pixel where nothing absorbs
    scatter: float  # share of scattered radiation behind nothing


@dataclass(frozen=True)
class Finding:
    """One finding as it is drawn; `x` and `y` locate it in the lung (x counted from the midline to the side)."""

    name: str
    side: str | None
    severity: str | None
    extent: float  # 0–1, what severity means on the picture
    x: float = 0.0
    y: float = 0.0
    zone: str | None = None

    @property
    def diameter_mm(self) -> float:
        """Diameter of a nodule of this extent, 19 cm to the image unit."""
        return 2 * 190 * nodule_radius(self.extent)


def nodule_radius(extent: float) -> float:
    """Radius in image units: 10 to 17 mm.

    >>> round(190 * nodule_radius(0.0), 1), round(190 * nodule_radius(1.0), 1)
    (10.4, 17.1)
    """
    return 0.055 + 0.035 * extent


def patient_of(index: int) -> int:
    """Patient of a study: of each two patients in a row the first has two studies and the second one.

    >>> [patient_of(index) for index in range(7)]
    [0, 0, 1, 2, 2, 3, 4]
    """
    block, place = divmod(index, 3)
    return 2 * block + place // 2


def first_study(patient: int) -> int:
    """Index of a patient's first study, the inverse of `patient_of`.

    >>> [first_study(patient) for patient in range(5)]
    [0, 2, 3, 5, 6]
    """
    return 3 * (patient // 2) + 2 * (patient % 2)


def draw_anatomy(seed: int, patient: int) -> Anatomy:
    """One patient, the same for the same arguments."""
    generator = np.random.default_rng([seed, PATIENT, patient])
    uniform = generator.uniform
    sex: Sex = "female" if generator.random() < 0.5 else "male"
    age = int(generator.integers(18, 91))
    years = (age - 50) / 40  # -0.8 to 1
    female = sex == "female"
    return Anatomy(
        sex=sex,
        age=age,
        width=uniform(0.91, 1.00) if female else uniform(0.97, 1.06),
        thickness=uniform(0.50, 0.60),
        wall=uniform(0.06, 0.16),
        heart=uniform(0.92, 1.06) * (1 + 0.02 * years),
        apex_angle=uniform(0.45, 0.75),
        aorta=1 + 0.22 * years + uniform(-0.08, 0.08),
        lung_top=uniform(-0.80, -0.70),
        dome=uniform(0.44, 0.54),
        dome_difference=uniform(0.05, 0.09),
        lung_shape=uniform(2.1, 2.7),
        bone=(0.95 if female else 1.05) - 0.22 * years + uniform(-0.05, 0.05),
        rib_spacing=uniform(0.165, 0.195),
        rib_phase=uniform(0, 1),
        clavicle_tilt=uniform(0.0, 0.25),
        vessel_phase=uniform(0, 2 * np.pi),
        breast=uniform(0.7, 1.3) if female else 0.0,
        bubble=uniform(0.08, 0.14),
    )


def draw_position(seed: int, index: int) -> Position:
    """The exposure of one study. A portable AP picture: larger heart, shallow breath, more scatter, fewer quanta."""
    generator = np.random.default_rng([seed, STUDY, index, 1])
    uniform = generator.uniform
    anterior = generator.random() < AP_SHARE
    return Position(
        view="AP" if anterior else "PA",
        shift_x=uniform(-0.04, 0.04),
        shift_y=uniform(-0.04, 0.04),
        rotation=uniform(-0.04, 0.04),
        turn=uniform(-0.08, 0.08) if anterior else uniform(-0.04, 0.04),
        scale=uniform(0.95, 1.04),
        inspiration=uniform(0.2, 0.6) if anterior else uniform(0.7, 1.0),
        heart_magnification=uniform(1.08, 1.13) if anterior else 1.0,
        exposure=uniform(0.85, 1.05),
        gamma=uniform(1.25, 1.55),
        quanta=uniform(2500, 5000) if anterior else uniform(4000, 12000),
        scatter=uniform(0.04, 0.07) if anterior else uniform(0.01, 0.04),
    )


def draw_findings(seed: int, index: int) -> list[Finding]:
    """Findings of one study, none for a normal one, in the order in which a report names them."""
    generator = np.random.default_rng([seed, STUDY, index, 0])
    first = str(generator.choice(list(FINDING_SHARES), p=list(FINDING_SHARES.values())))
    if first == "normal":
        return []
    findings = [_finding(first, generator, side=None)]
    if generator.random() < SECOND_FINDING:
        second = str(generator.choice([name for name in NAMES if _go_together(first, name)]))
        # The text would no longer be true of the picture if one hid the other.
        taken = findings[0].side if {first, second} <= IN_ONE_LUNG else None
        findings.append(_finding(second, generator, side={"right": "left", "left": "right", None: None}[taken]))
    return sorted(findings, key=lambda finding: NAMES.index(finding.name))


def _go_together(first: str, second: str) -> bool:
    pair = {first, second}
    return len(pair) == 2 and not ("edema" in pair and pair & HIDDEN_BY_EDEMA)


def _finding(name: str, generator: np.random.Generator, side: str | None) -> Finding:
    """Draw one finding; `side` None leaves the side to chance."""
    uniform = generator.uniform
    if name in ("cardiomegaly", "edema"):
        return Finding(name, None, *_severity(name, generator))
    if name == "pacemaker":
        side = str(generator.choice(["right", "left"], p=[0.15, 0.85]))
        return Finding(name, side, None, uniform(0, 1), uniform(0.47, 0.54), uniform(-0.62, -0.54))
    side = side or str(generator.choice(["right", "left"]))
    if name == "nodule":
        # Lateral of the heart and the hilum, above the dome.
        x, y = uniform(0.40, 0.60), uniform(-0.42, 0.15)
        return Finding(name, side, None, uniform(0, 1), x, y, "upper" if y < -0.13 else "lower")
    severity, extent = _severity(name, generator)
    if name == "consolidation":
        zone = str(generator.choice(["upper", "lower"]))
        x, y = (
            (uniform(0.36, 0.48), uniform(-0.40, -0.28))
            if zone == "upper"
            else (uniform(0.40, 0.52), uniform(0.16, 0.26))
        )
        return Finding(name, side, severity, extent, x, y, zone)
    if name == "atelectasis":  # y counts upwards from the dome
        return Finding(name, side, severity, extent, uniform(0.36, 0.46), uniform(0.10, 0.18), "base")
    return Finding(name, side, severity, extent)


def _severity(name: str, generator: np.random.Generator) -> tuple[str, float]:
    severity = str(generator.choice(list(EXTENTS[name])))
    return severity, generator.uniform(*EXTENTS[name][severity])
