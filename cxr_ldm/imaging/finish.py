"""From what a model drew to what is handed on: enhanced, brought to a size, marked; and what to say about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.imaging.enlarging import Enlarger
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.imaging.presets import apply, check_steps, stated
from cxr_ldm.imaging.watermark import BLOCK, mark

LARGEST = 4096  # pixels a side
LABEL = "SYNTHETIC"


@dataclass(frozen=True)
class Finish:
    """What happens to every image before it is written, in this order.

    Attributes:
        enhance: name of the preset, or of a chain of one's own; None leaves the image as it was drawn.
        steps: of it, see `cxr_ldm.imaging.presets.apply`.
        resolution: side in pixels; None is the model's own. Interpolated (cubic), which adds no detail, or else drawn
            by the enlarger.
        watermark: whether to add the invisible mark.
        label: whether to write SYNTHETIC into the picture.
        enlarger: draws the detail of larger pictures; without a resolution they become as large as it makes them.

    Raises:
        UserError: steps that do not fit, a resolution out of range, or one too small for a watermark.
    """

    enhance: str | None = None
    steps: Sequence[Mapping[str, Any]] = ()
    resolution: int | None = None
    watermark: bool = False
    label: bool = False
    enlarger: Enlarger | None = None

    def __post_init__(self) -> None:
        check_steps(self.steps)
        size, least = self.resolution, 8 * BLOCK if self.watermark else 16
        if size is not None and (type(size) is not int or not least <= size <= LARGEST):
            raise UserError(f"resolution={size} must be a whole number of pixels from {least} to {LARGEST}.")

    def check_size(self, size: int) -> None:
        """Raises UserError where a model of this size draws too few pixels for the watermark, or enough as it is."""
        if self.enlarger is not None and self.side(size) <= size:
            raise UserError(
                f"resolution={self.resolution} is no more than the {size} pixels of this model; leave upscale= out."
            )
        if self.side(size) > LARGEST:
            raise UserError(f"{self.side(size)} pixels a side are too many; add resolution={LARGEST} or less.")
        if self.watermark and self.side(size) < 8 * BLOCK:
            raise UserError(
                f"watermark=true: this model draws {size} × {size} pixels, and {8 * BLOCK} × {8 * BLOCK} are needed; "
                f"add resolution={8 * BLOCK} or more."
            )

    def side(self, size: int) -> int:
        """Pixels a side of what is written of a picture of `size`."""
        return self.resolution or (size if self.enlarger is None else self.enlarger.side(size))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Images `[N,1,H,W]` in [-1, 1] -> the same at the chosen size; as they are where nothing was chosen."""
        return torch.stack([self._one(image[0])[None] for image in pixels])

    def _one(self, image: Tensor) -> Tensor:
        grey = (image.double().numpy() + 1) / 2
        stages = apply(grey, self.steps)
        grey = stages[-1].image if stages else grey
        side = self.side(grey.shape[0])
        if self.enlarger is not None and side > grey.shape[0]:
            grey = self.enlarger(grey, side)
        elif side != grey.shape[0]:
            kind = cv2.INTER_AREA if side < grey.shape[0] else cv2.INTER_CUBIC
            grey = np.clip(cv2.resize(grey, (side, side), interpolation=kind), 0, 1)
        finished = torch.from_numpy(grey).float() * 2 - 1
        if self.label:
            finished = torch.from_numpy(labelled(to_uint8(finished))).float() / 127.5 - 1
        if self.watermark:
            finished = torch.from_numpy(mark(to_uint8(finished))).float() / 127.5 - 1
        changed = stages or self.resolution or self.enlarger or self.watermark or self.label
        return finished if changed else image

    def facts(self) -> dict[str, Any]:
        """For provenance: what was done; nothing where nothing was."""
        facts: dict[str, Any] = {}
        if self.steps:
            facts["enhance"] = {"name": self.enhance, "steps": stated(self.steps)}
        if self.resolution is not None:
            facts["resolution"] = self.resolution
        if self.enlarger is not None:
            facts["upscale"] = self.enlarger.facts()
        if self.watermark:
            facts["watermark"] = True
        if self.label:
            facts["label"] = LABEL
        return facts


def labelled(levels: np.ndarray) -> np.ndarray:
    """A picture with LABEL at its lower edge, white on black, a third of its width; uint8 `[H,W]` -> uint8 `[H,W]`."""
    picture = Image.fromarray(levels)
    drawing, width = ImageDraw.Draw(picture), levels.shape[1]
    font = ImageFont.load_default(size=max(7, width // 20))
    left, top, right, bottom = drawing.textbbox((0, 0), LABEL, font=font)
    margin = max(1, width // 100)
    corner = margin, levels.shape[0] - (bottom - top) - 3 * margin
    drawing.rectangle((*corner, corner[0] + right - left + 2 * margin, levels.shape[0] - margin), fill=0)
    drawing.text((corner[0] + margin - left, corner[1] + margin - top), LABEL, fill=255, font=font)
    return np.asarray(picture).copy()
