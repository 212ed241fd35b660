"""The normal chest as simple solids, each with a closed-form chord length along the beam.

An ellipsoid of half depth c has 2c·sqrt(1 - u² - v²) at (u, v); the attenuation of a ray is the sum of chord times
contrast. Coordinates: x to image right (the patient's LEFT), y downwards, both in [-1, 1] over the picture; one unit
is about 19 cm. x comes as [1, W] and y as [H, 1], so that what depends on one of them alone costs a line, not a plane.
"""

from dataclasses import dataclass

import numpy as np

from cxr_ldm.data.phantom.patient import Anatomy, Position

# +1 is the patient's left, which standard display shows at the right of the image.
SIDE_SIGN = {"right": -1.0, "left": 1.0}
LUNG_CONTRAST = 0.80  # of soft tissue, attenuation per unit length; aerated lung keeps the remaining 0.20
AIR_CONTRAST = 0.97
# Depth of a part, in image units towards the patient's front, moves it by `turn` times as much.
FRONT, HEART_DEPTH, BACK = 0.45, 0.2, -0.35


@dataclass(frozen=True)
class Lung:
    """One lung on the columns of the grid that it can reach."""

    columns: slice
    chord: np.ndarray  # float32 [H, w], aerated length along the beam
    inside: np.ndarray  # float32 [H, w], 1 at the centre of the rib cage's outline, 0 on it and outside
    lateral: np.ndarray  # float32 [1, w], distance from the midline towards this side
    base: float  # y of the dome


@dataclass(frozen=True)
class Centre:
    """Heart and mediastinum: where they are, and how long, there is no lung."""

    chord: np.ndarray  # float32 [H, W]
    heart: np.ndarray  # float32 [H, W], of the heart alone


def ellipsoid(
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float], axes: tuple[float, float, float], angle: float = 0.0
) -> np.ndarray:
    """Chord length of an ellipsoid with half axes (a, b, c), its first axis turned by `angle` towards +y.

    >>> float(ellipsoid(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), (0.0, 0.0), (1.0, 2.0, 3.0))[0, 0])
    6.0
    """
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    if angle:
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = cosine * dx + sine * dy, cosine * dy - sine * dx
    rest = (1 - (dx * np.float32(1 / axes[0])) ** 2) - (dy * np.float32(1 / axes[1])) ** 2
    return np.float32(2 * axes[2]) * np.sqrt(np.maximum(rest, 0))


def rise(value: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at 0 to 1 at 1."""
    t = np.clip(value, 0, 1)
    return t * t * (3 - 2 * t)


def dome_of(anatomy: Anatomy, position: Position) -> float:
    """y of the right dome: a shallow breath leaves it higher."""
    return anatomy.dome - 0.10 * (1 - position.inspiration)


def body(anatomy: Anatomy, position: Position, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Trunk with neck and shoulders: an elliptic cylinder whose half width follows y; the breasts lie on it."""
    half_width = (0.80 * anatomy.width + anatomy.wall) * (1 + 0.30 * np.exp(-(((y + 0.62) * 3.0) ** 2)))
    depth = 2 * anatomy.thickness * (0.92 + 0.16 * rise((y + 0.2) * 0.9))
    trunk = depth * np.sqrt(np.maximum(1 - (x / half_width) ** 2, 0))
    shoulder_line = -1.02 + 0.42 * np.maximum(np.abs(x) - 0.26, 0) ** 1.2
    trunk *= np.sqrt(np.clip((y - shoulder_line) * 3.0, 0, 1))
    trunk += ellipsoid(np.abs(x), y, (1.10 * anatomy.width, -0.40), (0.30, 0.50, 0.14))
    if anatomy.breast:
        # They sink with age; only the lower border is sharp, the upper fades into the chest wall.
        sunk, size, middle = 0.24 + 0.10 * anatomy.age / 90, anatomy.breast**0.5, FRONT * position.turn
        away = np.abs(x - np.float32(middle))
        breast = ellipsoid(away, y, (0.44 * anatomy.width, sunk), (0.27 * size, 0.25 * size, 0.10 * size))
        trunk += breast * rise((y - (sunk - 0.20)) * 3)
    return trunk


def centre(anatomy: Anatomy, position: Position, enlarged: float, push: float, x: np.ndarray, y: np.ndarray) -> Centre:
    """Heart, great vessels and mediastinum.

    Args:
        enlarged: growth of the heart beyond the patient's own, 0 for none.
        push: shift of all of it along x.
    """
    size = anatomy.heart * (1 + enlarged) * position.heart_magnification
    at = push + HEART_DEPTH * position.turn
    dome = dome_of(anatomy, position)
    # On a high diaphragm the heart lies flatter.
    angle = anatomy.apex_angle - 0.25 * (1 - position.inspiration)
    left = (0.105 + 0.13 * (size / anatomy.heart - 1) + at, dome - 0.13 - 0.04 * (size / anatomy.heart - 1))
    heart = ellipsoid(x, y, left, (0.375 * size, 0.27 * size**0.7, 0.32), angle)
    heart += 0.6 * ellipsoid(x, y, (-0.06 + at, dome - 0.22), (0.17 * size, 0.26, 0.25))
    chord = heart + ellipsoid(x, y, (0.01 + push, -0.28), (0.165, 0.80, 0.22))
    # The arch widens with age, and the descending aorta comes out from behind the spine.
    knob = (0.125 + 0.012 * anatomy.aorta + push, -0.29)
    chord += ellipsoid(x, y, knob, (0.085 * anatomy.aorta, 0.10 * anatomy.aorta, 0.16))
    descending = (0.045 + 0.05 * anatomy.aorta + push, 0.05)
    chord += 0.5 * ellipsoid(x, y, descending, (0.075 * anatomy.aorta, 0.45, 0.10))
    return Centre(chord, heart)


def lung(anatomy: Anatomy, position: Position, raised: float, sign: float, x: np.ndarray, y: np.ndarray) -> Lung:
    """One lung: a superellipsoid, widest at its base, less the part of each ray inside the diaphragm's dome.

    Args:
        raised: how much higher this dome is than the patient's own.
        sign: +1 for the patient's left.
    """
    base = dome_of(anatomy, position) - raised + (anatomy.dome_difference if sign > 0 else 0.0)
    # From a little beyond the midline to the image's edge.
    first = int(np.searchsorted(x[0], -0.1 * sign))
    columns = slice(first, None) if sign > 0 else slice(None, first)
    lateral = np.float32(sign) * x[:, columns]
    middle, half = anatomy.width * (0.405 + 0.07 * y), anatomy.width * 0.385
    centre_y, half_height = 0.22, 0.22 - anatomy.lung_top
    across, along = np.abs(lateral - middle) * np.float32(1 / half), np.abs(y - centre_y) / half_height
    inside = np.maximum(1 - across ** np.float32(anatomy.lung_shape) - along**2.2, 0)
    depth = np.float32(0.80 * anatomy.thickness) * inside ** np.float32(0.42)
    reach = np.maximum(1 - ((lateral - anatomy.width * 0.40) / (anatomy.width * 0.45)) ** 2, 0)
    below = np.clip((base + 0.34 - y) * np.float32(1 / 0.34), 0, None) ** 2
    dome = np.float32(1.1 * anatomy.thickness) * np.sqrt(np.maximum(reach - below, 0))
    # Lung and dome are intervals about the same middle plane, so the lung in front of and behind the dome remains.
    return Lung(columns, 2 * np.maximum(depth - dome, 0), inside, lateral, base)


def vessels(anatomy: Anatomy, lung: Lung, y: np.ndarray) -> np.ndarray:
    """The hilum and vessels fanning out from it, thinner with distance, float32 [H, w]."""
    dx, dy = lung.lateral - np.float32(0.16), y - np.float32(0.02)
    distance = np.sqrt(dx**2 + dy**2)
    angle = np.arctan2(dy, dx + np.float32(0.05))
    fan = np.maximum(np.cos(9 * angle + np.float32(anatomy.vessel_phase) + 5 * distance), 0)
    fine = np.maximum(np.cos(23 * angle - np.float32(anatomy.vessel_phase) - 9 * distance), 0)
    branches = np.float32(0.11) * fan**2 * np.exp(-3 * distance) * (distance > 0.06)
    branches += np.float32(0.07) * fine**2 * np.exp(-2 * distance) * np.clip(distance * 4 - np.float32(0.4), 0, 1)
    hilum = 0.20 * np.exp(-(((lung.lateral - 0.19) / 0.075) ** 2)) * np.exp(-(((y - 0.01) / 0.13) ** 2))
    return (branches + hilum) * np.minimum(lung.chord * 2, 1)


def gas(anatomy: Anatomy, position: Position, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Length of the gas bubble in the stomach, under the patient's left dome."""
    width = anatomy.bubble
    top = dome_of(anatomy, position) + anatomy.dome_difference + 0.05
    bubble = ellipsoid(x, y, (0.30 * anatomy.width, top + 0.7 * width), (width, 0.7 * width, 1.4 * width))
    if position.view == "AP":  # lying down, no fluid level
        return bubble
    return bubble * rise((top + 1.05 * width - y) * 30)


def airway(position: Position, push: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Attenuation missing in the trachea, down to the carina; it moves with the mediastinum."""
    chord = 0.15 * np.sqrt(np.maximum(1 - ((x + (0.01 - push - 0.1 * position.turn)) / 0.06) ** 2, 0))
    return chord * rise((-0.12 - y) * 8)


def bones(anatomy: Anatomy, position: Position, cage: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spine, ribs, clavicles and shoulders as attenuation above soft tissue; `cage` is above 0 within the rib cage."""
    back, front = x - np.float32(BACK * position.turn), x - np.float32(FRONT * position.turn)
    away = np.abs(back)
    spine = 0.15 * np.sqrt(np.maximum(1 - (back / 0.095) ** 2, 0)) * (1 + 0.25 * np.cos(y * (2 * np.pi / 0.15)))
    # Posterior ribs leave the spine upwards and fall to the side; anterior ribs fall towards the midline.
    posterior = 0.115 * _bands(y, 0.34 * away**2 - 0.10 * away, anatomy.rib_spacing, anatomy.rib_phase)
    anterior = _bands(y, -0.45 * np.abs(front), 1.1 * anatomy.rib_spacing, anatomy.rib_phase + 0.4)
    anterior *= 0.055 * np.clip((np.abs(front) - 0.22) * 8, 0, 1)
    ribs = rise(cage * 6) * (posterior + anterior)
    ribs *= np.clip((away - 0.06) * 12, 0, 1) * rise((0.85 - y) * 3)
    total = (spine + ribs) + _clavicles(anatomy, front, y)
    total += 0.5 * ellipsoid(np.abs(x), y, (0.98 * anatomy.width, -0.66), (0.11, 0.12, 0.12))
    if position.view == "AP":
        total += _scapulae(anatomy, np.abs(x), y)
    return np.float32(anatomy.bone) * total


def _clavicles(anatomy: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    away = np.abs(x)
    line = anatomy.lung_top + 0.11 - anatomy.clavicle_tilt * (away - 0.1) + 0.05 * np.sin(7 * away)
    tube = np.sqrt(np.maximum(1 - ((y - line) / np.float32(0.038)) ** 2, 0))
    return tube * (0.20 * rise((away - 0.06) * 15) * rise((0.80 - away) * 6))


def _scapulae(anatomy: Anatomy, away: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Shoulder blades over the upper outer lungs, where they stay unless the shoulders are rolled forward."""
    border = anatomy.width * (0.60 + 0.10 * (y + 0.2))
    blade = rise((away - border) * 30) * rise((0.10 - y - 0.9 * (away - border)) * 8) * rise((y + 0.62) * 8)
    edge = np.exp(-(((away - border) / np.float32(0.012)) ** 2)) * rise((0.08 - y) * 8) * rise((y + 0.60) * 8)
    return np.float32(0.10) * blade + np.float32(0.07) * edge


def _bands(y: np.ndarray, curve: np.ndarray, spacing: float, phase: float) -> np.ndarray:
    """Chords of parallel tubes along `curve`, `spacing` apart and each 0.42 of that wide, denser at their cortex."""
    turns = (y - curve) * np.float32(1 / spacing) + np.float32(phase)
    rest = 1 - ((turns - np.rint(turns)) * np.float32(1 / 0.24)) ** 2
    return np.sqrt(np.maximum(rest, 0)) - 0.45 * np.sqrt(np.maximum(rest - np.float32(0.45), 0))
