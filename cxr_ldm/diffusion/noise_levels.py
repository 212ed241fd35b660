"""Where on [0, 1] training draws its noise levels."""

from typing import Protocol

import torch
from torch import Tensor

from cxr_ldm.diffusion.guidance_rule import is_number
from cxr_ldm.diffusion.schedules import Schedule
from cxr_ldm.errors import UserError
from cxr_ldm.randomness import Random, strata
from cxr_ldm.ranges import Positive, Real


class NoiseLevels(Protocol):
    def at(self, quantile: Tensor, schedule: Schedule) -> Tensor: ...


class Uniform:
    """t uniform on (0, 1] (Ho et al. 2020, algorithm 1)."""

    def at(self, quantile: Tensor, schedule: Schedule) -> Tensor:
        """Quantile `[...]` in [0, 1) -> t `[...]` in (0, 1]."""
        return on_levels(1.0 - quantile, schedule.levels)


class LogitNormal:
    """logit(t) ~ N(mean, std²): more training where the denoiser decides most (Esser et al. 2024, section 3.1)."""

    def __init__(self, mean: Real = 0.0, std: Positive = 1.0) -> None:
        self.mean, self.std = checked(mean, std)

    def at(self, quantile: Tensor, schedule: Schedule) -> Tensor:
        """Quantile `[...]` in [0, 1) -> t `[...]` in (0, 1).

        >>> from cxr_ldm.diffusion.schedules import RectifiedFlow
        >>> LogitNormal().at(torch.tensor([0.5]), RectifiedFlow()).item()
        0.5
        """
        return on_levels(torch.sigmoid(self.mean + self.std * standard_normal(quantile)), schedule.levels)


class LogNormal:
    """ln(sigma / alpha) ~ N(mean, std²) (Karras et al. 2022, table 1, where alpha is 1).

    On a rectified flow sigma / alpha = t / (1 - t), so there it is `LogitNormal` with the same numbers.
    """

    def __init__(self, mean: Real = -0.4, std: Positive = 1.2) -> None:
        self.mean, self.std = checked(mean, std)

    def at(self, quantile: Tensor, schedule: Schedule) -> Tensor:
        """Quantile `[...]` in [0, 1) -> t `[...]` in (0, 1].

        >>> from cxr_ldm.diffusion.schedules import RectifiedFlow
        >>> LogNormal(mean=0.0).at(torch.tensor([0.5]), RectifiedFlow()).item()
        0.5
        """
        return schedule.time_of(torch.exp(self.mean + self.std * standard_normal(quantile)))


def checked(mean: float, std: float) -> tuple[float, float]:
    """Both, once they are numbers; raises UserError else."""
    if not is_number(mean) or not is_number(std) or std <= 0:
        raise UserError(f"diffusion.noise_levels: mean={mean} must be a number and std={std} one above 0.")
    return mean, std


def standard_normal(quantile: Tensor) -> Tensor:
    """Quantile `[...]` in [0, 1] -> z `[...]`; the very ends, which are infinite, are moved in by 1e-6."""
    return torch.special.ndtri(quantile.clamp(1e-6, 1.0 - 1e-6))


def on_levels(t: Tensor, levels: int | None) -> Tensor:
    """t rounded up to one of `levels` steps, the first at least, when the schedule is discrete.

    >>> on_levels(torch.tensor([0.0, 0.3, 1.0]), 4)
    tensor([0.2500, 0.5000, 1.0000])
    """
    return t if levels is None else (t * levels).ceil().clamp(min=1) / levels


def draw(levels: NoiseLevels, count: int, schedule: Schedule, random: Random) -> Tensor:
    """`count` noise levels at stratified quantiles."""
    return levels.at(strata(count, random), schedule)
