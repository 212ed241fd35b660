"""Flow maps: one step from any time t to any s nearer the data, learnt from a guided teacher.

u(x_t, t, s) is the mean velocity of the teacher's path from t to s, so that x_s = x_t - (t - s) u (Geng et al. 2025,
MeanFlow, eq. 3); with s = t it is the velocity itself. A step by it is the path's own, of any length.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from cxr_ldm.diffusion.denoiser import Denoiser, Scaling
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.scaling import Velocity
from cxr_ldm.diffusion.schedules import RectifiedFlow, Schedule
from cxr_ldm.dtypes import wide
from cxr_ldm.errors import UserError
from cxr_ldm.randomness import Random, normal, uniform

Split = Literal["end", "half"]
Condition = tuple[Tensor, Tensor]


class FlowMap(Denoiser):
    """A student: D(x_t, t, s) is the x_0 by which a step goes from t to s. Guidance is one of its inputs.

    Args:
        network: as `StudentUNet`, which takes the label of s and a guidance scale, too, and states its `learnt_scales`.

    Raises:
        UserError: the paths are not those of a rectified flow by its velocity.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, scaling: Scaling) -> None:
        super().__init__(network, schedule, scaling)
        if not isinstance(schedule, RectifiedFlow) or not isinstance(scaling, Velocity):
            raise UserError(
                f"a student learns mean velocities, which {type(schedule).__name__} with {type(scaling).__name__} has "
                "not; take a teacher of diffusion=flow."
            )

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        context: Tensor,
        mask: Tensor,
        s: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """As `Denoiser`, for a step that ends at s `[N]`, which is t where it is None, and a guidance scale `[N]`."""
        velocity = self.velocity(x_t, t, t if s is None else s, context, mask, scale)
        return self.scaling.to_data(velocity, x_t, *map(across, self.schedule(t)))

    def velocity(
        self, x_t: Tensor, t: Tensor, s: Tensor, context: Tensor, mask: Tensor, scale: Tensor | None = None
    ) -> Tensor:
        """u `[N,C,h,w]` from t to s, both `[N]`."""
        label = self.schedule.label
        return self.run(x_t, label(t), context, mask, label(s), scale)

    def check(self, rule: Guidance) -> None:
        """Raises UserError where the student did not learn this guidance."""
        low, high = self.network.learnt_scales  # type: ignore[misc]
        if not low <= rule.scale <= high:
            raise UserError(f"guidance.scale={rule.scale:g}: this student learnt the scales from {low:g} to {high:g}.")
        if tuple(rule.interval) != (0.0, 1.0) or rule.rescale or rule.negative:
            raise UserError(
                "guidance.interval, guidance.rescale and guidance.negative are not for a student, which learnt a scale "
                "alone."
            )


def denoiser_of(network: nn.Module, schedule: Schedule, scaling: Scaling) -> Denoiser:
    """Of the parts of a bundle: a `FlowMap` where the network is a student's."""
    return (FlowMap if hasattr(network, "learnt_scales") else Denoiser)(network, schedule, scaling)


class Teacher:
    """The guided velocity of a flow, v = v(null) + scale (v(text) - v(null)), for a batch of conditions.

    Args:
        denoiser: the teacher's.
        text, null: context `[N,L,D]` and mask `[N,L]` of the texts, and of the empty one.
        scale: guidance scale `[N]`.
    """

    def __init__(self, denoiser: Denoiser, text: Condition, null: Condition, scale: Tensor) -> None:
        self.denoiser, self.text, self.null, self.scale = denoiser, text, null, scale

    def __call__(self, x: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """v of x `[B,C,h,w]` and t `[B]`, under the conditions of `rows` int64 [B]."""
        context, mask = (torch.cat([null[rows], text[rows]]) for null, text in zip(self.null, self.text, strict=True))
        label = self.denoiser.schedule.label(t).repeat(2)
        null, text = self.denoiser.network(torch.cat([x, x]), label, context, mask).chunk(2)
        return null + across(self.scale[rows]) * (text - null)

    @torch.no_grad()
    def mean(self, x: Tensor, t: Tensor, s: Tensor, longest: float) -> Tensor:
        """The mean velocity from t to s, both `[N]`, by Euler's method in equal steps of `longest` at most."""
        rows, start = torch.arange(len(x), device=x.device), x
        steps = max(1, math.ceil(((t - s).max() / longest).item() - 1e-6))
        for index in range(steps):
            x = x - across((t - s) / steps) * self(x, t + (s - t) * index / steps, rows)
        return (start - x) / across(t - s)


class FlowMapLoss(nn.Module):
    """log(1 + e² / c²) of the error e of u, a Cauchy loss, in which an outlier among the latents counts little.

    Args:
        scales: lowest and highest guidance scale; one is drawn for each image.
        longest: step of the teacher, in t.
        instant: share of the images that learn the velocity itself, s = t.
        split: how a longer step is divided, see `target`.
        width: c, in the unit of white latents.
    """

    def __init__(self, scales: Sequence[float], longest: float, instant: float, split: Split, width: float) -> None:
        super().__init__()
        self.scales, self.longest, self.instant, self.split, self.width = scales, longest, instant, split, width

    def forward(
        self, student: FlowMap, teacher: Denoiser, x0: Tensor, text: Condition, null: Condition, random: Random
    ) -> Tensor:
        """White latents `[N,C,h,w]` and their conditions -> scalar; randomness only from `random`, on the CPU."""
        t, kind, part, scaled = uniform((len(x0), 4), random).to(x0).T
        s = torch.where(kind < self.instant, t, part * t)
        scale = self.scales[0] + (self.scales[1] - self.scales[0]) * scaled
        x = noisy(x0, normal(x0.shape, random).to(x0), t)
        target = self.target(student, Teacher(teacher, text, null, scale), x, t, s)
        error = wide(student.velocity(x, t, s, *text, scale)) - target
        return (1.0 + error.square().mean(dim=(1, 2, 3)) / self.width**2).log().mean()

    @torch.no_grad()
    def target(self, student: FlowMap, teacher: Teacher, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """What u(x, t, s) should be, by shorter steps of the teacher and of the student as it is.

        Where t - s is `longest` or less, the teacher's velocity at t. Else the mean of two steps that meet at m: with
        "end" a step of the teacher, of that length, and the student's from there (the identity of MeanFlow, eq. 6, by a
        finite difference); with "half" two of the student, of half the way each (Frans et al. 2025, eq. 4).
        """
        near = t - s <= self.longest
        meet = torch.where(near, s, t - self.longest if self.split == "end" else (t + s) / 2)
        share = torch.where(near, torch.ones_like(t), (t - meet) / (t - s).clamp(min=1e-6))
        taught, far = (near | (self.split == "end")).nonzero()[:, 0], (~near).nonzero()[:, 0]
        first = torch.empty_like(x)
        first[taught] = teacher(x[taught], t[taught], taught).to(x)

        def own(x: Tensor, t: Tensor, s: Tensor, rows: Tensor) -> Tensor:
            context, mask = (part[rows] for part in teacher.text)
            return student.velocity(x, t, s, context, mask, teacher.scale[rows]).to(x)

        if self.split == "half" and len(far):
            first[far] = own(x[far], t[far], meet[far], far)
        mean = across(share) * first
        if len(far):
            met = x[far] - across((t - meet)[far]) * first[far]
            mean[far] += across(1.0 - share[far]) * own(met, meet[far], s[far], far)
        return mean


def noisy(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t of a flow at times `[N]`."""
    return across(1.0 - t) * x0 + across(t) * noise


def across(values: Tensor) -> Tensor:
    """`[N]` -> `[N,1,1,1]`."""
    return values[:, None, None, None]
