"""Holes that a model learns to fill: rectangles anywhere, and often all of the image, which is drawing it whole."""

import torch
from torch import Tensor, nn

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.errors import UserError
from cxr_ldm.networks.inpainting import Filling, InpaintUNet
from cxr_ldm.networks.unet import UNet
from cxr_ldm.randomness import Random, uniform

WHOLE = 0.25  # share of the images that are all hole, so that a model still draws from text alone
MOST, SIDES = 3, (0.15, 0.75)  # rectangles of a hole, and their sides as shares of the image's


def holes(count: int, side: int, random: Random) -> Tensor:
    """Holes of latents, float32 `[count,1,side,side]`, 1 where an image is drawn anew.

    One to three rectangles that may overlap; each shows at least one cell.
    """
    numbers = uniform((count, MOST, 4), random)
    low, high = SIDES
    extents = ((low + (high - low) * numbers[..., :2]) * side).round().clamp(min=1)
    corners = (numbers[..., 2:] * (side - extents + 1)).floor()
    used = torch.arange(MOST) <= (uniform((count, 1), random) * MOST).floor()
    cells = torch.arange(side)
    rows, columns = (
        (cells >= corners[..., axis, None]) & (cells < (corners + extents)[..., axis, None]) for axis in (0, 1)
    )
    inside = (rows[..., :, None] & columns[..., None, :] & used[..., None, None]).any(1)
    whole = uniform((count,), random) < WHOLE
    return (inside | whole[:, None, None]).float()[:, None]


def filling(denoiser: Denoiser, known: Tensor, random: Random) -> Denoiser:
    """The denoiser for white latents `[N,C,h,w]` outside random holes; itself where it does not learn to fill any."""
    if not isinstance(denoiser.network, InpaintUNet):
        return denoiser
    hole = holes(len(known), known.shape[-1], random).to(known)
    return Denoiser(Filling(denoiser.network, known, hole), denoiser.schedule, denoiser.scaling)


def learning(network: nn.Module, arguments: dict[str, object]) -> InpaintUNet:
    """A network that learns to fill holes, with the weights of a UNet; itself where it is one.

    Args:
        arguments: that the UNet was built from.

    Raises:
        UserError: it is no UNet.
    """
    if isinstance(network, InpaintUNet):
        return network
    if type(network) is not UNet:
        raise UserError(f"training.ldm.inpaint=true changes a UNet; this denoiser is a {type(network).__name__}.")
    found = InpaintUNet(**arguments)  # type: ignore[arg-type]  # of a UNet that was built
    found.load_state_dict(found.state_dict() | network.state_dict())
    return found
