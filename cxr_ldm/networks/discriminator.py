"""Patch discriminator: tells real from reconstructed pixels by their texture (Isola et al. 2017, section 3.2)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Count, Whole

DETAIL_GAIN = 10.0  # brings the grain of radiographs, some 0.02, to the size of what it is told from


class PatchDiscriminator(nn.Module):
    """Strided convolutions, then a score for each patch: above 0 where it looks real.

    Pixels `[N,1,H,W]` in [-1, 1] -> scores `[N,1,H/2^(L-1),W/2^(L-1)]` for L = len(channels): each level but the
    last halves the resolution. Three levels see patches of 26 pixels. GroupNorm, so that a score does not
    depend on the rest of the batch.

    Args:
        channels: feature channels of each level.
        detail: side in pixels, odd, of the square whose mean is taken from each pixel before anything else, so that the
            grain of film is not lost beside ribs and lungs, which are a hundred times as strong; 0 leaves the pixels as
            they are.
        groups: groups of every GroupNorm; must divide each of `channels` but the first, which has none.

    Raises:
        UserError: `groups` does not divide `channels`, or `detail` is even.
    """

    def __init__(self, channels: Sequence[Count], groups: Count, detail: Whole = 0) -> None:
        super().__init__()
        if detail and detail % 2 == 0:
            raise UserError(f"vae.adversary.network.detail={detail} must be odd, or 0.")
        self.detail = detail
        if any(width % groups for width in channels[1:]):
            raise UserError(f"vae.adversary.network.groups={groups} must divide every entry of channels={channels}.")
        widths, last = [1, *channels], len(channels) - 1
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3 if i == last else 4, stride=1 if i == last else 2, padding=1)
            for i in range(len(channels))
        )
        self.norms = nn.ModuleList([nn.Identity(), *(nn.GroupNorm(groups, width, eps=1e-6) for width in channels[1:])])
        self.conv_out = nn.Conv2d(channels[-1], 1, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        x = fine_detail(pixels, self.detail) if self.detail else pixels
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.leaky_relu(norm(conv(x)), 0.2)
        return self.conv_out(x)


def fine_detail(pixels: Tensor, side: int) -> Tensor:
    """DETAIL_GAIN times what stands out of the mean of the `side` × `side` pixels around, `[N,1,H,W]` -> `[N,1,H,W]`.

    >>> import torch
    >>> fine_detail(torch.full((1, 1, 4, 4), 0.5), 3).abs().max().item()
    0.0
    """
    around = functional.pad(pixels, (side // 2,) * 4, mode="reflect")
    return DETAIL_GAIN * (pixels - functional.avg_pool2d(around, side, stride=1))
