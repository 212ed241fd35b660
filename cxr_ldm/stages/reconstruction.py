"""What a VAE's reconstruction is held to, besides the mean errors that torch has."""

from torch import Tensor
from torch.nn import functional

from cxr_ldm.ranges import NotNegative


def l1_with_gradients(reconstruction: Tensor, pixels: Tensor, weight: NotNegative = 0.5) -> Tensor:
    """Mean |x̂ - x| + weight · (mean |∂x̂ - ∂x| along rows + the same along columns).

    The second term asks for edges, of which a mean error alone keeps few (Mathieu et al. 2016, eq. 6, with α = 1).

    Shapes: both `[N,1,H,W]` -> scalar.

    >>> import torch
    >>> step = torch.tensor([[[[0.0, 0.0, 1.0]]]])
    >>> l1_with_gradients(step, torch.zeros(1, 1, 1, 3), weight=1.0).item()  # a third, and one of two differences
    0.8333333730697632
    """
    error = functional.l1_loss(reconstruction, pixels)
    for axis in (-1, -2):
        if pixels.shape[axis] > 1:
            error = error + weight * functional.l1_loss(reconstruction.diff(dim=axis), pixels.diff(dim=axis))
    return error
