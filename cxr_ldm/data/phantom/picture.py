"""One study as a picture: the line integrals of the chest in a position, exposed with scatter and quantum noise."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cxr_ldm.data.phantom.anatomy import (
    AIR_CONTRAST,
    LUNG_CONTRAST,
    SIDE_SIGN,
    airway,
    body,
    bones,
    centre,
    dome_of,
    gas,
    lung,
    vessels,
)
from cxr_ldm.data.phantom.findings import METAL, added, filled, mediastinum, pacemaker, raised_dome
from cxr_ldm.data.phantom.patient import NOISE, Anatomy, Finding, Position

# The chest is drawn upright on a grid that reaches a little beyond the picture, and then moved into its position.
REACH = 1.125
FINEST = 128  # pixels; the smallest solid, a nodule, needs so many; larger pictures show no steps without more
ABSORPTION = 3.5  # of one unit of attenuation (19 cm of soft tissue), natural logarithm
SCATTER_SPREAD = 0.12  # of the picture's side, standard deviation
SCATTER_PIXELS = 32  # the veil is smooth, so a coarse grid holds it


@dataclass(frozen=True)
class Study:
    """All that decides a picture."""

    anatomy: Anatomy
    position: Position
    findings: list[Finding]
    noise: list[int]  # seed


def draw(study: Study, size: int) -> np.ndarray:
    """Radiograph in grey levels, float32 [size, size] in [0, 255]; bone bright, the patient's right at image left."""
    return expose(attenuation(study, size)[0], study.position, np.random.default_rng(study.noise))


def attenuation(study: Study, size: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Line integrals and where each finding lies, in the study's position.

    Returns:
        attenuation, float32 [size, size], 1.0 is one unit of soft tissue; one covered share in [0, 1], float32
        [size, size], for each of `study.findings`.
    """
    pixels = size * (-(-FINEST // size) if size < FINEST else 1)
    step = np.float32(2 / pixels)
    count = round(REACH * pixels)
    axis = (np.arange(count, dtype=np.float32) - np.float32((count - 1) / 2)) * step
    total, covered = _chest(study, axis[None, :], axis[:, None])
    moved = _move(total, study.position, pixels)
    moved = cv2.GaussianBlur(moved, (0, 0), (0.3 + 0.0015 * size) * pixels / size)  # focal spot and detector
    return _reduce(moved, size), [_reduce(_move(each, study.position, pixels), size) for each in covered]


def masks(covered: list[np.ndarray], size: int) -> np.ndarray:
    """Where each finding reaches half of its peak, bool [F, size, size]."""
    empty = np.zeros((0, size, size), bool)
    return np.stack([each >= 0.5 * max(float(each.max()), 1e-6) for each in covered]) if covered else empty


def expose(total: np.ndarray, position: Position, generator: np.random.Generator | None) -> np.ndarray:
    """Attenuation → grey levels in [0, 255], float32; `generator` None leaves the quantum noise out.

    A detector pixel receives what its ray lets through and a veil of scatter: the blurred transmission. The count of
    quanta has a variance equal to its mean. The grey follows the logarithm of the exposure through a film-like curve.
    """
    height, width = total.shape
    through = np.exp(np.float32(-ABSORPTION) * total)
    coarse = cv2.resize(through, (SCATTER_PIXELS, SCATTER_PIXELS), interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(coarse, (0, 0), SCATTER_SPREAD * SCATTER_PIXELS, borderType=cv2.BORDER_REPLICATE)
    received = through + np.float32(position.scatter) * cv2.resize(coarse, (width, height))
    if generator is not None:
        noise = generator.standard_normal(total.shape, dtype=np.float32)
        # Below a few quanta the normal law would give negative counts.
        received = np.maximum(received + noise * np.sqrt(received * np.float32(1 / position.quanta)), 1e-4)
    density = np.maximum(np.log(received) * np.float32(-1 / (ABSORPTION * position.exposure)), 0)
    return 255 * (1 - np.exp(-(density ** np.float32(position.gamma))))


def _move(plane: np.ndarray, position: Position, pixels: int) -> np.ndarray:
    """The upright plane as it lies in the picture, float32 [pixels, pixels]."""
    cosine, sine = np.cos(position.rotation) / position.scale, np.sin(position.rotation) / position.scale
    turn = np.array([[cosine, sine], [-sine, cosine]])
    # Index of the picture → image units → patient units → index of the plane.
    middle = np.full(2, (pixels - 1) / 2) + np.array([position.shift_x, position.shift_y]) * pixels / 2
    offset = np.full(2, (plane.shape[0] - 1) / 2) - turn @ middle
    matrix = np.concatenate([turn, offset[:, None]], axis=1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, matrix, (pixels, pixels), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _reduce(plane: np.ndarray, size: int) -> np.ndarray:
    """Mean over the grid cells of each pixel."""
    return plane if plane.shape[0] == size else cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA)


def _chest(study: Study, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Line integrals of the upright chest and the covered share of each finding, float32 [H, W]."""
    anatomy, position, findings = study.anatomy, study.position, study.findings
    enlarged, push = mediastinum(findings)
    organs = centre(anatomy, position, enlarged, push, x, y)
    total = body(anatomy, position, x, y) + 0.12 * np.minimum(organs.chord, 1.0)
    cage = np.zeros_like(total)
    covered = [np.zeros_like(total) for _ in findings]
    for side, sign in SIDE_SIGN.items():
        one = lung(anatomy, position, raised_dome(findings, side), sign, x, y)
        aerated, part = one.chord, total[:, one.columns]
        markings = vessels(anatomy, one, y)
        for finding, where in zip(findings, covered, strict=True):
            if finding.side not in (side, None) or finding.name == "cardiomegaly":
                continue
            less = filled(one, finding, y)
            if less is not None:
                aerated = aerated * (1 - less[0])
                np.maximum(where[:, one.columns], less[1] * (one.chord > 0), out=where[:, one.columns])
            more = added(one, finding, y)
            if more is not None:
                part += more[0]
                np.maximum(where[:, one.columns], more[1], out=where[:, one.columns])
            if finding.name == "edema":  # congested vessels
                markings *= np.float32(1 + 0.8 * finding.extent)
        part += markings - LUNG_CONTRAST * np.maximum(aerated - organs.chord[:, one.columns], 0)
        np.maximum(cage[:, one.columns], one.inside, out=cage[:, one.columns])
    total += bones(anatomy, position, cage, x, y) - airway(position, push, x, y)
    total -= AIR_CONTRAST * gas(anatomy, position, x, y)
    for finding, where in zip(findings, covered, strict=True):
        if finding.name == "cardiomegaly":
            where[:] = organs.heart > 0
        elif finding.name == "pacemaker":
            where[:] = pacemaker(finding, dome_of(anatomy, position), x, y)
            total += METAL * where
    return total, covered


def noise_seed(seed: int, index: int) -> list[int]:
    """Seed of the quantum noise of one study."""
    return [seed, NOISE, index]


def parameters(study: Study, shapes: np.ndarray) -> dict[str, Any]:
    """What was drawn, as JSON values; `shapes` are the masks of the findings, bool [F, H, W].

    `centre` is the middle of a mask as [x, y] in the picture, 0 to 1 from its left and from its top; `area` its share.
    """
    entries = []
    for finding, mask in zip(study.findings, shapes, strict=True):
        rows, columns = np.nonzero(mask)
        entry: dict[str, Any] = dict(vars(finding))
        if finding.name == "nodule":
            entry["diameter_mm"] = round(finding.diameter_mm, 1)
        entry["centre"] = [float((columns.mean() + 0.5) / mask.shape[1]), float((rows.mean() + 0.5) / mask.shape[0])]
        entries.append(entry | {"area": float(mask.mean())})
    return {"patient": dict(vars(study.anatomy)), "exposure": dict(vars(study.position)), "findings": entries}
