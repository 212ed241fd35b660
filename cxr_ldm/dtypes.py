"""Number formats of tensors."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """In float32, where the numbers are narrower than that.

    >>> wide(torch.zeros(1, dtype=torch.bfloat16)).dtype, wide(torch.zeros(1, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
