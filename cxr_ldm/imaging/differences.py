"""What changed between two pictures, in colours."""

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor

FULL = 0.5  # difference in [-1, 1] units, a quarter of the grey range, that has the full colour


def difference(before: Tensor, after: Tensor) -> Tensor:
    """Red where it became brighter, blue where it became darker, white where nothing changed.

    Shapes: `[N,1,H,W]` in [-1, 1], both -> `[N,3,H,W]` in [-1, 1].

    >>> grey = torch.zeros(1, 1, 1, 2)
    >>> [round(value, 1) for value in difference(grey, grey)[0, :, 0, 0].tolist()]
    [0.9, 0.9, 0.9]
    """
    share = ((after - before).clamp(-FULL, FULL) / FULL + 1)[:, 0] / 2
    colours = colormaps["RdBu_r"](share.numpy())[..., :3]
    return torch.from_numpy(np.moveaxis(colours, -1, 1)).float() * 2 - 1


def coloured(pixels: Tensor) -> Tensor:
    """Grey `[N,1,H,W]` -> `[N,3,H,W]`."""
    return pixels.expand(-1, 3, -1, -1)
