"""Classifier-free guidance (Ho & Salimans 2022, eq. 6), on the estimate of x_0."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.flow_map import FlowMap
from cxr_ldm.diffusion.guidance_rule import Guidance

ROUNDING = 1e-6  # of a time of a grid, which is float32: 0.2 of 25 steps lies below 0.2
Denoise = Callable[[Tensor, Tensor], Tensor]  # D(x_t [N,C,h,w], t scalar), as samplers ask for it


class DenoiseTo(Protocol):
    """A `Denoise` that takes s, too, where the step ends; a student alone makes use of it."""

    def __call__(self, x: Tensor, t: Tensor, s: Tensor | None = None, /) -> Tensor: ...


def guided(
    denoiser: Denoiser,
    context: Tensor,
    mask: Tensor,
    null_context: Tensor,
    null_mask: Tensor,
    guidance: Guidance | float,
) -> DenoiseTo:
    """D = D(null) + scale * (D(text) - D(null)): 0 is unconditional, 1 conditional, above 1 stresses the text.

    Linear in x_0 at a fixed x_t, so it is the same as guidance on the noise. Both evaluations go
    through the network as one batch; at 0, at 1 and outside the interval only the one that counts is made.

    Args:
        context, mask: text states `[N,L,D]` and bool mask `[N,L]`.
        null_context, null_mask: of the empty text, or of the rule's negative one, `[1,M,D]` and `[1,M]`.
        guidance: scale, interval and rescale; a number is a scale.

    Returns:
        D as samplers take it.

    Raises:
        UserError: the denoiser is a student that did not learn this guidance.
    """
    rule = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
    if isinstance(denoiser, FlowMap):
        return learnt(denoiser, context, mask, rule)
    length = max(context.shape[1], null_context.shape[1])
    null_context = padded(null_context, length).expand(len(context), -1, -1)
    null_mask = padded(null_mask, length).expand(len(context), -1)
    both_contexts = torch.cat([null_context, padded(context, length)])
    both_masks = torch.cat([null_mask, padded(mask, length)])

    def conditional(x: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        return denoiser(x, t.expand(len(x)), context, mask)

    def unconditional(x: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        return denoiser(x, t.expand(len(x)), null_context, null_mask)

    def combined(x: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        null, text = denoiser(torch.cat([x, x]), t.expand(2 * len(x)), both_contexts, both_masks).chunk(2)
        estimate = null + rule.scale * (text - null)
        return rescaled(estimate, text, rule.rescale) if rule.rescale else estimate

    if rule.scale == 1.0:
        return conditional
    inside = unconditional if rule.scale == 0.0 and not rule.rescale else combined
    return within(inside, conditional, rule.interval)


def within(inside: DenoiseTo, outside: DenoiseTo, interval: tuple[float, float]) -> DenoiseTo:
    """Guidance in a limited interval of t, both ends included (Kynkäänniemi et al. 2024, eq. 4)."""
    low, high = interval
    if (low, high) == (0.0, 1.0):
        return inside
    low, high = low - ROUNDING, high + ROUNDING
    return lambda x, t, s=None: inside(x, t) if low <= t <= high else outside(x, t)


def learnt(student: FlowMap, context: Tensor, mask: Tensor, rule: Guidance) -> DenoiseTo:
    """D of a student, whose guidance is an input: one evaluation whatever the scale.

    Raises:
        UserError: it did not learn this guidance.
    """
    student.check(rule)

    def denoise(x: Tensor, t: Tensor, s: Tensor | None = None) -> Tensor:
        scale = torch.full((len(x),), float(rule.scale), device=x.device)
        ends = None if s is None else s.expand(len(x))
        return student(x, t.expand(len(x)), context, mask, ends, scale)

    return denoise


def rescaled(estimate: Tensor, text: Tensor, phi: float) -> Tensor:
    """Guidance that keeps the contrast of the conditional estimate (Lin et al. 2024, eq. 15 and 16).

    phi * estimate * std(text) / std(estimate) + (1 - phi) * estimate, with the std of each sample over all elements.

    Args:
        estimate, text: guided and conditional estimates `[N,C,h,w]`.
        phi: in [0, 1]; 0 leaves the estimate as it is.

    >>> rescaled(torch.tensor([[[[-4.0, 4.0]]]]), torch.tensor([[[[0.0, 2.0]]]]), 0.5)
    tensor([[[[-2.5000,  2.5000]]]])
    """
    axes = (1, 2, 3)
    ratio = text.std(dim=axes, keepdim=True) / estimate.std(dim=axes, keepdim=True)
    return estimate * (phi * ratio + (1.0 - phi))


def padded(tokens: Tensor, length: int) -> Tensor:
    """Pad dimension 1 with zeros (False for a mask) up to `length`."""
    missing = length - tokens.shape[1]
    return functional.pad(tokens, (0, 0, 0, missing) if tokens.dim() == 3 else (0, missing))
