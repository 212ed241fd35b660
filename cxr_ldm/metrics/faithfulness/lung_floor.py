"""Where the aerated lung of a phantom ends, and whether a picture is a chest at all: grey levels and heights alone."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cxr_ldm.errors import UserError

Side = Literal["right", "left"]
SIDES: tuple[Side, Side] = ("right", "left")
SIDE_SIGN = {"right": -1.0, "left": 1.0}  # standard display: the patient's right is at the left of the image
UPPER_LUNG = (-0.45, -0.10)  # heights, in [-1, 1] downwards, where the lung edges are looked for
WALL, INNER = 1.0, 0.7  # columns of the lung floor, as shares of half the lung width measured higher up
LEVEL = 0.65  # grey level of the floor between the column's lung and what lies below
DOME_DIFFERENCE = 0.07  # how much lower the left dome is in a typical phantom
ASYMMETRY_WEIGHT, ASYMMETRY_LIMIT = 0.2, 0.3
# Real phantoms have 0.85 and more, of other exposure, noisy, blurred and mirrored ones too; noise of any grain,
# gradients in any direction and rings stay below 0.74, upside down phantoms below 0.53.
LIKENESS, LIKENESS_SIDE = 0.78, 16
CHUNK = 256  # images in float64 at once


def flat(pixels: Tensor) -> Tensor:
    """Pictures of LIKENESS_SIDE pixels with mean 0 and length 1, float64 [N, D]; a blank one becomes 0."""
    small = F.interpolate(pixels.double(), size=(LIKENESS_SIDE, LIKENESS_SIDE), mode="area").flatten(1)
    centred = small - small.mean(1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-9)


def is_chest(pixels: Tensor, typical: Tensor) -> Tensor:
    """Whether lungs lie where they lie in the typical picture [D], the mean of `flat` ones: bool [N].

    The lung edges of a picture without lungs lie anywhere, and what is measured from them says nothing.
    """
    return flat(pixels) @ (typical / typical.norm()) > LIKENESS


def effusion_scores(pixels: Tensor) -> Tensor:
    """How far the lung floor climbs towards the chest wall, in half image heights, float64 [N, 2] for right and left.

    A small part of the height difference between the two sides is added: one-sided fluid lifts its own floor.
    Effusions of both sides at once, which the phantom does not draw, would lose that part.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 1:
        raise UserError(f"adherence: pixels of shape {tuple(pixels.shape)} are not [N, 1, H, W].")
    return torch.cat([_scores(part.double()) for part in pixels.split(CHUNK)])


def _scores(pixels: Tensor) -> Tensor:
    edges = {side: _lung_edge(pixels, SIDE_SIGN[side]) for side in SIDES}
    centre, half = (edges["left"] - edges["right"]) / 2, (edges["left"] + edges["right"]) / 2
    wall, inner = (
        {side: _floor(pixels, centre + SIDE_SIGN[side] * share * half) for side in SIDES} for share in (WALL, INNER)
    )
    lift = (wall["left"] - wall["right"] - DOME_DIFFERENCE).clamp(-ASYMMETRY_LIMIT, ASYMMETRY_LIMIT)
    return torch.stack([inner[side] - wall[side] - SIDE_SIGN[side] * ASYMMETRY_WEIGHT * lift for side in SIDES], dim=1)


def _lung_edge(pixels: Tensor, sign: float) -> Tensor:
    """Distance of the lateral lung edge from the image's middle: the steepest rise of grey going outwards, [N]."""
    outwards = torch.linspace(0.50, 1.0, 51, dtype=torch.float64)
    heights = torch.linspace(*UPPER_LUNG, 12, dtype=torch.float64)
    # Averaging over heights removes the ribs, which cross the columns obliquely.
    profile = _smooth(_sample(pixels, sign * outwards.expand(len(pixels), 1, -1), heights).mean(1), 3)
    return outwards[1:][profile.diff(dim=1).argmax(1)]


def _floor(pixels: Tensor, column: Tensor) -> Tensor:
    """Height of the lowest lung in a narrow strip about `column` [N], y in [-1, 1] downwards, [N]."""
    heights = torch.linspace(-0.60, 0.95, 125, dtype=torch.float64)
    strip = column[:, None, None] + torch.tensor([-0.06, 0.0, 0.06], dtype=torch.float64)
    profile = _smooth(_sample(pixels, strip, heights).mean(2), 2)
    lung = profile[:, heights < 0.3].quantile(0.15, dim=1)
    below = profile[:, heights > 0.8].mean(1)
    level = lung + LEVEL * (below - lung)
    aerated = profile < level[:, None]
    last = aerated.shape[1] - 1 - aerated.flip(1).int().argmax(1)
    return torch.where(aerated.any(1), heights[last], heights[0])


def _sample(pixels: Tensor, x: Tensor, heights: Tensor) -> Tensor:
    """Grey at columns x [N, 1, K] and heights [R], bilinear, [N, R, K]."""
    rows = heights.view(1, -1, 1).expand(len(pixels), -1, x.shape[2])
    grid = torch.stack([x.expand(-1, len(heights), -1), rows], dim=3)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]


def _smooth(profile: Tensor, sigma: int) -> Tensor:
    """Gaussian smoothing of profiles [N, K] with their ends repeated."""
    offsets = torch.arange(-3 * sigma, 3 * sigma + 1, dtype=torch.float64)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    padded = F.pad(profile[:, None], (3 * sigma, 3 * sigma), mode="replicate")
    return F.conv1d(padded, (kernel / kernel.sum()).view(1, 1, -1))[:, 0]
