"""What each finding does to the chest, and where: the change of attenuation and the covered area come together.

`Covered` maps are float32 [H, W] shares in [0, 1]: how much of what the ray meets there is the finding.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from cxr_ldm.data.phantom.anatomy import AIR_CONTRAST, LUNG_CONTRAST, SIDE_SIGN, Lung, ellipsoid, rise
from cxr_ldm.data.phantom.patient import Finding, nodule_radius

METAL = 1.0  # attenuation of a pacemaker's case and leads


def mediastinum(findings: Sequence[Finding]) -> tuple[float, float]:
    """Growth of the heart, and shift of the mediastinum along x.

    A large effusion and a tension pneumothorax push it to the other side, a collapsed lobe pulls it to its own.
    """
    enlarged = sum(finding.extent for finding in findings if finding.name == "cardiomegaly")
    push = 0.0
    for finding in findings:
        away = {"pleural effusion": -0.10, "pneumothorax": -0.06, "atelectasis": 0.05}.get(finding.name, 0.0)
        push += away * SIDE_SIGN.get(str(finding.side), 0.0) * max(finding.extent - 0.5, 0)
    return enlarged, push


def raised_dome(findings: Sequence[Finding], side: str) -> float:
    """How much a collapse at the base lifts the dome of its side."""
    return sum(0.01 + 0.06 * f.extent for f in findings if f.name == "atelectasis" and f.side == side)


def filled(lung: Lung, finding: Finding, y: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Share of the ray's lung that holds no air any more, and the covered area, [H, w]; None if it keeps its air."""
    if finding.name == "pleural effusion":
        # A meniscus: the level rises towards the chest wall, and a small effusion only fills the angle there.
        slope = 0.20 * np.clip((lung.lateral - 0.30) * 2.2, -0.4, 1.2) ** 2
        level = lung.base + 0.10 - 0.62 * finding.extent - slope
        if finding.extent < 0.3:
            level = level + 0.10 * np.clip(0.70 - lung.lateral, 0, 1)
        covered = rise((y - level) * 9)
        return np.float32(0.96) * covered, covered
    if finding.name == "consolidation":
        covered = _patch(lung, finding, y)
        return np.float32(0.80) * covered, covered
    if finding.name == "edema":
        return _haze(lung, finding, y)
    return None


def _patch(lung: Lung, finding: Finding, y: np.ndarray) -> np.ndarray:
    """A soft, lobulated patch."""
    dx, dy = lung.lateral - np.float32(finding.x), y - np.float32(finding.y)
    wavy = 1 + np.sin(9 * dx + 17 * finding.x) * (0.45 * np.cos(11 * dy - 23 * finding.y))
    radius = 0.17 + 0.16 * finding.extent
    return np.exp(-(((dx**2 + dy**2) * wavy * np.float32(1 / radius**2)) ** 1.5))


def _haze(lung: Lung, finding: Finding, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bat wings about the hilum, denser towards the bases, with mottles."""
    dx, dy = lung.lateral - np.float32(0.24), y - np.float32(0.10)
    wings = np.exp(-(dx**2) / np.float32(0.11) - dy**2 / np.float32(0.16))
    mottled = 1 + np.sin(31 * dx + 40 * dy) * np.float32(0.13) * np.sin(23 * dx - 37 * dy)
    return np.float32(0.16 + 0.52 * finding.extent) * wings * mottled, wings


def added(lung: Lung, finding: Finding, y: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Attenuation that a finding adds within its lung, and the covered area, both [H, w]; None if it adds none."""
    if finding.name == "nodule":
        radius = nodule_radius(finding.extent)
        chord = ellipsoid(lung.lateral, y, (finding.x, finding.y), (radius, radius, radius))
        return np.float32(3.4) * chord, (chord > 0).astype(np.float32)
    if finding.name == "pneumothorax":
        return _free_air(lung, finding, y)
    if finding.name == "atelectasis":
        return _bands(lung, finding, y)
    if finding.name == "edema":
        return _septal_lines(lung, finding, y), np.zeros_like(lung.chord)
    return None


def _free_air(lung: Lung, finding: Finding, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lung shrinks towards its hilum; between it and the wall is air, and its edge shows as a fine line."""
    shrink = 1 - 0.16 - 0.40 * finding.extent
    edge = np.sqrt(((lung.lateral - 0.24) / (0.54 * shrink)) ** 2 + ((y - 0.12) / (0.82 * shrink)) ** 2)
    free = rise((edge - 1) * 14)
    change = lung.chord * (np.float32(LUNG_CONTRAST - AIR_CONTRAST) * free)
    change += lung.chord * (1 - free) * np.float32(0.10 + 0.18 * finding.extent)
    change += np.float32(0.4) * np.minimum(lung.chord, 0.3) * np.exp(-(((edge - 1) * 22) ** 2))
    return change, free * (lung.chord > 0)


def _bands(lung: Lung, finding: Finding, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plates of collapsed lung above the dome: one when mild, up to three and thicker when severe."""
    covered = np.zeros_like(lung.chord)
    half_length = 0.18 + 0.06 * finding.extent
    along = (lung.lateral - np.float32(finding.x)) * np.float32(1 / half_length)
    taper = np.sqrt(np.maximum(1 - along**2, 0))
    for plate in range(1 + round(2 * finding.extent)):
        middle = lung.base - finding.y - 0.085 * plate + (0.05 - 0.04 * plate) * along
        thickness = (0.026 + 0.006 * finding.extent) * taper + np.float32(1e-6)
        np.maximum(covered, rise(1.6 - 1.2 * np.abs((y - middle) / thickness)), out=covered)
    covered *= lung.chord > 0
    return np.float32(0.24 + 0.06 * finding.extent) * np.minimum(lung.chord * 3, 1) * covered, covered


def _septal_lines(lung: Lung, finding: Finding, y: np.ndarray) -> np.ndarray:
    """Kerley B lines: short, level, at the chest wall above the angle."""
    wall = rise((lung.lateral - 0.58) * 14) * (lung.inside > 0.02) * rise((lung.base + 0.05 - y) * 10)
    return 0.05 * wall * (np.maximum(np.cos((y - lung.base) * 120), 0) ** 4 * rise((y - lung.base + 0.30) * 10))


def pacemaker(finding: Finding, dome: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Case under the collar bone and two leads, to the right atrium and to the apex of the right ventricle, [H, W].

    Whatever the side of the case, the leads come down the superior vena cava, at the patient's right.
    """
    sign = SIDE_SIGN[str(finding.side)]
    width, height = 0.095 + 0.015 * finding.extent, 0.08 + 0.01 * finding.extent
    dx, dy = (sign * x - np.float32(finding.x)) / np.float32(width), (y - np.float32(finding.y)) / np.float32(height)
    covered = rise((1 - dx**4 - dy**4) * 8)
    case, vein, cava = (sign * (finding.x - 0.05), finding.y - 0.06), (sign * 0.22, -0.66), (-0.09, -0.42)
    way = [case, vein, (sign * 0.02, -0.60), cava]
    atrium = [(-0.11, dome - 0.34), (-0.12, dome - 0.19), (-0.15, dome - 0.18), (-0.15, dome - 0.27)]
    ventricle = [(-0.13, dome - 0.30), (-0.06, dome - 0.08), (0.22, dome - 0.05)]
    canvas = np.zeros((y.shape[0], x.shape[1]), np.uint8)
    step, corner = float(x[0, 1] - x[0, 0]), np.array([x[0, 0], y[0, 0]], float)
    for end in (atrium, ventricle):
        line = _smooth(np.rint((np.array(way + end) - corner) * (16 / step)).astype(np.int32))
        cv2.polylines(canvas, [line], False, 255, max(1, round(0.011 / step)), cv2.LINE_AA, shift=4)
    return np.maximum(covered, canvas * np.float32(1 / 255))


def _smooth(points: np.ndarray) -> np.ndarray:
    """Corners cut twice (Chaikin 1974), ends kept."""
    for _ in range(2):
        near, far = (3 * points[:-1] + points[1:]) // 4, (points[:-1] + 3 * points[1:]) // 4
        middle = np.stack([near, far], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], middle, points[-1:]])
    return points.astype(np.int32)
