"""An invisible mark in the pixels: it says "made by cxr_ldm" where a file's text was lost, as after a JPEG.

Dithered quantisation index modulation (Chen & Wornell 2001, section IV) in the block DCT of JPEG: every middle
frequency of every 8 × 8 block is moved onto a lattice of its own, shifted by a pseudo-random dither. The mark is found
again, without the original, by how near the coefficients lie to their lattices. One mark for all images, no message.

Why not spread spectrum (Cox et al. 1997), which would outlive a change of contrast too: the picture itself is noise to
it, and in 64 × 64 pixels it lost 3 of 10 marks on images of the preset high_contrast. The two packages that are often
named (invisible-watermark, blind-watermark) install a second OpenCV beside ours, and learnt marks need torchvision and
weights from the network.

It outlives JPEG and a change of brightness, and no change of contrast, no resizing, turning, cropping or enhancing, and
it hides from nobody who knows this file: it is a label and no lock.

`python -m cxr_ldm.benchmark suite=watermark` wrote docs/results/watermark.md: shares found after JPEG at several
qualities, false alarms, and the change in decibels.
"""

import hashlib
import math
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from cxr_ldm.errors import UserError

BLOCK = 8
# Rows and columns of the frequencies that carry the mark: low enough for JPEG to keep, high enough not to be seen.
BAND = [(i, j) for i in range(5) for j in range(5) if 2 <= i + j <= 4]
KEY = b"cxr_ldm: synthetic"  # of the dither
STRENGTH = 10.0  # distance of a lattice's points, in grey levels of a coefficient
ROUNDS = 4  # of marking and cutting to 0–255, which takes half of each change away in black and in white
THRESHOLD = 6.0  # standard deviations; `false_alarm` gives 1.5e-8 for it
SMALLEST = 64  # pixels a side


def mark(levels: np.ndarray, strength: float = STRENGTH) -> np.ndarray:
    """Add the mark to a picture, uint8 `[H,W]` -> uint8 `[H,W]`; what is beyond a multiple of 8 stays as it is.

    Raises:
        UserError: it is smaller than 64 × 64 pixels, which do not hold it safely.
    """
    if min(levels.shape) < SMALLEST:
        raise UserError(
            f"watermark: {levels.shape[1]} × {levels.shape[0]} pixels are too few; {SMALLEST} × {SMALLEST} hold it."
        )
    height, width = (size // BLOCK * BLOCK for size in levels.shape)
    shift = strength * dither(height // BLOCK, width // BLOCK)
    inner = levels[:height, :width].astype(np.float32)
    for _ in range(ROUNDS):
        coefficients = _forward(blocked(inner))
        band = coefficients[..., ROWS, COLUMNS]
        coefficients[..., ROWS, COLUMNS] = strength * np.rint((band - shift) / strength) + shift
        inner = np.clip(unblocked(_inverse(coefficients)), 0, 255)
    marked = levels.copy()
    marked[:height, :width] = np.rint(inner).astype(np.uint8)
    return marked


def score(levels: np.ndarray, strength: float = STRENGTH) -> float:
    """How clearly the mark is there, in standard deviations of what chance gives: √(2/n) Σ cos(2π (c - d) / Δ).

    c are the n coefficients, d the dithers and Δ the lattice's step. A full mark has √(2n): 39 for 64 × 64 pixels.
    0 for a picture too small to hold a mark.

    Args:
        levels: uint8 `[H,W]`.
    """
    height, width = (size // BLOCK * BLOCK for size in levels.shape)
    if min(height, width) < SMALLEST:
        return 0.0
    band = _forward(blocked(levels[:height, :width].astype(np.float32)))[..., ROWS, COLUMNS]
    phases = band / strength - dither(*band.shape[:2])
    return float(np.cos(2 * np.pi * phases).sum(dtype=np.float64)) * math.sqrt(2 / phases.size)


def false_alarm(value: float) -> float:
    """Bound on the chance that an unmarked picture scores as much, whatever it shows: exp(-value² / 2).

    Over the dither, the phases of any given picture are independent and uniform; E exp(λ cos φ) = I₀(λ) ≤ exp(λ² / 4),
    and Chernoff's bound follows.

    >>> f"{false_alarm(6.0):.1e}", false_alarm(-1.0)
    ('1.5e-08', 1.0)
    """
    return math.exp(-value * value / 2) if value > 0 else 1.0


def dither(rows: int, columns: int) -> np.ndarray:
    """Shifts of the lattices in units of their step, float32 `[rows, columns, frequencies]`, uniform in [0, 1).

    From a hash and no random generator, whose numbers may change with its library.
    """
    stream = hashlib.shake_256(KEY).digest(2 * rows * columns * len(BAND))
    return np.frombuffer(stream, "<u2").astype(np.float32).reshape(rows, columns, len(BAND)) / np.float32(65536)


def as_jpeg(levels: np.ndarray, quality: int = 80) -> np.ndarray:
    """The picture after it was saved as a JPEG of this quality, uint8 `[H,W]`."""
    buffer = BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def blocked(picture: np.ndarray) -> np.ndarray:
    """`[H,W]` -> `[H/8,W/8,8,8]`."""
    height, width = picture.shape
    return picture.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).swapaxes(1, 2)


def unblocked(blocks: np.ndarray) -> np.ndarray:
    """`[h,w,8,8]` -> `[8h,8w]`."""
    rows, columns = blocks.shape[:2]
    return blocks.swapaxes(1, 2).reshape(rows * BLOCK, columns * BLOCK)


def _forward(blocks: np.ndarray) -> np.ndarray:
    """Orthonormal two-dimensional DCT-II of every block."""
    return TRANSFORM @ blocks @ TRANSFORM.T


def _inverse(coefficients: np.ndarray) -> np.ndarray:
    return TRANSFORM.T @ coefficients @ TRANSFORM


TRANSFORM = cv2.dct(np.eye(BLOCK, dtype=np.float32), flags=cv2.DCT_ROWS).T
ROWS, COLUMNS = ([place[axis] for place in BAND] for axis in (0, 1))
