"""Drawing that begins from an image: noised part of the way, held to it outside a hole, or followed back to its noise.

All three work on white latents and leave the sampler as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.guidance import Denoise, DenoiseTo
from cxr_ldm.diffusion.schedules import Schedule
from cxr_ldm.diffusion.steps import noise_hat, walk

ROUNDS = 8  # of the fixed point of a step; on chest256 a ninth changes an image by less than its 8 bits show


def shortened(times: Tensor, strength: float, levels: int | None = None) -> Tensor:
    """The grid from t = `strength` on: that time, and those of `times` below it.

    Args:
        times: `[steps+1]`, from noise to data.
        strength: in (0, 1].
        levels: of a schedule with discrete times, to which the first is rounded; no other time is of its level, since
            a step of no length has no slope.

    >>> shortened(torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]), 0.6)
    tensor([0.6000, 0.5000, 0.2500, 0.0000])
    """
    start, at = torch.as_tensor(strength).to(times), times
    if levels is not None:
        start = (start * levels).round().clamp(min=1.0) / levels
        at = (times * levels).round() / levels  # as the schedule takes them
    return torch.cat([start[None], times[at < start - 1e-6]])


def noised(x0: Tensor, noise: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """x_t = alpha_t x_0 + sigma_t noise, from which a path begins that keeps the image's coarse shape.

    SDEdit (Meng et al. 2022, section 3), image to image.

    Shapes: `[N,C,h,w]` both, t scalar -> `[N,C,h,w]`.
    """
    alpha, sigma = schedule(t)
    return alpha * x0 + sigma * noise


def held(denoise: DenoiseTo, known: Tensor, hole: Tensor) -> DenoiseTo:
    """D within the hole, and the known image outside it.

    A sampler that starts at `noised(known, noise, …)` then keeps alpha_t known + sigma_t noise outside the hole at
    every step, whatever its order, since it only ever sees D: blended diffusion (Avrahami et al. 2023, section 4.1)
    with one noise in place of fresh ones.

    Args:
        known: white latents `[N,C,h,w]`.
        hole: `[N,1,h,w]`, 1 where the image is drawn anew, and 0 where it stays.
    """

    def blended(x: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        return hole * denoise(x, t, s) + (1.0 - hole) * known

    return blended


def inverted(
    denoise: Denoise,
    x0: Tensor,
    times: Tensor,
    schedule: Schedule,
    rounds: int = ROUNDS,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """The x_t at times[0] from which `euler` comes to `x0`: each of its steps is solved for where it began.

    A step from t to s is x_s = x_t + (alpha_s - alpha_t) D + (sigma_s - sigma_t) noise_hat, with D and noise_hat at
    x_t, which is not known here; so x_t is the fixed point of that equation, found by `rounds` evaluations (Pan et al.
    2023, section 3.2). One evaluation at x_s in place of x_t would be DDIM's inversion (Song et al. 2021, section 4.3),
    which does not lead back.

    Args:
        denoise: without guidance, whose paths are no paths of the data.
        x0: white latents `[N,C,h,w]`.
        times: as of a sampler, from noise to data.
        progress: called after each evaluation with the number of images.
    """
    x = x0
    for _, t, _, at_t, at_s in reversed(list(walk(x0, times, schedule))):
        end = x
        for _ in range(rounds):
            estimate = denoise(x, t)
            slope = noise_hat(x, estimate, at_t)
            x = end - (at_s.alpha - at_t.alpha) * estimate - (at_s.sigma - at_t.sigma) * slope
            if progress is not None:
                progress(len(x))
    return x


@dataclass(frozen=True)
class Bound:
    """A denoiser of one batch, and white latents `[N,C,h,w]` that it is held to outside a hole `[N,1,h,w]`."""

    denoiser: Denoiser
    known: Any = None
    hole: Tensor | None = None

    def held(self, denoise: DenoiseTo) -> DenoiseTo:
        """D, with what is known outside the hole; D itself where there is none."""
        return denoise if self.hole is None else held(denoise, self.known, self.hole)
