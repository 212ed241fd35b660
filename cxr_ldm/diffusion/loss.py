"""The training objective: weighted squared error at random noise levels (Ho et al. 2020, eq. 14)."""

import torch
from torch import Generator, Tensor

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.noise_levels import LogitNormal, Uniform, draw
from cxr_ldm.diffusion.weighting import Unit


class DiffusionLoss:
    """Mean over elements of w(t) * (F - target)².

    Args:
        noise_levels: distribution of t in training.
        weighting: w as a function of alpha and sigma.
    """

    def __init__(self, noise_levels: Uniform | LogitNormal, weighting: Unit) -> None:
        self.noise_levels, self.weighting = noise_levels, weighting

    def __call__(
        self, denoiser: Denoiser, data: Tensor, context: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Tensor:
        """Whitened latents `[N,C,h,w]` and their text -> scalar; randomness only from the CPU `generator`."""
        t = draw(self.noise_levels, len(data), generator).to(data)
        noise = torch.randn(data.shape, generator=generator).to(data)
        return self.at(denoiser, data, noise, t, context, mask).mean()

    def at(self, denoiser: Denoiser, data: Tensor, noise: Tensor, t: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """The loss of each sample `[N]` at given noise and times, so that two epochs can be compared."""
        weight = self.weighting(*denoiser.schedule(t))
        return weight * denoiser.error(data, noise, t, context, mask).square().mean(dim=(1, 2, 3))
