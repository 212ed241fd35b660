"""Finished pictures made larger by a trained network, which draws the detail that interpolation leaves soft."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from cxr_ldm.bundle import Bundle, load_bundle
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.networks.precision import in_precision
from cxr_ldm.networks.upscaler import Tiled, Upscaler, interpolated, without_mean
from cxr_ldm.ranges import Precision

LEAST = 16  # pixels a side
STEPS = 10  # of the sampler, where nothing else is stated


@torch.inference_mode()
def enlarged(denoiser: Denoiser, small: Tensor, seeds: Sequence[int], sampling: Sampling, tile: int = 128) -> Tensor:
    """Small pictures to large ones, whose detail is drawn by the flow of an upscaler.

    In one step it is the mean of all detail that the small picture may have, which is the estimate of x_0 at t = 1.

    Args:
        denoiser: of an upscaler.
        small: `[N,1,h,w]` in [-1, 1].
        seeds: of the noise of each.
        tile: side in pixels of what the network sees at once; changes rounding only.

    Returns:
        float32 `[N,1,fh,fw]` in [-1, 1], which average over squares to `small`.
    """
    network: Upscaler = denoiser.network  # type: ignore[assignment]
    factor, side = network.factor, [length * network.factor for length in small.shape[-2:]]
    noise = [torch.randn(1, *side, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    start = without_mean(torch.stack(noise).to(small), factor)
    tiled = Denoiser(Tiled(network, tile), denoiser.schedule, denoiser.scaling)
    unused = torch.ones(len(small), 1, device=small.device)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return tiled(x, t.to(x).expand(len(x)), small, unused)

    times = sampling.times(sampling.steps, denoiser.schedule.levels)
    detail = sampling.sampler(denoise, start, times, denoiser.schedule)
    return network.enlarge(small, detail)


def without_model(small: Tensor, factor: int) -> Tensor:
    """What cubic interpolation makes of small pictures `[N,1,h,w]`: `[N,1,fh,fw]`, both in [-1, 1]."""
    return interpolated(small, factor).clamp(-1.0, 1.0)


def where_a_lung_is(pictures: Tensor, side: int) -> Tensor:
    """A square of each picture `[N,1,H,W]`, for detail is not seen on a whole one.

    Args:
        side: of the square in pixels; at most the picture's own.
    """
    side = min(side, *pictures.shape[-2:])
    top, left = (pictures.shape[-2] - side) // 3, (pictures.shape[-1] - side) // 4
    return pictures[..., top : top + side, left : left + side]


def denoiser_of(bundle: Bundle, precision: Precision) -> Denoiser:
    """Of an upscaler's bundle, in a number format."""
    parts = bundle.parts
    return Denoiser(in_precision(parts["upscaler"], precision), parts["schedule"], parts["scaling"]).eval()


def factor_of(denoiser: Denoiser) -> int:
    """How many times larger it makes a picture."""
    return denoiser.network.factor  # type: ignore[return-value]


@dataclass(frozen=True)
class Enlarger:
    """An upscaler of a bundle.

    Attributes:
        name: as `upscale=` names it.
        sha256: of its bundle.
        sampling: of its detail.
        denoiser: enlarges by `factor`, as often as is needed.
        start: pixels a side to which a larger picture is averaged first, since a decoder draws its finest scale soft;
            None keeps every pixel of it.

    Raises:
        UserError: `start` is less than 16.
    """

    name: str
    sha256: str
    sampling: Sampling
    denoiser: Denoiser = field(compare=False, repr=False)
    start: int | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.start < LEAST:
            raise UserError(f"upscale_from={self.start} must be {LEAST} pixels or more.")

    @classmethod
    def load(
        cls, folder: Path | str, name: str | None = None, precision: Precision = "32", start: int | None = None
    ) -> "Enlarger":
        """From a bundle's folder; raises UserError as `load_bundle`."""
        bundle = load_bundle(folder, "upscaler")
        sampling = Sampling(STEPS, precision=precision)
        return cls(name or str(folder), bundle.sha256, sampling, denoiser_of(bundle, precision), start)

    @property
    def factor(self) -> int:
        return factor_of(self.denoiser)

    def side(self, size: int) -> int:
        """Pixels a side of what it makes of a picture of `size` in one go."""
        return min(size, self.start or size) * self.factor

    def __call__(self, grey: np.ndarray, side: int) -> np.ndarray:
        """A picture `[H,H]` in [0, 1] to `[side,side]`: enlarged until it reaches that, then averaged down to it.

        Its grain follows from its own levels, so that the same picture always has the same, and two have not.
        """
        if self.start is not None and self.start < grey.shape[0]:
            grey = cv2.resize(grey, (self.start, self.start), interpolation=cv2.INTER_AREA)
        picture = torch.from_numpy(grey).float()[None, None] * 2 - 1
        while picture.shape[-1] < side:
            digest = hashlib.sha256(to_uint8(picture).tobytes()).digest()
            picture = enlarged(self.denoiser, picture, [int.from_bytes(digest[:7])], self.sampling)
        large = (picture[0, 0].numpy() + 1) / 2
        return np.clip(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA), 0, 1)

    def facts(self) -> dict[str, Any]:
        """For provenance."""
        return {
            "name": self.name,
            "bundle_sha256": self.sha256,
            "steps": self.sampling.steps,
            **({} if self.start is None else {"from": self.start}),
            **self.sampling.narrowness(),
        }
