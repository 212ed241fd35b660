"""UNet with self- and cross-attention by level (Rombach et al. 2022, section 3.3)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm.errors import UserError
from cxr_ldm.networks.blocks import Downsample, ResidualBlock, SpatialTransformer, Upsample, zeroed
from cxr_ldm.ranges import Count, Whole


class TimeEmbedding(nn.Module):
    """Two-layer perceptron over sinusoids of the noise label."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(channels, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, label: Tensor) -> Tensor:
        waves = sinusoids(label, self.linear_1.in_features).to(self.linear_1.weight.dtype)
        return self.linear_2(functional.silu(self.linear_1(waves)))


class Level(nn.Module):
    """One resolution: residual blocks, each followed by a transformer where this level attends."""

    def __init__(self, widths: Sequence[tuple[int, int]], embedding: int, groups: int, heads: int, context: int | None):
        super().__init__()
        self.resnets = nn.ModuleList(ResidualBlock(i, o, groups, embedding, eps=1e-5) for i, o in widths)
        self.attends = context is not None
        if context is not None:
            self.attentions = nn.ModuleList(SpatialTransformer(o, heads, context, groups) for _, o in widths)

    def block(self, index: int, x: Tensor, embedding: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        x = self.resnets[index](x, embedding)
        return self.attentions[index](x, context, mask) if self.attends else x


class DownLevel(Level):
    """A level on the way down; gives its features after each block and, last, what goes on to the next level."""

    def add_downsample(self, channels: int) -> None:
        self.downsamplers = nn.ModuleList([Downsample(channels, padding=1)])

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor, mask: Tensor) -> list[Tensor]:
        features = [x]
        for index in range(len(self.resnets)):
            features.append(self.block(index, features[-1], embedding, context, mask))
        if hasattr(self, "downsamplers"):
            features.append(self.downsamplers[0](features[-1]))
        return features[1:]


class UpLevel(Level):
    """A level on the way up; each block takes the features of its counterpart from the end of `skips`."""

    def add_upsample(self, channels: int) -> None:
        self.upsamplers = nn.ModuleList([Upsample(channels)])

    def forward(self, x: Tensor, skips: list[Tensor], embedding: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        for index in range(len(self.resnets)):
            x = self.block(index, torch.cat([x, skips.pop()], dim=1), embedding, context, mask)
        return self.upsamplers[0](x) if hasattr(self, "upsamplers") else x


class Middle(nn.Module):
    """Residual block, transformer (where the middle attends), residual block."""

    def __init__(self, channels: int, embedding: int, groups: int, heads: int, context: int | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResidualBlock(channels, channels, groups, embedding, eps=1e-5) for _ in range(2 if context else 1)
        )
        if context is not None:
            self.attentions = nn.ModuleList([SpatialTransformer(channels, heads, context, groups)])

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        x = self.resnets[0](x, embedding)
        if len(self.resnets) == 2:
            x = self.resnets[1](self.attentions[0](x, context, mask), embedding)
        return x


class UNet(nn.Module):
    """Own UNet with the parameter layout of diffusers' `UNet2DConditionModel`.

    Args:
        latent_channels: channels of the latents that go in and come out.
        context_width: D of the text states `[N,L,D]`.
        channels: feature channels of each level, finest first; each level halves the one before.
        blocks: residual blocks a level on the way down (one more on the way up).
        attention_levels: the levels, 0 = finest, that attend to themselves and to the text.
        middle_attention: whether the middle attends too.
        groups: groups of every GroupNorm.
        head_width: channels of an attention head; wider levels have more heads.
        heads: or the number of heads at every level, whatever its width (as on the slides, and in older bundles).

    Raises:
        UserError: no level attends to the text, a level does not exist, not one of `head_width` and `heads` is given,
            or it or `groups` does not divide the channels.
    """

    def __init__(
        self,
        latent_channels: Count,
        context_width: Count,
        channels: Sequence[Count],
        blocks: Count,
        attention_levels: Sequence[Whole],
        middle_attention: bool,
        groups: Count,
        head_width: Count | None = None,
        heads: Count | None = None,
    ) -> None:
        super().__init__()
        check_unet(channels, attention_levels, groups, head_width, heads)
        heads_of = [heads or width // head_width for width in channels]  # type: ignore[operator]  # one is given
        self.divisor = 2 ** (len(channels) - 1)
        embedding = 4 * channels[0]
        context = [context_width if level in attention_levels else None for level in range(len(channels))]

        self.conv_in = nn.Conv2d(latent_channels, channels[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(channels[0], embedding)

        self.down_blocks = nn.ModuleList()
        skips = [channels[0]]
        for level, width in enumerate(channels):
            before = channels[max(level - 1, 0)]
            widths = [(before if block == 0 else width, width) for block in range(blocks)]
            down = DownLevel(widths, embedding, groups, heads_of[level], context[level])
            skips += [width] * blocks
            if level < len(channels) - 1:
                down.add_downsample(width)
                skips.append(width)
            self.down_blocks.append(down)

        middle = context_width if middle_attention else None
        self.mid_block = Middle(channels[-1], embedding, groups, heads_of[-1], middle)

        self.up_blocks = nn.ModuleList()
        above = channels[-1]
        for level in reversed(range(len(channels))):
            widths = []
            for _ in range(blocks + 1):
                widths.append((above + skips.pop(), channels[level]))
                above = channels[level]
            up = UpLevel(widths, embedding, groups, heads_of[level], context[level])
            if level > 0:
                up.add_upsample(channels[level])
            self.up_blocks.append(up)

        self.conv_norm_out = nn.GroupNorm(groups, channels[0], eps=1e-5)
        self.conv_out = zeroed(nn.Conv2d(channels[0], latent_channels, 3, padding=1))

    def forward(self, x: Tensor, label: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Noisy latents `[N,C,h,w]`, noise label `[N]`, text states `[N,L,D]`, bool mask `[N,L]` -> `[N,C,h,w]`."""
        embedding = self.time_embedding(label)
        return self.between(x, embedding, embedding, context, mask)

    def between(self, x: Tensor, start: Tensor, end: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """As `forward`, by an embedding `[N,E]` for the way down and the middle, and one for the way up."""
        self.check(x)
        return self.levels(self.conv_in(x), start, end, context, mask)

    def check(self, x: Tensor) -> None:
        """Raises UserError where the levels do not divide latents `[N,C,h,w]`."""
        if x.shape[-1] % self.divisor or x.shape[-2] % self.divisor:
            raise UserError(
                f"the latents are {tuple(x.shape[-2:])}, which the {len(self.down_blocks)} levels of this denoiser do "
                f"not divide: data.size / VAE factor must be a multiple of {self.divisor}."
            )

    def levels(self, x: Tensor, start: Tensor, end: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """As `between`, on what `conv_in` makes of the latents, `[N,channels[0],h,w]`."""
        skips = [x]
        for level in self.down_blocks:
            skips += level(skips[-1], start, context, mask)
        x = self.mid_block(skips[-1], start, context, mask)
        for level in self.up_blocks:
            x = level(x, skips, end, context, mask)
        return self.conv_out(functional.silu(self.conv_norm_out(x)))


def check_unet(
    channels: Sequence[int], attention_levels: Sequence[int], groups: int, head_width: int | None, heads: int | None
) -> None:
    """Refuse a UNet that could not listen to the text or could not be built."""
    levels = range(len(channels))
    if not attention_levels:
        raise UserError(
            "denoiser.attention_levels is empty, so the text could not steer; name at least one level, e.g. [0, 1]."
        )
    if any(level not in levels for level in attention_levels):
        raise UserError(
            f"denoiser.attention_levels={list(attention_levels)} must count levels from 0 to {levels[-1]} "
            "(0 is the finest), not pixels."
        )
    if (head_width is None) == (heads is None):
        raise UserError(
            "give either denoiser.head_width (channels of a head) or denoiser.heads (heads of every level)."
        )
    for name, divisor in (("groups", groups), ("head_width", head_width), ("heads", heads)):
        if divisor is not None and (divisor < 1 or any(width % divisor for width in channels)):
            raise UserError(f"denoiser.{name}={divisor} must divide every entry of denoiser.channels={list(channels)}.")


def sinusoids(label: Tensor, channels: int) -> Tensor:
    """Cosines then sines of the label at geometric frequencies (Vaswani et al. 2017, section 3.5).

    >>> sinusoids(torch.tensor([0.0]), 4)
    tensor([[1., 1., 0., 0.]])
    """
    half = channels // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=label.device) / half)
    angles = label.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
