"""Image files to greyscale squares, without a cast that wraps."""

import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from cxr_ldm.errors import UserError

Fit = Literal["pad", "crop"]
Bits = Literal[8, 16]
MISSING = "image file is missing"
BLANK = "image is blank: one grey level"
OTHERS = {b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP", b"GIF8": "GIF", b"\xff\x4f\xff\x51": "JPEG 2000"}
OTHERS |= {b"\0\0\0\x0cjP  ": "JPEG 2000", b"\x89HDF": "HDF5", b"\x5c\x01\0\0": "NIfTI"}
FILLED = 16  # rows of the largest blocks of a JPEG


class UnreadableImage(UserError):
    """One image file that cannot be used; `reason` is the same sentence without the file, to be counted."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}.")
        self.reason = reason


def other_format(head: bytes) -> str | None:
    """Name of a format of pictures that is not read here, by how a file begins; None of anything else.

    >>> other_format(b"II*\\0"), other_format(b"RIFF1234WEBPVP8 "), other_format(b"hello")
    ('TIFF', 'WebP', None)
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((name for start, name in OTHERS.items() if head.startswith(start)), None)


def is_missing(path: Path) -> bool:
    """Whether the file is absent from a folder that exists.

    Where the folder itself is absent, the collection is reports only and can still be counted.
    """
    try:
        return path.parent.is_dir() and not path.is_file()
    except OSError:  # a name too long for any file, as in a damaged table
        return True


def is_file(path: Path) -> bool:
    """Whether `path` is a file; False too where it is too long for the name of one."""
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
            file.load()
            turn, kind = _turn(file), file.format
            if _is_wide_colour(path):
                return np.ascontiguousarray(TURNED[turn](_wide_grey(path)))
            image = file.copy()
    except FileNotFoundError:
        raise UnreadableImage(path, MISSING) from None
    except Exception as error:  # what a decoder trips over in damaged or odd bytes has no common type
        kind = "truncated or damaged" if "truncated" in str(error) else "not a readable PNG or JPEG file"
        raise UnreadableImage(path, f"image is {kind}") from error
    if image.mode.startswith("I"):
        grey = _of_visible(np.asarray(image), image.info.get("transparency"))
    else:
        if image.has_transparency_data:
            opaque = Image.new("RGBA", image.size, "black")
            opaque.alpha_composite(image.convert("RGBA"))
            image = opaque.convert("RGB")
        grey = np.asarray(image.convert("L"))
    if is_filled(grey) if kind == "JPEG" else not grey[-1].any() and not is_whole_png(path):
        raise UnreadableImage(path, "image is truncated or damaged")
    return np.array(TURNED[turn](grey))


def _of_visible(values: np.ndarray, transparent: object) -> np.ndarray:
    """Grey levels uint8 by the range of what is not transparent, over black.

    Args:
        transparent: the value that is, where the file names one.
    """
    visible = values != transparent if isinstance(transparent, int) else np.ones(values.shape, bool)
    grey = np.zeros(values.shape, np.uint8)
    grey[visible] = to_uint8(values[visible]) if visible.any() else 0
    return grey


def is_filled(grey: np.ndarray) -> bool:
    """Whether a JPEG's last rows are what its decoder fills in for data that is not there, without an error.

    That is the middle grey over whole blocks of 16 rows; a picture's own margins are black or white.
    """
    return len(grey) > FILLED and bool((grey[-FILLED:] == 128).all())


def is_whole_png(path: Path) -> bool:
    """Whether a PNG holds all of its rows; its decoder leaves the others black. Interlaced files are taken as whole."""
    data, at, packed = path.read_bytes(), 8, zlib.decompressobj()
    width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    needed = height * (1 + -(-width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] // 8))
    found = needed if interlaced else 0
    while at + 8 <= len(data) and found < needed:
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if kind == b"IDAT":
            try:
                found += len(packed.decompress(data[at + 8 : at + 8 + length]))
            except zlib.error:
                return False
        at += 12 + length
    return found >= needed


# What sets a picture upright, by its EXIF orientation (0x0112, 1 to 8).
TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.T,
    6: lambda image: image[::-1].T,
    7: lambda image: image[::-1, ::-1].T,
    8: lambda image: image[:, ::-1].T,
}


def _turn(file: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where none is stated or the EXIF block cannot be read.

    `ImageOps.exif_transpose` also writes the block anew, and fails on a tag of the wrong type that nobody needs.
    """
    try:
        stated = file.getexif().get(0x0112)
        return stated if stated in TURNED else 1
    except Exception:  # as in read_grey; the picture itself is sound
        return 1


def _is_wide_colour(path: Path) -> bool:
    """Whether a file is a PNG of 16 bits in more than one channel, which Pillow would cut to 8 bits."""
    with open(path, "rb") as file:
        head = file.read(26)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and head[24] == 16 and head[25] != 0


def _wide_grey(path: Path) -> np.ndarray:
    """Luma of such a file by the range of what is not transparent, over black, uint8 [H, W]."""
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("OpenCV does not decode this PNG")
    luma = pixels[..., :3] @ np.array([0.114, 0.587, 0.299])  # OpenCV's order is blue, green, red
    if pixels.shape[-1] == 3:
        return to_uint8(luma)
    opacity = pixels[..., 3] / 65535
    visible = opacity > 0
    grey = np.zeros(luma.shape)
    grey[visible] = to_uint8(luma[visible]) if visible.any() else 0
    return np.rint(grey * opacity).astype(np.uint8)


_local = threading.local()


def _scratch(like: np.ndarray) -> np.ndarray:
    """This thread's buffer, of the shape and type of `like`: fresh memory costs a large image more than clipping it."""
    if getattr(_local, "bytes", np.empty(0)).size < like.nbytes:
        _local.bytes = np.empty(like.nbytes, np.uint8)
    return _local.bytes[: like.nbytes].view(like.dtype).reshape(like.shape)


@dataclass(frozen=True)
class Window:
    """Stored values shown linearly: `low` is black and `high` white, or the other way round where `inverted`."""

    low: float
    high: float
    inverted: bool = False

    def clipped(self, values: np.ndarray) -> np.ndarray:
        """Stored values cut to the window: after this, showing and averaging may change places.

        In a buffer that this thread's next call overwrites.
        """
        largest = np.iinfo(values.dtype).max
        low, high = (int(np.clip(bound, 0, largest)) for bound in (np.floor(self.low), np.ceil(self.high)))
        return np.clip(values, low, high, out=_scratch(values))

    def shown(self, values: np.ndarray) -> np.ndarray:
        """Clipped values → grey, float32 in 0–1."""
        span = max(self.high - self.low, 1e-6)
        grey = np.clip((values.astype(np.float32) - np.float32(self.low)) / np.float32(span), 0, 1)
        return 1 - grey if self.inverted else grey


@dataclass(frozen=True)
class Table:
    """Stored values shown by a table: `levels[value]`, uint16 from black to white."""

    levels: np.ndarray

    @classmethod
    def between(cls, values: np.ndarray, low: float, high: float, inverted: bool) -> "Table":
        """The table that shows `values[stored]` linearly from `low` (black) to `high`."""
        grey = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
        return cls(np.rint(65535 * (1 - grey if inverted else grey)).astype(np.uint16))

    def clipped(self, values: np.ndarray) -> np.ndarray:
        """Grey levels of all stored values; a curve and an average may not change places."""
        return self.levels[values]

    def shown(self, values: np.ndarray) -> np.ndarray:
        """Grey levels as float32 in 0–1."""
        return values.astype(np.float32) / np.float32(65535)


@dataclass(frozen=True)
class Toned:
    """What a file stores, uint8 or uint16 [H, W], with what shows it: a large image is resized before it is shown."""

    values: np.ndarray
    tone: Window | Table

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape


Grey = np.ndarray | Toned


def display(image: Grey, bits: Bits = 8) -> np.ndarray:
    """Every pixel as uint8 or uint16 [H, W], 0 is black and the largest value white.

    >>> display(Toned(np.array([[0, 100, 200, 4095]], dtype=np.uint16), Window(100, 300, inverted=True)))
    array([[255, 255, 128,   0]], dtype=uint8)
    """
    return _quantised(image, image.shape[0], image.shape[1], bits)


def upright(load: Callable[[], Grey], shape: tuple[float, float] | None, turn: int) -> np.ndarray:
    """A picture that its file holds in another shape, or lying, as uint8 [H, W].

    Args:
        load: the picture as it is stored, [h, w].
        shape: rows and columns before it was stretched, of which the ratio counts; the shorter side keeps its pixels.
            None where it was not.
        turn: degrees clockwise, a multiple of 90, after that.

    >>> lying = np.array([[0, 9]], dtype=np.uint8)
    >>> upright(lambda: lying, None, 90).tolist(), upright(lambda: lying, (1, 1), 0).shape
    ([[0], [9]], (2, 2))
    """
    image = display(load())
    if shape is not None:
        height, width = image.shape
        ratio = shape[0] / shape[1]  # the stretched side grows, so that nothing of the stored picture is lost
        image = _resize(image, max(height, round(width * ratio)), max(width, round(height / ratio)))
    return np.ascontiguousarray(np.rot90(image, -turn // 90))


def resize_square(image: Grey, size: int, fit: Fit, bits: Bits = 8) -> np.ndarray:
    """Resize and show an image [H, W] as [size, size], aspect kept.

    Args:
        image: uint8 grey levels, or stored values with their tone.
        size: side of the result in pixels.
        fit: "pad" shows everything, with black bars on the shorter side; "crop" cuts the longer side about its centre.
        bits: 8 or 16, of the result.

    Raises:
        UserError: `fit` is neither.
    """
    height, width = image.shape
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        place = slice(top, top + side), slice(left, left + side)
        part = Toned(image.values[place], image.tone) if isinstance(image, Toned) else image[place]
        return _quantised(part, size, size, bits)
    if fit != "pad":
        raise UserError(f"data.fit={fit} is unknown; use pad or crop.")
    scale = size / max(height, width)
    inner = _quantised(image, max(1, round(height * scale)), max(1, round(width * scale)), bits)
    top, left = (size - inner.shape[0]) // 2, (size - inner.shape[1]) // 2
    square = np.zeros((size, size), dtype=inner.dtype)
    square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return square


def _quantised(image: Grey, height: int, width: int, bits: Bits) -> np.ndarray:
    """Resized to height × width and shown in `bits` bits."""
    if isinstance(image, Toned):
        grey = image.tone.shown(_resize(image.tone.clipped(image.values), height, width))
        return np.rint(grey * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    # 257 takes 255 to 65535; widened before it is resized, so that means keep their fractions
    return _resize(image if bits == 8 else image * np.uint16(257), height, width)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Area mean where the image shrinks (no aliasing), cubic where it grows (OpenCV saturates its overshoot)."""
    if image.shape == (height, width):
        return image
    interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=interpolation)


def equalised(image: np.ndarray, clip_limit: float, tiles: int) -> np.ndarray:
    """CLAHE (Zuiderveld 1994) by OpenCV on uint8 or uint16 [H, W], over tiles × tiles regions."""
    return cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles)).apply(image)
