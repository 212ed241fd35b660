"""Image files to 8-bit greyscale squares, without a cast that wraps."""

import struct
import zlib
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps

from cxr_ldm.errors import UserError

Fit = Literal["pad", "crop"]
# What Pillow raises on broken files: besides OSError, its decoders let the errors of their parts through.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error, Image.DecompressionBombError)
MISSING = "image file is missing"


class UnreadableImage(UserError):
    """One image file that cannot be used; `reason` is the same sentence without the file, to be counted."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}.")
        self.reason = reason


def is_missing(path: Path) -> bool:
    """Whether the file is absent from a folder that exists.

    Where the folder itself is absent, the collection is reports only and can still be counted.
    """
    return path.parent.is_dir() and not is_file(path)


def is_file(path: Path) -> bool:
    """Whether `path` is a file; False too where it could not be the name of one, as in a damaged table."""
    try:
        return path.is_file()
    except OSError:
        return False


def to_uint8(array: np.ndarray) -> np.ndarray:
    """Grey levels as uint8, the smallest value at 0 and the largest at 255; uint8 comes back as it is.

    Wider integers and floats are scaled by the range they use, since 10 to 15 of 16 stored bits is the rule in
    radiography; nothing wraps and nothing is clipped. A constant image becomes 0.

    Raises:
        UserError: NaN or infinite values.

    >>> to_uint8(np.array([[-1024, 0, 3071]], dtype=np.int16))
    array([[  0,  64, 255]], dtype=uint8)
    """
    if array.dtype == np.uint8:
        return array
    values = array.astype(np.float64)
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        raise UserError("pixel values are not finite; give an image without NaN or infinity.")
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.rint((values - low) * scale).astype(np.uint8)


def read_grey(path: Path) -> np.ndarray:
    """Read a PNG or JPEG file as uint8 [H, W].

    Colour becomes luma (ITU-R 601), transparency is laid over black, more than 8 bits are scaled by their range, and
    an EXIF orientation is followed.

    Raises:
        UnreadableImage: the file is missing, truncated, or no PNG or JPEG.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            # Loads every pixel here: Pillow raises on a truncated file, where OpenCV would fill the rest with grey.
            image = ImageOps.exif_transpose(file)
    except FileNotFoundError:
        raise UnreadableImage(path, MISSING) from None
    except DECODE_ERRORS as error:
        kind = "truncated or damaged" if "truncated" in str(error) else "not a readable PNG or JPEG file"
        raise UnreadableImage(path, f"image is {kind}") from error
    if image.mode.startswith("I"):
        return to_uint8(np.asarray(image))
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "black")
        opaque.alpha_composite(image.convert("RGBA"))
        image = opaque.convert("RGB")
    return np.array(image.convert("L"))


def resize_square(image: np.ndarray, size: int, fit: Fit) -> np.ndarray:
    """Resize uint8 [H, W] to [size, size], aspect kept.

    Args:
        image: greyscale image.
        size: side of the result in pixels.
        fit: "pad" shows everything, with black bars on the shorter side; "crop" cuts the longer side about its centre.

    Raises:
        UserError: `fit` is neither.
    """
    height, width = image.shape
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _resize(image[top : top + side, left : left + side], size, size)
    if fit != "pad":
        raise UserError(f"data.fit={fit} is unknown; use pad or crop.")
    scale = size / max(height, width)
    inner = _resize(image, max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = (size - inner.shape[0]) // 2, (size - inner.shape[1]) // 2
    square = np.zeros((size, size), dtype=np.uint8)
    square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return square


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Area mean where the image shrinks (no aliasing), cubic where it grows (OpenCV saturates its overshoot)."""
    interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=interpolation)
