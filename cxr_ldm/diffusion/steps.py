"""The equations that samplers share: one step from a time t to a time s nearer the data, in (alpha, sigma).

Samplers estimate x_0 by D, and with it the noise; lambda = log(alpha / sigma) is half the log signal-to-noise ratio,
-inf where alpha is 0 and +inf where sigma is 0; every equation here stays finite at the first, and where it says so at
the second.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from cxr_ldm.diffusion.denoiser import Schedule
from cxr_ldm.errors import UserError

Noise = Callable[[int], Tensor]
Report = Callable[[int, Tensor, Tensor, Tensor], None]


class Level(NamedTuple):
    """alpha and sigma of one time: float64 scalars on the CPU, so that ratios do not round and no GPU is waited for."""

    alpha: Tensor
    sigma: Tensor

    @property
    def log_ratio(self) -> Tensor:
        """lambda = log(alpha / sigma), Lu et al. 2022, section 2."""
        return self.alpha.log() - self.sigma.log()


class Point(NamedTuple):
    """A place on a sampling path: x_t, D(x_t, t), both `[N,C,h,w]`, and the level of t."""

    x: Tensor
    x0: Tensor
    level: Level


def walk(x: Tensor, times: Tensor, schedule: Schedule) -> Iterator[tuple[int, Tensor, Tensor, Level, Level]]:
    """For each step its index, t and s as scalars like x, and their levels.

    >>> from cxr_ldm.diffusion.schedules import RectifiedFlow
    >>> [(step, s.item(), at_s.alpha.item()) for step, _, s, _, at_s in
    ...     walk(torch.zeros(1), torch.tensor([1.0, 0.75, 0.0]), RectifiedFlow())]
    [(0, 0.75, 0.25), (1, 0.0, 1.0)]
    """
    levels = [Level(alpha, sigma) for alpha, sigma in zip(*schedule(times.cpu().double()), strict=True)]
    pairs = zip(pairwise(times.to(x)), pairwise(levels), strict=True)
    for step, ((t, s), (at_t, at_s)) in enumerate(pairs):
        yield step, t, s, at_t, at_s


def told(report: Report | None, step: int, x: Tensor, t: Tensor, x0: Tensor) -> None:
    """Hand on where a path has come to after `step`, counted from 0: x_t at the step's end, t, and the D it took."""
    if report is not None:
        report(step + 1, x, t, x0)


def noise_hat(x: Tensor, x0: Tensor, at_t: Level) -> Tensor:
    """The noise in x_t at this x_0: (x_t - alpha_t x_0) / sigma_t; sigma_t must be above 0."""
    return (x - at_t.alpha * x0) / at_t.sigma


def toward(x: Tensor, x0: Tensor, at_t: Level, at_s: Level) -> Tensor:
    """x_s = alpha_s D + sigma_s noise_hat, finite at both ends (Song et al. 2021, eq. 12 at eta = 0).

    The same as Euler's x_t + (alpha_s - alpha_t) D + (sigma_s - sigma_t) noise_hat, and as the exact solution
    sigma_s/sigma_t x_t - alpha_s (e^-h - 1) D for a D that is constant in between (Lu et al. 2022b, section 4).

    >>> one, half = torch.tensor(1.0), torch.tensor(0.5)
    >>> toward(2 * one, one, Level(0 * one, one), Level(half, half)).item()
    1.5
    """
    return at_s.alpha * x0 + at_s.sigma * noise_hat(x, x0, at_t)


def transition_variance(at_t: Level, at_s: Level) -> Tensor:
    """Variance of q(x_t | x_s): sigma_t² - (alpha_t/alpha_s)² sigma_s², Ho et al.'s β for neighbouring steps.

    >>> half = torch.tensor(0.5)
    >>> transition_variance(Level(half, half), Level(2 * half, 0 * half)).item()
    0.25
    """
    return at_t.sigma.square() - (at_t.alpha / at_s.alpha * at_s.sigma).square()


def posterior_variance(at_t: Level, at_s: Level) -> Tensor:
    """Variance of q(x_s | x_t, x_0): sigma_s²/sigma_t² times `transition_variance` (Ho et al. 2020, eq. 7, β̃).

    >>> one, half = torch.tensor(1.0), torch.tensor(0.5)
    >>> posterior_variance(Level(0 * one, one), Level(half, half)).item()
    0.25
    """
    return (at_s.sigma / at_t.sigma).square() * transition_variance(at_t, at_s)


def drawn(noise: Noise | None, step: int) -> Tensor:
    """Fresh noise of a step; raises UserError where the caller gave none."""
    if noise is None:
        raise UserError("this sampler draws fresh noise in each step; give it noise=f, a function of the step.")
    return noise(step)


def extrapolated(past: Sequence[Point], at_s: Level) -> Tensor:
    """The step from past[0], `toward` with D = D_t + h/(2 h_1) (D_t - D_1), D_1 of the point before (past[1]).

    h and h_1 are the last two steps in lambda (Lu et al. 2022b, algorithm 2; Zhao et al. 2023's UniP-2 with B_2 is the
    same). Where the point before had alpha 0 or is missing, or s has sigma 0, D is D_t alone: h_1 or h is infinite.
    """
    now, x0 = past[0], past[0].x0
    if len(past) > 1 and at_s.sigma > 0:
        h, h_1 = at_s.log_ratio - now.level.log_ratio, now.level.log_ratio - past[1].level.log_ratio
        x0 = now.x0 + h / (2 * h_1) * (now.x0 - past[1].x0)
    return toward(now.x, x0, now.level, at_s)


def corrected(past: Sequence[Point], x0: Tensor, at_s: Level) -> Tensor:
    """The step from past[0] again, now with D at its end: UniC-2 with B_2 (Zhao et al. 2023, algorithm 1).

    Without a past[1] it is UniC-1, whose D is the mean of both ends.

    Args:
        past: the point the step starts from, and the one before it.
        x0: D at s, `[N,C,h,w]`.
    """
    now = past[0]
    if len(past) == 1:
        return toward(now.x, (now.x0 + x0) / 2, now.level, at_s)
    h = at_s.log_ratio - now.level.log_ratio
    ratio = (past[1].level.log_ratio - now.level.log_ratio) / h
    weight_1, weight_s = unic_weights(h, ratio)
    estimate = now.x0 + weight_1 * (past[1].x0 - now.x0) + weight_s * (x0 - now.x0)
    return toward(now.x, estimate, now.level, at_s)


def unic_weights(h: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of D_1 - D_t and D_s - D_t in UniC-2, so that a D quadratic in lambda is integrated exactly.

    Zhao et al. 2023, theorem 3.1: a_1 + a_s = b_1 and r a_1 + a_s = b_2, where weight_1 = a_1 / r, weight_s = a_s and
    b_k is the mean of q^k over the step, q from 0 to 1, each q weighted by e^(h q).

    Args:
        h: step in lambda, above 0.
        ratio: r, (lambda_1 - lambda_t) / h, below 0, or -inf where alpha_1 is 0: then weight_1 is 0.

    >>> [round(weight.item(), 4) for weight in unic_weights(torch.tensor(0.5).double(), torch.tensor(-1.0).double())]
    [-0.083, 0.4585]
    """
    growth = torch.expm1(-h)
    first = growth / -h - 1.0
    second = first / -h - 0.5
    b_1, b_2 = first / growth, 2.0 * second / growth
    a_1 = (b_1 - b_2) / (1.0 - ratio)
    return a_1 / ratio, b_1 - a_1
