"""The detail of a picture: what is left of it when the means over squares of f × f pixels are taken away.

A picture is its small one, interpolated, plus detail that has no mean in any square (Bahat & Michaeli 2020; Wang et al.
2023, DDNM, section 3). An upscaler knows how to draw detail, and can draw nothing else, so that nothing of the size of
a small pixel can come or go; what is finer, such as a thin line, is its invention.

How strong detail is can be told from the small picture: it is as strong as the contrast there, since radiographs look
alike at every scale, and besides there is the grain of film. Both are taken out, so that the network sees detail of
unit variance on letters of lead and on lungs, which are thirty times as faint.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm.networks.unet import TimeEmbedding
from cxr_ldm.ranges import Count, NotNegative, Positive, Several

TINY = 1e-12
AROUND = (3, 9)  # small pixels a side, from whose mean the network sees how far each pixel is
WINDOW = 5  # small pixels a side whose contrast is taken together


class Strength(NamedTuple):
    """The standard deviation of detail: √(grain² + texture² · contrast).

    Attributes:
        grain: where the small picture has no contrast, on pixels in [-1, 1].
        texture: over the root of the small picture's `contrast`.
    """

    grain: float
    texture: float


class Upscaler(nn.Module):
    """The direction from detail to noise (the network of a flow), at the size of the small picture.

    Squares of pixels become channels and channels squares again (Shi et al. 2016): convolutions run at the small size.
    Nothing looks at the whole picture, not even a norm: a part of it, with `reach` small pixels around it, becomes what
    it becomes within the whole.

    Noisy detail of unit variance `[N,1,fh,fw]`, whose means count for nothing, label `[N]`, the small picture
    `[N,1,h,w]` in [-1, 1] -> `[N,1,fh,fw]`, without a mean in any square.

    Args:
        channels: of the blocks.
        blocks: residual blocks of two convolutions.
        factor: f.
        grain, texture: how strong detail is, see `strength_of`.
    """

    def __init__(
        self,
        channels: Count = 64,
        blocks: Count = 8,
        factor: Several = 4,
        grain: Positive = 1.0,
        texture: NotNegative = 0.0,
    ) -> None:
        super().__init__()
        self.factor, self.strength = factor, Strength(grain, texture)
        self.time = TimeEmbedding(channels, 4 * channels)
        self.conv_in = nn.Conv2d(factor**2 + 1 + len(AROUND), channels, 3, padding=1)
        self.blocks = nn.ModuleList(Block(channels, 4 * channels) for _ in range(blocks))
        self.conv_out = nn.Conv2d(channels, factor**2, 3, padding=1)
        # most of the direction is the input itself, by a share that the time decides
        self.skip = nn.Linear(4 * channels, 1)

    @property
    def reach(self) -> int:
        """Small pixels, to each side, that a pixel of the result depends on."""
        return 2 * len(self.blocks) + 2 + max(AROUND) // 2

    def forward(self, detail: Tensor, label: Tensor, small: Tensor, mask: Tensor | None = None) -> Tensor:
        detail = without_mean(detail, self.factor)
        folded = functional.pixel_unshuffle(detail, self.factor)
        x = self.conv_in(torch.cat([folded, self.seen(small).to(folded)], dim=1))
        embedding = functional.silu(self.time(label))
        for block in self.blocks:
            x = block(x, embedding)
        change = functional.pixel_shuffle(self.conv_out(functional.silu(x)), self.factor)
        return without_mean(change, self.factor) + self.skip(embedding)[:, :, None, None] * detail

    def seen(self, small: Tensor) -> Tensor:
        """What the network is told of a small picture, `[N,1+A,h,w]`: its grey, and what stands out, in unit variance.

        In bfloat16 the grey alone would lose the contrast of lungs.
        """
        scale = functional.avg_pool2d(self.scale(small), self.factor)
        return torch.cat([small, *((small - around(small, side)) / scale for side in AROUND)], dim=1)

    def enlarge(self, small: Tensor, detail: Tensor) -> Tensor:
        """The picture `[N,1,fh,fw]` of a small one and its detail, in [-1, 1]; averaged down it is the small one.

        Where a square would leave the range, as grain does on black, all of its detail is made smaller.
        """
        apart = without_mean(interpolated(small, self.factor) + self.scale(small) * detail, self.factor)
        above, below = (functional.max_pool2d(side, self.factor) for side in (apart, -apart))
        fits = torch.minimum((1 - small) / above.clamp(min=TINY), (1 + small) / below.clamp(min=TINY)).clamp(0, 1)
        return repeated(small, self.factor) + repeated(fits, self.factor) * apart

    def detail_of(self, large: Tensor) -> tuple[Tensor, Tensor]:
        """The small picture and the detail of unit variance that `enlarge` makes `large` of."""
        small = mean_of_squares(large, self.factor)
        return small, without_mean(large - interpolated(small, self.factor), self.factor) / self.scale(small)

    def scale(self, small: Tensor) -> Tensor:
        """The standard deviation of the detail of a small picture, one value for each square, `[N,1,fh,fw]`."""
        grain, texture = self.strength
        return repeated((grain**2 + texture**2 * contrast(small)).sqrt(), self.factor)


class Block(nn.Module):
    """x + conv(silu(scale · conv(silu(x)) + shift)), scale and shift by the time; no norm, and silent at first."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(width, 2 * channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for weights in self.conv2.parameters():
            nn.init.zeros_(weights)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        change: Tensor = self.conv2(functional.silu((1 + scale) * self.conv1(functional.silu(x)) + shift))
        return x + change


class Tiled(nn.Module):
    """An upscaler that looks at a part of the picture at once, which bounds memory, and gives what the whole gives.

    Args:
        tile: side of a part in small pixels, without the `reach` around it.
    """

    def __init__(self, network: Upscaler, tile: int = 128) -> None:
        super().__init__()
        self.network, self.tile = network, tile

    def forward(self, detail: Tensor, label: Tensor, small: Tensor, mask: Tensor | None = None) -> Tensor:
        factor, result = self.network.factor, torch.empty_like(detail)
        rows, columns = (tiles(side, self.tile, self.network.reach) for side in small.shape[-2:])
        for read_rows, kept_rows, to_rows in rows:
            for read, kept, to in columns:
                seen = detail[..., larger(read_rows, factor), larger(read, factor)]
                part = self.network(seen, label, small[..., read_rows, read])
                kept_part = part[..., larger(kept_rows, factor), larger(kept, factor)]
                result[..., larger(to_rows, factor), larger(to, factor)] = kept_part
        return result


def mean_of_squares(large: Tensor, factor: int) -> Tensor:
    """`[N,1,fh,fw]` -> `[N,1,h,w]`."""
    return functional.avg_pool2d(large, factor)


def repeated(small: Tensor, factor: int) -> Tensor:
    """Each pixel as a square, `[N,1,h,w]` -> `[N,1,fh,fw]`."""
    return functional.interpolate(small, scale_factor=factor, mode="nearest")


def interpolated(small: Tensor, factor: int) -> Tensor:
    """By cubics, `[N,1,h,w]` -> `[N,1,fh,fw]`."""
    return functional.interpolate(small, scale_factor=factor, mode="bicubic", align_corners=False)


def without_mean(large: Tensor, factor: int) -> Tensor:
    """What is left when the mean of each square is taken away: the orthogonal projection on detail.

    >>> without_mean(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]), 2).tolist()
    [[[[-3.0, -1.0], [1.0, 3.0]]]]
    """
    return large - repeated(mean_of_squares(large, factor), factor)


def contrast(small: Tensor) -> Tensor:
    """Mean square of what stands out of the 3 × 3 pixels around, over WINDOW × WINDOW pixels, `[N,1,h,w]` both."""
    return around((small - around(small, 3)).square(), WINDOW)


def around(small: Tensor, side: int) -> Tensor:
    """Mean over the `side` × `side` pixels around each, the border repeated, `[N,1,h,w]` both."""
    return functional.avg_pool2d(functional.pad(small, (side // 2,) * 4, mode="replicate"), side, stride=1)


def strength_of(pictures: Tensor, factor: int) -> Strength:
    """How strong the detail of pictures `[N,1,H,W]` is: the faintest tenth of squares has the grain alone.

    The texture is the median over tenths of like contrast, so that letters of lead do not decide it.
    """
    small = mean_of_squares(pictures, factor)
    power = mean_of_squares(without_mean(pictures - interpolated(small, factor), factor).square(), factor).flatten()
    seen = contrast(small).flatten()
    tenths = seen.argsort().chunk(10)
    grain = power[tenths[0]].mean()
    textures = [(power[tenth].mean() - grain) / seen[tenth].mean() for tenth in tenths[1:]]
    return Strength(float(grain.sqrt()), float(torch.stack(textures).median().clamp(min=0).sqrt()))


def tiles(side: int, tile: int, reach: int) -> list[tuple[slice, slice, slice]]:
    """Parts of a line of pixels: what is read, what of the read part is kept, and where that lies in the whole.

    >>> [[(part.start, part.stop) for part in parts] for parts in tiles(6, 4, 1)]
    [[(0, 5), (0, 4), (0, 4)], [(3, 6), (1, 3), (4, 6)]]
    """
    parts = []
    for start in range(0, side, tile):
        end = min(start + tile, side)
        first, last = max(0, start - reach), min(side, end + reach)
        parts.append((slice(first, last), slice(start - first, end - first), slice(start, end)))
    return parts


def larger(part: slice, factor: int) -> slice:
    """The same part of a picture `factor` times as large."""
    return slice(part.start * factor, part.stop * factor)
