"""Schedules: alpha_t and sigma_t for t in [0, 1], finite at both ends."""

from typing import Protocol

import torch
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Count, Share


class Schedule(Protocol):
    """alpha and sigma of t, what the network is told of t, and t of sigma / alpha; `levels` steps, or None."""

    @property
    def levels(self) -> int | None: ...

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]: ...

    def label(self, t: Tensor) -> Tensor: ...

    def time_of(self, ratio: Tensor) -> Tensor: ...


class RectifiedFlow:
    """Straight paths, alpha = 1 - t and sigma = t (Liu et al. 2023, eq. 1; Lipman et al. 2023).

    >>> RectifiedFlow()(torch.tensor([0.0, 0.25, 1.0]))
    (tensor([1.0000, 0.7500, 0.0000]), tensor([0.0000, 0.2500, 1.0000]))
    """

    levels = None

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """t `[...]` in [0, 1] -> (alpha, sigma), each `[...]`."""
        return 1.0 - t, t

    def label(self, t: Tensor) -> Tensor:
        """What the network is told of the noise: 1000 t, the scale of its sinusoids."""
        return 1000.0 * t

    def time_of(self, ratio: Tensor) -> Tensor:
        """sigma / alpha `[...]` -> t `[...]`.

        >>> RectifiedFlow().time_of(torch.tensor([0.0, 1.0, 3.0]))
        tensor([0.0000, 0.5000, 0.7500])
        """
        return ratio / (1.0 + ratio)


class LinearBeta:
    """Variance preserving with betas linear in the step (Ho et al. 2020, section 4): the slides' schedule.

    `levels` discrete steps k = 1..levels, t = k / levels; t = 0 is the clean image, alpha = 1 exactly,
    so that the last sampling step reaches the data.

    Args:
        zero_terminal: rescale alpha so that the last level is pure noise, as sampling starts (see `zero_terminal_snr`).
        scaled: the roots of the betas are linear in the step, as in the code of Rombach et al. 2022.
    """

    def __init__(
        self,
        levels: Count = 1000,
        beta_first: Share = 1e-4,
        beta_last: Share = 0.02,
        zero_terminal: bool = False,
        scaled: bool = False,
    ) -> None:
        self.levels = levels
        power = 2 if scaled else 1
        first, last = beta_first ** (1 / power), beta_last ** (1 / power)
        betas = torch.linspace(first, last, levels, dtype=torch.float64) ** power
        alphas = torch.cumprod(1.0 - betas, dim=0).sqrt()
        if zero_terminal:
            alphas = zero_terminal_snr(alphas)
        self.alphas = torch.cat([torch.ones(1, dtype=torch.float64), alphas])
        self.sigmas = (1.0 - self.alphas.square()).sqrt()

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """t `[...]` in [0, 1], rounded to the nearest level -> (alpha, sigma), each `[...]`; alpha² + sigma² = 1."""
        step = (t.double() * self.levels).round().long().cpu()
        return self.alphas[step].to(t), self.sigmas[step].to(t)

    def label(self, t: Tensor) -> Tensor:
        """The step counted from 0, as DDPM's networks are told.

        >>> LinearBeta().label(torch.tensor([0.001, 0.5, 1.0]))
        tensor([  0., 499., 999.])
        """
        return (t * self.levels).round() - 1.0

    def time_of(self, ratio: Tensor) -> Tensor:
        """sigma / alpha `[...]` -> t `[...]` of the level at or above it, 1/levels at least."""
        step = torch.searchsorted(self.sigmas / self.alphas, ratio.double().cpu()).clamp(1, self.levels)
        return (step / self.levels).to(ratio)


def zero_terminal_snr(alphas: Tensor) -> Tensor:
    """Shift and scale alphas `[K]` so that the last is 0 and the first stays (Lin et al. 2024, algorithm 1).

    >>> zero_terminal_snr(torch.tensor([0.9, 0.5, 0.1]))
    tensor([0.9000, 0.4500, 0.0000])
    """
    first, last = alphas[0], alphas[-1]
    return (alphas - last) * (first / (first - last))


def trailing(steps: int, levels: int | None = None) -> Tensor:
    """Evenly spaced times from 1 (pure noise) to 0 (Lin et al. 2024, table 2, "trailing"), `[steps+1]`.

    >>> trailing(4)
    tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000])
    """
    return torch.linspace(1.0, 0.0, steps + 1)


def leading(steps: int, levels: int | None = 1000) -> Tensor:
    """The grid of the original DDIM code: starts below pure noise, ends at the data, `[steps+1]`.

    Raises:
        UserError: there are more steps than levels.

    >>> leading(4, 1000)
    tensor([0.7510, 0.5010, 0.2510, 0.0010, 0.0000])
    """
    levels = levels or 1000
    if steps > levels:
        raise UserError(f"sampler.steps={steps} is more than the {levels} levels of a leading grid; take fewer.")
    stride = levels // steps
    starts = (torch.arange(steps).flip(0) * stride + 1) / levels
    return torch.cat([starts, torch.zeros(1)])
