"""Classifier-free guidance (Ho & Salimans 2022, eq. 6), on the estimate of x_0."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from cxr_ldm.diffusion.denoiser import Denoiser

Denoise = Callable[[Tensor, Tensor], Tensor]


def guided(
    denoiser: Denoiser, context: Tensor, mask: Tensor, null_context: Tensor, null_mask: Tensor, scale: float
) -> Denoise:
    """D = D(null) + scale * (D(text) - D(null)): 0 is unconditional, 1 conditional, above 1 stresses the text.

    Linear in x_0 at a fixed x_t, so it is the same as guidance on the noise. Both evaluations go
    through the network as one batch; at 0 and 1 only the one that counts is made.

    Args:
        context, mask: text states `[N,L,D]` and bool mask `[N,L]`.
        null_context, null_mask: of the empty text, `[1,M,D]` and `[1,M]`.
        scale: guidance scale.

    Returns:
        `denoise(x_t [N,C,h,w], t scalar) -> [N,C,h,w]`, as samplers take it.
    """
    if scale == 1.0:
        return lambda x, t: denoiser(x, t.expand(len(x)), context, mask)
    length = max(context.shape[1], null_context.shape[1])
    null_context = padded(null_context, length).expand(len(context), -1, -1)
    null_mask = padded(null_mask, length).expand(len(context), -1)
    if scale == 0.0:
        return lambda x, t: denoiser(x, t.expand(len(x)), null_context, null_mask)
    both_contexts = torch.cat([null_context, padded(context, length)])
    both_masks = torch.cat([null_mask, padded(mask, length)])

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        null, text = denoiser(torch.cat([x, x]), t.expand(2 * len(x)), both_contexts, both_masks).chunk(2)
        return null + scale * (text - null)

    return denoise


def padded(tokens: Tensor, length: int) -> Tensor:
    """Pad dimension 1 with zeros (False for a mask) up to `length`."""
    missing = length - tokens.shape[1]
    return functional.pad(tokens, (0, 0, 0, missing) if tokens.dim() == 3 else (0, missing))
