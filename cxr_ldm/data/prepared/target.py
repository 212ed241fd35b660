"""What every image of a prepared folder becomes: a square of one size and depth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr_ldm.data.pixels.images import BLANK, Bits, Fit, UnreadableImage, equalised, resize_square
from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.errors import UserError


@dataclass(frozen=True)
class Target:
    """Size, depth and finish of the images of a prepared folder.

    Args:
        size: side of the square in pixels.
        fit: "pad" or "crop", see `resize_square`.
        bits: 8 or 16, of each grey level.
        clahe: `clip_limit` and `tiles` of a local equalisation, or None; it changes what intensity means, so it is off
            unless asked for.
        png: whether each image is also written as a PNG file.
    """

    size: int
    fit: Fit = "pad"
    bits: Bits = 8
    clahe: Mapping[str, Any] | None = None
    png: bool = False

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    def check(self) -> None:
        """Raises UserError where a value is impossible."""
        if self.size < 8:
            raise UserError(f"data.size={self.size} is too small; use 8 or more pixels.")
        if self.fit not in ("pad", "crop"):
            raise UserError(f"data.fit={self.fit} is unknown; use pad or crop.")
        if self.bits not in (8, 16):
            raise UserError(f"data.bits={self.bits} is not possible; use 8 or 16.")
        if self.clahe is not None and not _possible(self.clahe, self.size):
            raise UserError(
                f"data.clahe={self.clahe} must be null, or a clip_limit above 0 and whole tiles from 1 to half of "
                f"data.size={self.size}."
            )

    def draw(self, record: Record) -> tuple[np.ndarray, tuple[int, int]] | Rejected:
        """The square of one record and the height and width of its original, or why there is none."""
        try:
            image = record.load()
        except UserError as error:
            return Rejected(record.image_id, error.reason if isinstance(error, UnreadableImage) else str(error))
        if isinstance(image, np.ndarray) and image.min() == image.max():
            return Rejected(record.image_id, BLANK)
        square = resize_square(image, self.size, self.fit, self.bits)
        if self.clahe:
            square = equalised(square, self.clahe["clip_limit"], self.clahe["tiles"])
        return square, (image.shape[0], image.shape[1])


def _possible(clahe: Any, size: int) -> bool:
    if not isinstance(clahe, Mapping) or set(clahe) != {"clip_limit", "tiles"}:
        return False
    limit, tiles = clahe["clip_limit"], clahe["tiles"]
    return type(limit) in (int, float) and limit > 0 and type(tiles) is int and 1 <= tiles <= size // 2
