"""How much each noise level counts in the loss, as a factor on the squared error of the network's output."""

import torch
from torch import Tensor

from cxr_ldm.diffusion.guidance_rule import is_number
from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Positive


class Unit:
    """Every level counts alike: Ho et al. 2020's L_simple when F is the noise."""

    def __call__(self, alpha: Tensor, sigma: Tensor, gain: Tensor) -> Tensor:
        """alpha, sigma, gain `[N]` -> weights `[N]`."""
        return torch.ones_like(alpha)


class MinSNR:
    """min(SNR, gamma) on the squared error of x_0 (Hang et al. 2023, eq. 7), brought to the output's own unit.

    With SNR = alpha² / sigma² this is min(SNR, gamma) / SNR for the noise and min(SNR, gamma) / (SNR + 1) for v.

    Args:
        gamma: where the weight stops growing, above 0; 5 in the paper.

    Raises:
        UserError: gamma is not above 0.
    """

    def __init__(self, gamma: Positive = 5.0) -> None:
        if not is_number(gamma) or gamma <= 0:
            raise UserError(f"diffusion.weighting.gamma={gamma} must be a number above 0: every weight would be 0.")
        self.gamma = gamma

    def __call__(self, alpha: Tensor, sigma: Tensor, gain: Tensor) -> Tensor:
        """alpha, sigma, gain `[N]` -> weights `[N]`.

        >>> one = torch.ones(1)
        >>> MinSNR(5.0)(0.6 * one, 0.8 * one, 0.8 * one)
        tensor([0.3600])
        """
        return (alpha / sigma).square().clamp(max=self.gamma) * gain.square()
