"""What every measure of two sets of feature vectors asks of them."""

import torch
from torch import Tensor

from cxr_ldm.errors import UserError


def checked(real: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in float64, [N, D] and [M, D].

    Raises:
        UserError: a set has fewer than 2 images, the widths differ, or a value is not finite.
    """
    for name, features in (("real", real), ("generated", generated)):
        if features.ndim != 2 or len(features) < 2:
            raise UserError(
                f"distances: {name} features of shape {tuple(features.shape)}; at least 2 images are needed."
            )
        if not torch.isfinite(features).all():
            raise UserError(f"distances: {name} features hold a NaN or an infinity.")
    if real.shape[1] != generated.shape[1]:
        raise UserError(f"distances: {real.shape[1]} real and {generated.shape[1]} generated features do not match.")
    return real.double(), generated.double()
