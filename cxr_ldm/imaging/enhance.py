"""Enhancements for the eye: pure functions of a picture `[H,W]` in [0, 1], black to white, that give a new one.

They change what grey means, so nothing that is measured or trained on goes through them. Every function returns
float32 in [0, 1] of the same shape, leaves its input as it is, and raises UserError where a parameter is out of range.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cxr_ldm.errors import UserError

# Of a histogram; between its levels mappings are interpolated. With 65,536, a tile holds hardly more than one pixel in
# a bin, so that no limit clips anything (OpenCV's CLAHE on 16 bits gives the same picture for any limit), and
# equalisation spreads the invisible noise of a black background over a fifth of the grey scale.
LEVELS = 256
MAPPED = 1 << 20  # pixels that CLAHE maps at once, which bounds its memory


@dataclass(frozen=True)
class Parameter:
    """A parameter of a step: where a slider ends, what it starts with, and how far it moves."""

    name: str
    low: float
    high: float
    default: float
    step: float


@dataclass(frozen=True)
class Step:
    """An enhancement as a page offers it.

    Attributes:
        function: of the picture and the parameters by name.
        label, help: for people.
        parameters: in the order of the function's arguments.
    """

    function: Callable[..., np.ndarray]
    label: str
    help: str
    parameters: tuple[Parameter, ...]

    def __call__(self, image: np.ndarray, **values: Any) -> np.ndarray:
        return self.function(image, **values)


def window(image: np.ndarray, center: float = 0.5, width: float = 1.0) -> np.ndarray:
    """Grey from center - width/2 to center + width/2 fills black to white (DICOM PS3.3 C.11.2.1.3.2, LINEAR_EXACT).

    >>> window(np.array([[0.2, 0.5, 0.8]]), center=0.5, width=0.6).round(3).tolist()
    [[0.0, 0.5, 1.0]]
    """
    check("window", center=center, width=width)
    return np.clip((grey(image) - np.float32(center)) / np.float32(width) + np.float32(0.5), 0, 1)


def clahe(image: np.ndarray, clip_limit: float = 2.0, tiles: int = 8) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994).

    As OpenCV's on 8 bits, but between the 256 levels the mapping is interpolated, so that no levels are lost, and the
    limit is not rounded up to a whole pixel, so that it means the same for a tile of any size.

    Args:
        clip_limit: most that a histogram's bin may hold, in multiples of the mean bin; larger is stronger. What is
            above is shared out to all bins, so that contrast grows at most (clip_limit + 1)-fold.
        tiles: regions along each side.
    """
    check("clahe", clip_limit=clip_limit, tiles=tiles)
    picture = grey(image)
    height, width = picture.shape
    below, right = -height % tiles, -width % tiles
    padded = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REFLECT_101) if below or right else picture
    curves = tile_curves(padded, float(clip_limit), tiles)
    result = np.empty_like(picture)
    stride = max(1, MAPPED // width)
    for top in range(0, height, stride):
        rows = slice(top, min(top + stride, height))
        result[rows] = mapped(picture[rows], curves, top, padded.shape)
    return result


def tile_curves(picture: np.ndarray, clip_limit: float, tiles: int) -> np.ndarray:
    """The mapping of each tile: grey in [0, 1] of each of 256 levels, float32 `[tiles, tiles, 256]`."""
    height, width = (size // tiles for size in picture.shape)
    levels = np.rint(picture * (LEVELS - 1)).astype(np.int64)
    tiled = levels.reshape(tiles, height, tiles, width).swapaxes(1, 2).reshape(tiles * tiles, height * width)
    numbered = tiled + LEVELS * np.arange(tiles * tiles)[:, None]
    counts = np.bincount(numbered.ravel(), minlength=LEVELS * tiles * tiles).reshape(tiles, tiles, LEVELS)
    shares = counts / (height * width)
    clipped = np.minimum(shares, clip_limit / LEVELS)
    clipped += (1 - clipped.sum(-1, keepdims=True)) / LEVELS
    return clipped.cumsum(-1).clip(0, 1).astype(np.float32)


def mapped(rows: np.ndarray, curves: np.ndarray, top: int, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of a picture, the first being row `top`, through the curves of the four nearest tiles (bilinear)."""
    tiles = len(curves)

    def neighbours(positions: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place = positions * (tiles / size) - 0.5  # in tiles, from the middle of the first one
        first = np.floor(place)
        share = (place - first).astype(np.float32)
        low, high = (np.clip(first + step, 0, tiles - 1).astype(np.int64) for step in (0, 1))
        return low, high, share

    up, down, vertical = neighbours(top + np.arange(len(rows)), shape[0])
    left, right, across = neighbours(np.arange(rows.shape[1]), shape[1])
    exact = rows * (LEVELS - 1)
    level = np.minimum(exact.astype(np.int64), LEVELS - 2)
    between = exact - level.astype(np.float32)

    def through(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        place = (row[:, None] * tiles + column) * LEVELS + level
        flat = curves.ravel()
        return flat[place] * (1 - between) + flat[place + 1] * between

    upper = through(up, left) * (1 - across) + through(up, right) * across
    lower = through(down, left) * (1 - across) + through(down, right) * across
    return np.clip(upper * (1 - vertical[:, None]) + lower * vertical[:, None], 0, 1)


def edges(image: np.ndarray, radius: float = 1.0, amount: float = 1.0) -> np.ndarray:
    """Unsharp masking: image + amount · (image - blurred), cut to [0, 1].

    Args:
        radius: standard deviation of the Gaussian blur, in pixels.
        amount: how much of the difference is added; 0 changes nothing.
    """
    check("edges", radius=radius, amount=amount)
    picture = grey(image)
    blurred = cv2.GaussianBlur(picture, (0, 0), radius, borderType=cv2.BORDER_REFLECT)
    return np.clip(picture + np.float32(amount) * (picture - blurred), 0, 1)


def median(image: np.ndarray, size: int = 3) -> np.ndarray:
    """Median over size × size pixels, the border repeated; takes away single bright or dark pixels, keeps edges.

    Args:
        size: 3 or 5; 1 changes nothing.
    """
    check("median", size=size)
    return cv2.medianBlur(grey(image), int(size)) if size > 1 else grey(image).copy()


def equalise(image: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Histogram equalisation: grey becomes the share of pixels that are darker or equal (Gonzalez & Woods, 3.3.1).

    As in OpenCV, shares are counted above the darkest grey, so that it becomes black, however much of the picture is
    black collimation. A picture of one grey stays as it is.

    Args:
        strength: share of the equalised picture in the result; 0 changes nothing.
    """
    check("equalise", strength=strength)
    picture = grey(image)
    counts = np.bincount(np.rint(picture * (LEVELS - 1)).astype(np.int64).ravel(), minlength=LEVELS)
    darkest = counts[np.flatnonzero(counts)[0]]
    if darkest == picture.size:
        return picture.copy()
    shares = ((counts.cumsum() - darkest) / (picture.size - darkest)).clip(0, 1)
    equal = np.interp(picture, np.arange(LEVELS) / (LEVELS - 1), shares).astype(np.float32)
    return np.clip(picture + np.float32(strength) * (equal - picture), 0, 1)


def vignette(image: np.ndarray, strength: float = 0.3, radius: float = 0.5) -> np.ndarray:
    """Darker towards the corners, as film at the end of a light box: image · (1 - strength · s²).

    s is 0 up to `radius` from the centre and rises to 1 in the corners, where the distance is 1.

    >>> vignette(np.ones((3, 3)), strength=0.5, radius=0.0)[:2, :2].round(3).tolist()  # distances 1, √½, 0
    [[0.5, 0.75], [0.75, 1.0]]
    """
    check("vignette", strength=strength, radius=radius)
    picture = grey(image)
    rows, columns = (np.linspace(-1, 1, size, dtype=np.float32) for size in picture.shape)
    distance = np.sqrt((rows[:, None] ** 2 + columns**2) / 2)
    beyond = np.clip((distance - radius) / (1 - radius), 0, 1)
    return np.clip(picture * (1 - np.float32(strength) * beyond**2), 0, 1)


STEPS: dict[str, Step] = {
    "window": Step(
        window,
        "Window",
        "A range of grey is spread from black to white; what is outside is cut.",
        (Parameter("center", 0.0, 1.0, 0.5, 0.01), Parameter("width", 0.05, 2.0, 1.0, 0.01)),
    ),
    "clahe": Step(
        clahe,
        "CLAHE",
        "Contrast of each region for itself, limited so that noise does not take over.",
        (Parameter("clip_limit", 0.5, 10.0, 2.0, 0.1), Parameter("tiles", 1, 16, 8, 1)),
    ),
    "edges": Step(
        edges,
        "Edge enhancement",
        "Unsharp mask: what differs from its surroundings stands out more.",
        (Parameter("radius", 0.3, 10.0, 1.0, 0.1), Parameter("amount", 0.0, 5.0, 1.0, 0.1)),
    ),
    "median": Step(
        median,
        "Median filter",
        "Takes away single bright or dark pixels and keeps edges.",
        (Parameter("size", 1, 5, 3, 2),),
    ),
    "equalise": Step(
        equalise,
        "Histogram equalisation",
        "All greys become equally frequent.",
        (Parameter("strength", 0.0, 1.0, 1.0, 0.05),),
    ),
    "vignette": Step(
        vignette,
        "Vignette",
        "Darker towards the corners.",
        (Parameter("strength", 0.0, 1.0, 0.3, 0.05), Parameter("radius", 0.0, 0.95, 0.5, 0.05)),
    ),
}


def check(step: str, **values: float) -> None:
    """Raises UserError where a value is no number or out of its parameter's range; whole where the parameter is."""
    for parameter in STEPS[step].parameters:
        value, low, high = values[parameter.name], parameter.low, parameter.high
        whole = isinstance(parameter.default, int)
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high or (whole and (value - low) % parameter.step):
            kind = "a whole number" if whole else "a number"
            steps = f" in steps of {parameter.step}" if whole and parameter.step != 1 else ""
            raise UserError(f"{step}.{parameter.name}={value} must be {kind} from {low} to {high}{steps}.")


def grey(image: np.ndarray) -> np.ndarray:
    """The picture as float32; raises UserError where it is not `[H,W]` in [0, 1]."""
    if image.ndim != 2 or image.size == 0:
        raise UserError(f"enhancement: an image of shape {image.shape} is not [H, W].")
    picture = np.asarray(image, dtype=np.float32)
    if not np.isfinite(picture).all() or picture.min() < -1e-5 or picture.max() > 1 + 1e-5:
        raise UserError("enhancement: grey levels must lie in [0, 1], without NaN.")
    return np.ascontiguousarray(np.clip(picture, 0, 1))
