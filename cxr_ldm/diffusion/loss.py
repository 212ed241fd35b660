"""The training objective: weighted squared error at random noise levels (Ho et al. 2020, eq. 14)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.noise_levels import NoiseLevels, draw
from cxr_ldm.errors import UserError
from cxr_ldm.randomness import Random, normal

Weighting = Callable[[Tensor, Tensor, Tensor], Tensor]


class DiffusionLoss(nn.Module):
    """Mean over elements of w(t) * (F - target)², and over samples of exp(-u(t)) times that + u(t).

    Args:
        noise_levels: distribution of t in training.
        weighting: w as a function of alpha, sigma and the gain of F on x_0.
        uncertainty: u as a function of alpha and sigma `[N]`, such as `LogVariance`; None: u is 0.
    """

    def __init__(self, noise_levels: NoiseLevels, weighting: Weighting, uncertainty: nn.Module | None = None) -> None:
        super().__init__()
        self.noise_levels, self.weighting, self.uncertainty = noise_levels, weighting, uncertainty

    def check(self, denoiser: Denoiser) -> None:
        """Raises UserError where the weighting is not finite at a level that can be drawn."""
        t = self.noise_levels.at(torch.linspace(0.0, 1.0 - 2**-20, 101), denoiser.schedule)
        weights = self.weights(denoiser, t)
        if not torch.isfinite(weights).all():
            worst = t[~torch.isfinite(weights)][0].item()
            raise UserError(
                f"diffusion.weighting is not finite at t={worst:.4g} of this schedule (it divides by an SNR of 0); "
                "take diffusion/weighting=unit, or a prediction that is defined there (v_zsnr or flow)."
            )

    def forward(self, denoiser: Denoiser, x0: Tensor, context: Tensor, mask: Tensor, random: Random = None) -> Tensor:
        """Whitened latents `[N,C,h,w]` and their text -> scalar; randomness only from `random`, on the CPU."""
        t = draw(self.noise_levels, len(x0), denoiser.schedule, random).to(x0)
        noise = normal(x0.shape, random).to(x0)
        losses = self.at(denoiser, x0, noise, t, context, mask)
        if self.uncertainty is not None:
            expected = self.uncertainty(*denoiser.schedule(t))
            losses = losses * (-expected).exp() + expected
        return losses.mean()

    def at(self, denoiser: Denoiser, x0: Tensor, noise: Tensor, t: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """The loss of each sample `[N]` at given noise and times, without u, so that two epochs can be compared."""
        return self.weights(denoiser, t) * denoiser.error(x0, noise, t, context, mask).square().mean(dim=(1, 2, 3))

    def weights(self, denoiser: Denoiser, t: Tensor) -> Tensor:
        """w of times t `[N]`, `[N]`."""
        alpha, sigma = denoiser.schedule(t)
        return self.weighting(alpha, sigma, denoiser.scaling.gain(alpha, sigma))
