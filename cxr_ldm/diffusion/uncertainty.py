"""How large an error to expect at each noise level, learnt beside the denoiser (Karras et al. 2024, section B.2)."""

import math

import torch
from torch import Tensor, nn

from cxr_ldm.ranges import Count

LARGEST = 20.0  # |ln(alpha / sigma)|: both ends of a schedule stay finite


class LogVariance(nn.Module):
    """u(t) of the loss exp(-u) l + u, whose minimum over u is at u = ln l: each level's gradient comes to one size.

    A linear layer on random Fourier features of the log signal-to-noise ratio. It starts at 0, where the loss is the
    plain one. It trains with the denoiser and is no part of the model.

    Args:
        features: of the level; 128 in the paper.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, features: Count = 128) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.register_buffer("frequencies", torch.randn(features, generator=random))
        self.register_buffer("phases", torch.rand(features, generator=random))
        self.linear = nn.Linear(features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """alpha, sigma `[N]` -> u `[N]`."""
        level = (alpha.log() - sigma.log()).clamp(-LARGEST, LARGEST) / 4.0
        waves = torch.cos(2.0 * math.pi * (level[:, None] * self.frequencies + self.phases)) * math.sqrt(2.0)
        expected: Tensor = self.linear(waves)[:, 0]
        return expected
