"""The drawn chest: a line-integral model of simple solids, shown as a log-exposure radiograph.

Every solid has a closed-form chord length along the beam (an ellipsoid of half depth c has 2c·sqrt(1 - u² - v²) at
(u, v)); the attenuation of a ray is the sum of chord times contrast. Coordinates: x to image right (the patient's
LEFT), y downwards, both in [-1, 1] over the image; one unit is about 19 cm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

# +1 is the patient's left, which standard display shows at the right of the image.
SIDE_SIGN = {"right": -1.0, "left": 1.0}
LUNG_CONTRAST = 0.80  # of soft tissue, attenuation per unit length; aerated lung keeps the remaining 0.20
AIR_CONTRAST = 0.97


@dataclass(frozen=True)
class Anatomy:
    """One patient: what all of that patient's studies share. Lengths in image units."""

    width: float  # factor on the thorax, 1 is typical
    thickness: float  # half depth of the trunk
    wall: float  # chest wall lateral to the lungs
    heart: float  # factor on the heart
    apex_angle: float  # of the heart's long axis below the horizontal, radians
    lung_top: float  # y of the lung apices
    dome: float  # y of the right diaphragm dome
    dome_difference: float  # how much lower the left dome is
    lung_shape: float  # superellipse exponent
    rib_spacing: float
    rib_phase: float
    clavicle_tilt: float
    vessel_phase: float


@dataclass(frozen=True)
class Position:
    """One exposure: how the patient stood and how the picture was made."""

    shift_x: float
    shift_y: float
    rotation: float  # radians
    scale: float
    exposure: float  # attenuation at 63 % grey
    gamma: float
    noise: float  # standard deviation in grey levels


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


@dataclass(frozen=True)
class Lung:
    """One lung on the pixel grid."""

    chord: np.ndarray  # float32 [H, W], aerated length along the beam
    outline: np.ndarray  # float32 [H, W], 1 on the outline, 0 at the centre
    lateral: np.ndarray  # float32 [H, W], distance from the midline towards this side
    base: float  # y of the dome


def draw(
    anatomy: Anatomy, position: Position, findings: Sequence[Finding], size: int, noise_seed: list[int]
) -> np.ndarray:
    """Radiograph of one study, uint8 [size, size], bone bright, the patient's right at image left."""
    x, y = _grid(position, 2 * size)
    attenuation = _attenuation(anatomy, findings, x, y)
    # The displayed grey follows the logarithm of the exposure, which is the attenuation, through a film-like curve.
    shown = 255 * (1 - np.exp(-((np.maximum(attenuation, 0) / position.exposure) ** position.gamma)))
    shown = cv2.GaussianBlur(shown, (0, 0), 0.6 + 0.003 * size)
    shown = shown.reshape(size, 2, size, 2).mean(axis=(1, 3))
    shown += position.noise * np.random.default_rng(noise_seed).standard_normal(shown.shape, dtype=np.float32)
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


def _grid(position: Position, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Patient coordinates of the pixel centres, two float32 [pixels, pixels]."""
    axis = (np.arange(pixels, dtype=np.float32) + 0.5) * np.float32(2 / pixels) - 1
    column, row = axis[None, :] - np.float32(position.shift_x), axis[:, None] - np.float32(position.shift_y)
    cosine, sine = (np.float32(f(position.rotation) / position.scale) for f in (np.cos, np.sin))
    return cosine * column + sine * row, cosine * row - sine * column


def _attenuation(anatomy: Anatomy, findings: Sequence[Finding], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Line integral for each ray, float32 [H, W]; 1.0 is one unit of soft tissue."""
    by_side = {side: [finding for finding in findings if finding.side == side] for side in SIDE_SIGN}
    centre = _central_organs(anatomy, findings, x, y)
    total = _body(anatomy, x, y) + 0.12 * np.minimum(centre, 1.0)
    inside = np.zeros_like(x)
    for side, sign in SIDE_SIGN.items():
        lung = _lung(anatomy, sign, x, y)
        total -= LUNG_CONTRAST * np.maximum(_fill(lung, by_side[side], y) - centre, 0)
        total += _vessels(anatomy, lung, y)
        total += _lung_findings(lung, by_side[side], y)
        np.maximum(inside, 1 - lung.outline, out=inside)
    return total + _bones(anatomy, inside, x, y) - _airway(x, y)


def _ellipsoid(
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float], axes: tuple[float, float, float], angle: float = 0.0
) -> np.ndarray:
    """Chord length of an ellipsoid with half axes (a, b, c), its first axis turned by `angle` towards +y."""
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    if angle:
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = cosine * dx + sine * dy, cosine * dy - sine * dx
    rest = 1 - (dx * np.float32(1 / axes[0])) ** 2 - (dy * np.float32(1 / axes[1])) ** 2
    return np.float32(2 * axes[2]) * np.sqrt(np.maximum(rest, 0))


def _rise(value: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at 0 to 1 at 1."""
    t = np.clip(value, 0, 1)
    return t * t * (3 - 2 * t)


def _body(anatomy: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Trunk with neck and shoulders: an elliptic cylinder whose half width follows y, thinner above the shoulders."""
    half_width = (0.80 * anatomy.width + anatomy.wall) * (1 + 0.30 * np.exp(-(((y + 0.62) * 3.0) ** 2)))
    depth = 2 * anatomy.thickness * (0.92 + 0.16 * _rise((y + 0.2) * 0.9))
    trunk = depth * np.sqrt(np.maximum(1 - (x / half_width) ** 2, 0))
    shoulder_line = -1.02 + 0.42 * np.maximum(np.abs(x) - 0.26, 0) ** 1.2
    return trunk * np.sqrt(np.clip((y - shoulder_line) * 3.0, 0, 1))


def _central_organs(anatomy: Anatomy, findings: Sequence[Finding], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Length of heart, great vessels and mediastinum along the beam: where they are, there is no lung."""
    enlarged = sum(finding.extent for finding in findings if finding.name == "cardiomegaly")
    # A large effusion pushes the mediastinum to the other side.
    fluid = [finding for finding in findings if finding.name == "pleural effusion" and finding.side]
    push = sum(-SIDE_SIGN[str(finding.side)] * 0.10 * max(finding.extent - 0.5, 0) for finding in fluid)
    heart = anatomy.heart * (1 + enlarged)
    axes = (0.375 * heart, 0.27 * heart**0.7, 0.32)
    centre = (0.105 + 0.13 * enlarged + push, anatomy.dome - 0.13 - 0.04 * enlarged)
    tissue = _ellipsoid(x, y, centre, axes, anatomy.apex_angle)
    tissue += 0.6 * _ellipsoid(x, y, (-0.06 + push, anatomy.dome - 0.22), (0.17 * heart, 0.26, 0.25))
    tissue += _ellipsoid(x, y, (0.01 + push, -0.28), (0.165, 0.80, 0.22))
    return tissue + _ellipsoid(x, y, (0.135 + push, -0.29), (0.085, 0.10, 0.16))


def _lung(anatomy: Anatomy, sign: float, x: np.ndarray, y: np.ndarray) -> Lung:
    """One lung: a superellipsoid, widest at its base, less the part of each ray inside the diaphragm's dome."""
    base = anatomy.dome + (anatomy.dome_difference if sign > 0 else 0.0)
    lateral = np.float32(sign) * x
    middle, half = anatomy.width * (0.405 + 0.07 * y), anatomy.width * 0.385
    centre_y, half_height = 0.22, 0.22 - anatomy.lung_top
    across, along = np.abs(lateral - middle) / half, np.abs(y - centre_y) / half_height
    outline = across**anatomy.lung_shape + along**2.2
    depth = 0.80 * anatomy.thickness * np.maximum(1 - outline, 0) ** 0.42
    reach = np.maximum(1 - ((lateral - anatomy.width * 0.40) / (anatomy.width * 0.45)) ** 2, 0)
    below = 1 - np.clip((base + 0.34 - y) * np.float32(1 / 0.34), 0, None) ** 2
    dome = 1.1 * anatomy.thickness * np.sqrt(np.maximum(reach + below - 1, 0))
    # Lung and dome are intervals about the same middle plane, so the lung in front of and behind the dome remains.
    return Lung(2 * np.maximum(depth - dome, 0), np.minimum(outline, 1), lateral, base)


def _fill(lung: Lung, findings: Sequence[Finding], y: np.ndarray) -> np.ndarray:
    """Aerated length once fluid and consolidation have taken their part of it."""
    aerated = lung.chord
    for finding in findings:
        if finding.name == "pleural effusion":
            # A meniscus: the level rises towards the chest wall, and a small effusion only fills the angle there.
            height = 0.62 * finding.extent
            slope = 0.20 * np.clip((lung.lateral - 0.30) * 2.2, -0.4, 1.2) ** 2
            level = (
                lung.base + 0.10 - height - slope + 0.10 * np.clip(0.70 - lung.lateral, 0, 1) * (finding.extent < 0.3)
            )
            aerated = aerated * (1 - 0.96 * _rise((y - level) * 9))
        elif finding.name == "consolidation":
            aerated = aerated * (1 - _patch(lung, finding, y))
    return aerated


def _patch(lung: Lung, finding: Finding, y: np.ndarray) -> np.ndarray:
    """Share of the ray's lung that a consolidation fills: a soft, lobulated patch, 0–1."""
    dx, dy = lung.lateral - np.float32(finding.x), y - np.float32(finding.y)
    wavy = 1 + 0.45 * np.sin(9 * dx + 17 * finding.x) * np.cos(11 * dy - 23 * finding.y)
    radius = 0.17 + 0.16 * finding.extent
    return 0.80 * np.exp(-(((dx**2 + dy**2) * wavy / radius**2) ** 1.5))


def _lung_findings(lung: Lung, findings: Sequence[Finding], y: np.ndarray) -> np.ndarray:
    """Attenuation that nodules add and that a pneumothorax takes away, float32 [H, W]."""
    change = np.zeros_like(y)
    for finding in findings:
        if finding.name == "nodule":
            radius = 0.055 + 0.035 * finding.extent
            change += 3.4 * _ellipsoid(lung.lateral, y, (finding.x, finding.y), (radius, radius, radius))
        elif finding.name == "pneumothorax":
            # The lung shrinks towards its hilum; between it and the wall is air, and its edge shows as a fine line.
            shrink = 1 - 0.16 - 0.40 * finding.extent
            edge = np.sqrt(((lung.lateral - 0.24) / (0.54 * shrink)) ** 2 + ((y - 0.12) / (0.82 * shrink)) ** 2)
            free = _rise((edge - 1) * 14)
            change -= (AIR_CONTRAST - LUNG_CONTRAST) * lung.chord * free
            change += lung.chord * (1 - free) * (0.10 + 0.18 * finding.extent)
            change += 0.12 * np.minimum(lung.chord, 0.3) / 0.3 * np.exp(-(((edge - 1) * 22) ** 2))
    return change


def _vessels(anatomy: Anatomy, lung: Lung, y: np.ndarray) -> np.ndarray:
    """The hilum and vessels fanning out from it, thinner with distance."""
    dx, dy = lung.lateral - 0.16, y - 0.02
    distance = np.sqrt(dx**2 + dy**2)
    fan = np.cos(9 * np.arctan2(dy, dx + 0.05) + anatomy.vessel_phase + 5 * distance)
    branches = 0.11 * np.maximum(fan, 0) ** 2 * np.exp(-3.0 * distance) * (distance > 0.06)
    hilum = 0.20 * np.exp(-(((lung.lateral - 0.19) / 0.075) ** 2) - ((y - 0.01) / 0.13) ** 2)
    return (branches + hilum) * np.minimum(lung.chord * 2, 1)


def _airway(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Attenuation missing in the trachea, down to the carina."""
    chord = 0.15 * np.sqrt(np.maximum(1 - ((x + 0.01) / 0.06) ** 2, 0))
    return chord * _rise((-0.12 - y) * 8)


def _bones(anatomy: Anatomy, inside: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spine, ribs and clavicles, as attenuation above soft tissue; `inside` is above 0 within the rib cage."""
    away = np.abs(x)
    spine = 0.15 * np.sqrt(np.maximum(1 - (x / 0.095) ** 2, 0)) * (1 + 0.25 * np.cos(y * (2 * np.pi / 0.15)))
    cage = _rise(inside * 6) * np.clip((away - 0.06) * 12, 0, 1)
    # Posterior ribs leave the spine upwards and fall to the side; anterior ribs fall towards the midline.
    behind = 0.115 * _bands(y - 0.34 * away**2 + 0.10 * away, anatomy.rib_spacing, anatomy.rib_phase)
    front = 0.055 * _bands(y + 0.45 * away, 1.1 * anatomy.rib_spacing, anatomy.rib_phase + 0.4)
    ribs = cage * (behind + front * np.clip((away - 0.22) * 8, 0, 1)) * _rise((0.85 - y) * 3)
    along = y - (anatomy.lung_top + 0.11) + anatomy.clavicle_tilt * (away - 0.1) - 0.05 * np.sin(7 * away)
    clavicle = (
        0.20 * np.sqrt(np.maximum(1 - (along / 0.038) ** 2, 0)) * _rise((away - 0.06) * 15) * _rise((0.80 - away) * 6)
    )
    return spine + ribs + clavicle


def _bands(position: np.ndarray, spacing: float, phase: float) -> np.ndarray:
    """Chords of parallel tubes, `spacing` apart and each 0.42 of that wide; 1 on their middle lines."""
    turns = position * np.float32(1 / spacing) + np.float32(phase)
    offset = (turns - np.rint(turns)) * np.float32(1 / 0.24)
    return np.sqrt(np.maximum(1 - offset**2, 0))
