"""Enhancements for the eye: pure functions of a picture `[H,W]` in [0, 1], black to white, that give a new one.

They change what grey means, so nothing that is measured or trained on goes through them. Every function returns
float32 in [0, 1] of the same shape, leaves its input as it is, and raises UserError where a parameter is out of range.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cxr_ldm.data.images import equalised
from cxr_ldm.errors import UserError

BINS = 65536  # grey levels that are told apart where a histogram is taken


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
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994) on 65,536 grey levels, by OpenCV.

    Args:
        clip_limit: most that a histogram's bin may hold, in multiples of the mean bin; larger is stronger.
        tiles: regions along each side.
    """
    check("clahe", clip_limit=clip_limit, tiles=tiles)
    levels = np.rint(grey(image) * (BINS - 1)).astype(np.uint16)
    return equalised(levels, clip_limit, int(tiles)).astype(np.float32) / np.float32(BINS - 1)


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
    """Histogram equalisation: each grey becomes the share of pixels that are not brighter (Gonzalez & Woods, 3.3.1).

    Args:
        strength: share of the equalised picture in the result; 0 changes nothing.
    """
    check("equalise", strength=strength)
    picture = grey(image)
    levels = np.rint(picture * (BINS - 1)).astype(np.int64)
    shares = np.bincount(levels.ravel(), minlength=BINS).cumsum() / levels.size
    equal = shares[levels].astype(np.float32)
    return np.clip(picture + np.float32(strength) * (equal - picture), 0, 1)


def vignette(image: np.ndarray, strength: float = 0.3, radius: float = 0.5) -> np.ndarray:
    """Darker towards the corners, as film at the end of a light box: image · (1 - strength · s²).

    s is 0 up to `radius` from the centre and rises to 1 in the corners, where the distance is 1.

    >>> vignette(np.ones((3, 3)), strength=0.4, radius=0.0)[:2, :2].round(3).tolist()  # distances 1, √½, 0
    [[0.6, 0.8], [0.8, 1.0]]
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
