"""What a picture is like, without asking what it shows: contrast, sharpness and entropy of each image of a batch.

All on the grey that a viewer sees: pixels in [-1, 1] are black to white. They describe raw images; of an enhanced one
they would measure the enhancement.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cxr_ldm.errors import UserError

LOW, HIGH = 0.05, 0.95  # percentiles: the extremes themselves are burnt-in letters and the black beyond the collimator
SHARPNESS_SIDE = 256  # pixels; a Laplacian depends on what a pixel is, so all images are brought to one resolution
LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def michelson_contrast(pixels: Tensor) -> Tensor:
    """(P95 - P5) / (P95 + P5) of the grey in [0, 1], float64 [N] in [0, 1] (Michelson 1927, on percentiles).

    0 for a picture of one grey, a black one included. A picture of which 5 % are black has 1.

    Args:
        pixels: [N, 1, H, W] in [-1, 1].

    Raises:
        UserError: the shape is another.

    >>> ramp = torch.linspace(-1, 1, 101).view(1, 1, 1, 101)
    >>> round(michelson_contrast(ramp).item(), 4)  # of 0.05 and 0.95
    0.9
    """
    grey = _grey(pixels).flatten(1)
    low, high = (grey.quantile(share, dim=1) for share in (LOW, HIGH))
    return (high - low) / (high + low).clamp_min(1e-12)


def rms_contrast(pixels: Tensor) -> Tensor:
    """Standard deviation of the grey in [0, 1], float64 [N], at most 0.5 (Peli 1990, eq. 3).

    >>> rms_contrast(torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, 1, 2, 2)).item()
    0.5
    """
    return _grey(pixels).flatten(1).std(dim=1, correction=0)


def sharpness(pixels: Tensor, side: int = SHARPNESS_SIDE) -> Tensor:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000) of 8-bit grey levels, not rounded, at `side` × `side`.

    Images of another size are resampled first (bilinear, antialiased where they shrink), so that numbers of different
    sizes can be compared; an image that was enlarged is blurred, and has a small one. Noise has a large one.

    Returns:
        float64 [N], in squared grey levels.

    >>> board = (torch.arange(256)[:, None] + torch.arange(256)) % 2 * 2.0 - 1
    >>> sharpness(board[None, None]).item()  # Laplacians of ± 4 · 255
    1040400.0
    """
    grey = _grey(pixels)
    if tuple(grey.shape[2:]) != (side, side):
        grey = F.interpolate(grey, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    padded = F.pad(grey * 255, (1, 1, 1, 1), mode="reflect")
    edges = F.conv2d(padded, LAPLACIAN.to(padded)[None, None])
    return edges.flatten(1).var(dim=1, correction=0)


def entropy(pixels: Tensor) -> Tensor:
    """Shannon entropy of the histogram of 8-bit grey levels in bits, float64 [N] in [0, 8] (Shannon 1948).

    It is 8 where all 256 levels are as common, which is what histogram equalisation makes of any picture.

    >>> entropy(torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, 1, 2, 2)).item()
    1.0
    """
    levels = (_grey(pixels) * 255).round().long().flatten(1)
    counts = torch.zeros(len(levels), 256, dtype=torch.float64, device=levels.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels, dtype=torch.float64))
    shares = counts / counts.sum(1, keepdim=True)
    return torch.special.entr(shares).sum(1) / torch.log(torch.tensor(2.0, dtype=torch.float64))


def _grey(pixels: Tensor) -> Tensor:
    """Pixels [N, 1, H, W] in [-1, 1] as grey in [0, 1], float64."""
    if pixels.ndim != 4 or pixels.shape[1] != 1:
        raise UserError(f"image statistics: pixels of shape {tuple(pixels.shape)} are not [N, 1, H, W].")
    if not torch.isfinite(pixels).all() or pixels.abs().max() > 1 + 1e-4:
        raise UserError("image statistics: pixels hold a NaN or lie outside [-1, 1].")
    return ((pixels.double() + 1) / 2).clamp(0, 1)
