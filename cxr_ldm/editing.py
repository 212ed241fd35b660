"""An image that is given to be drawn anew, whole or in part: how it is read, and which part is the hole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cxr_ldm.data.pixels.images import BLANK, Fit, Grey, UnreadableImage, display, resize_square
from cxr_ldm.data.readers.files import load_nobody
from cxr_ldm.errors import UserError

# Places of a frontal chest in standard display, as shares of the square: left, top, right, bottom. The patient's right
# is at the left of the image. Those of the lungs reach the chest wall and the domes of the phantoms.
REGIONS = {
    "right_lung": (0.05, 0.08, 0.49, 0.92),
    "left_lung": (0.51, 0.08, 0.95, 0.92),
    "right_base": (0.05, 0.5, 0.49, 0.92),
    "left_base": (0.51, 0.5, 0.95, 0.92),
    "heart": (0.35, 0.38, 0.78, 0.86),
}
RIM = 1 / 32
EDIT = "edit"  # of a provenance


@dataclass(frozen=True)
class Original:
    """What images are drawn from, beside their prompts.

    Attributes:
        pixels: `[N,1,H,W]` in [-1, 1] at the model's size, one for each prompt or one for all.
        strength: time at which the path begins, in (0, 1]: near 0 almost nothing changes, at 1 only the hole's outside
            stays, or nothing where there is no hole.
        hole: bool `[N,1,H,W]` or `[1,1,H,W]`, True where the image is drawn anew; None: everywhere.
        source: N texts that describe the given images. The path then begins at the noise that leads to them
            (`cxr_ldm.diffusion.editing.inverted`) in place of a seed's.

    Raises:
        UserError: the pixels or the strength are out of range, the hole is empty or of another size, or nothing would
            be kept.
    """

    pixels: Tensor
    strength: float = 1.0
    hole: Tensor | None = None
    source: Sequence[str] | None = None

    def __post_init__(self) -> None:
        whole = self.pixels.is_floating_point() and self.pixels.ndim == 4
        if not whole or not (self.pixels.abs() <= 1 + 1e-3).all():  # False of NaN, too
            raise UserError("pixels to draw from are [N, 1, H, W] in [-1, 1]; `square_of` makes them of a picture.")
        if not 0 < self.strength <= 1:
            raise UserError(f"strength={self.strength} must be above 0 and at most 1.")
        if self.hole is not None and self.hole.shape[-2:] != self.pixels.shape[-2:]:
            raise UserError(f"the hole is {tuple(self.hole.shape[-2:])} and the image {tuple(self.pixels.shape[-2:])}.")
        if self.hole is not None and not self.hole.any():
            raise UserError("the hole is empty, so nothing would be drawn; white in a mask is drawn anew.")
        if self.strength == 1 and self.hole is None and self.source is None:
            raise UserError(
                "strength=1 keeps nothing of the image; take less, such as 0.6, or say by box=, mask= or region= which "
                "part is drawn anew."
            )

    def check(self, count: int) -> None:
        """Raises UserError where the images, holes or texts are not for `count` prompts."""
        for given, word in ((self.pixels, "images to draw from"), (self.hole, "holes")):
            if given is not None and len(given) not in (1, count):
                raise UserError(f"{count} prompts and {len(given)} {word}; give one for each, or one for all.")
        if isinstance(self.source, str):  # whose letters would be taken for texts
            raise UserError("source is a list of texts, one for each prompt.")
        if self.source is not None and len(self.source) != count:
            raise UserError(f"{count} prompts and {len(self.source)} source texts: one is needed for each prompt.")

    def part(self, place: slice) -> "Original":
        """Those of the prompts at `place`; what is there once serves all."""

        def cut(values: Tensor) -> Tensor:
            return values if len(values) == 1 else values[place]

        hole = None if self.hole is None else cut(self.hole)
        return Original(
            cut(self.pixels), self.strength, hole, self.source if self.source is None else self.source[place]
        )

    def latent_hole(self, factor: int) -> Tensor | None:
        """The cells of latents that any pixel of the hole lies in, 1 or 0, float32 `[N,1,H/factor,W/factor]`."""
        return None if self.hole is None else functional.max_pool2d(self.hole.float(), factor)

    def facts(self, filled: str | None, paste: bool = False) -> dict[str, Any]:
        """For provenance: what was done to the image, which itself is not named.

        Args:
            filled: how the model fills a hole, "learnt" or "held".
            paste: whether the pixels outside the hole were put back.
        """
        facts: dict[str, Any] = {"strength": self.strength}
        if self.hole is not None:
            facts |= {"hole": round(self.hole.float().mean().item(), 4), "filled": filled, "pasted": paste}
        if self.source is not None:
            facts["source"] = self.source[0]
        return {EDIT: facts}


def pasted(drawn: Tensor, pixels: Tensor, hole: Tensor) -> Tensor:
    """The given pixels outside the hole, exactly, and the drawn ones within it, blended over its rim.

    The rim lies inside the hole, and is RIM of the image's side wide.

    Args:
        drawn, pixels: `[N,1,H,W]` in [-1, 1]; of `pixels` and `hole` there may be one for all.
    """
    # what lies beyond the image's edge is no outside
    framed = np.pad(hole[:, 0].byte().numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    depth = np.stack([cv2.distanceTransform(each, cv2.DIST_L2, 3)[1:-1, 1:-1] for each in framed])
    weight = torch.from_numpy(np.clip(depth / (RIM * drawn.shape[-1]), 0, 1)).float()[:, None]
    return pixels + weight * (drawn - pixels)


def read_original(path: Path) -> Grey:
    """The picture of a PNG, JPEG or DICOM file, one of ours included; of its header nothing is kept.

    Raises:
        UserError: as the readers of these files, the picture is blank, or the header says that it names or shows a
            person.
    """
    image = load_nobody(path)
    if display(image, 8).std() == 0:
        raise UnreadableImage(path, BLANK)
    return image


def square_of(image: Grey, size: int, fit: Fit = "pad") -> Tensor:
    """A picture as the model's square, as preparing makes it: float32 `[1,1,size,size]` in [-1, 1].

    Raises:
        UserError: an array that is not grey levels uint8 [H, W].
    """
    if isinstance(image, np.ndarray) and (image.dtype != np.uint8 or image.ndim != 2):
        raise UserError(f"a picture is grey levels uint8 [H, W], and this is {image.dtype} {list(image.shape)}.")
    return torch.from_numpy(resize_square(image, size, fit).astype(np.float32))[None, None] / 127.5 - 1


def hole_of(
    shape: tuple[int, int],
    size: int,
    fit: Fit = "pad",
    box: Sequence[int] | None = None,
    mask: np.ndarray | None = None,
    region: str | None = None,
) -> Tensor | None:
    """The hole of a given image on the model's square, bool `[1,1,size,size]`; None where none is described.

    Args:
        shape: height and width of the given image.
        fit: as of `square_of`.
        box: left, top, right and bottom in pixels of the given image; the last two are outside.
        mask: uint8 `[H,W]` of the image's shape; above 127 is drawn anew.
        region: one of `REGIONS`, on the square.

    Raises:
        UserError: more than one is given, the box lies outside the image, the mask is of another shape or empty, or the
            region is not known.
    """
    given = [name for name, value in (("box", box), ("mask", mask), ("region", region)) if value is not None]
    if len(given) > 1:
        raise UserError(f"{' and '.join(f'{name}=' for name in given)} each say what is drawn anew; give one.")
    if region is not None:
        if region not in REGIONS:
            raise UserError(f"region={region} is not one of {', '.join(REGIONS)}.")
        left, top, right, bottom = (round(share * size) for share in REGIONS[region])
        hole = torch.zeros(1, 1, size, size, dtype=torch.bool)
        hole[:, :, top:bottom, left:right] = True
        return hole
    if box is not None:
        mask = box_mask(shape, box)
    if mask is None:
        return None
    if mask.shape != tuple(shape):
        raise UserError(
            f"the mask has {mask.shape[1]} × {mask.shape[0]} pixels and the image {shape[1]} × {shape[0]}; a mask is "
            "of the image's own size."
        )
    square = resize_square(np.where(mask > 127, 255, 0).astype(np.uint8), size, fit)
    if not square.any():
        raise UserError("the mask is empty, so nothing would be drawn; white is drawn anew.")
    return torch.from_numpy(square > 0)[None, None]


def box_mask(shape: tuple[int, int], box: Sequence[int]) -> np.ndarray:
    """255 within a box in pixels, uint8 `[H,W]`; raises UserError where it lies outside.

    >>> box_mask((2, 3), (1, 0, 3, 1)).tolist()
    [[0, 255, 255], [0, 0, 0]]
    """
    height, width = shape
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UserError(
            f"box={list(box)} must be left, top, right and bottom in pixels of the image, which has {width} × {height}."
        )
    mask = np.zeros(shape, np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def was_edited(facts: Mapping[str, Any]) -> bool:
    """Whether a provenance is that of an image drawn from another."""
    return EDIT in facts
