"""Where on [0, 1] training draws its noise levels."""

import torch
from torch import Generator, Tensor


class Uniform:
    """t uniform on (0, 1], rounded up to one of `levels` steps when the schedule is discrete."""

    def __init__(self, levels: int | None = None) -> None:
        self.levels = levels

    def at(self, quantile: Tensor) -> Tensor:
        """Quantile `[...]` in [0, 1) -> t `[...]` in (0, 1]."""
        t = 1.0 - quantile
        return t if self.levels is None else (t * self.levels).ceil().clamp(min=1) / self.levels


class LogitNormal:
    """logit(t) ~ N(mean, std²): more training where the denoiser decides most (Esser et al. 2024, section 3.1)."""

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean, self.std = mean, std

    def at(self, quantile: Tensor) -> Tensor:
        """Quantile `[...]` in [0, 1) -> t `[...]` in (0, 1).

        >>> LogitNormal().at(torch.tensor([0.5])).item()
        0.5
        """
        # quantiles at the very ends would be infinite; float32 leaves 1e-6 there untouched
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(quantile.clamp(1e-6, 1.0 - 1e-6)))


def draw(levels: Uniform | LogitNormal, count: int, generator: Generator | None) -> Tensor:
    """`count` noise levels, stratified: one quantile in each of `count` equal slices, in random order.

    Stratifying keeps the distribution and lowers the variance of the loss (Kingma et al. 2021, appendix I.1).
    """
    slices = torch.randperm(count, generator=generator)
    return levels.at((slices + torch.rand(count, generator=generator)) / count)
