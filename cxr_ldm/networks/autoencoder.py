"""KL autoencoder: pixels to the moments of a small latent, and back (Rombach et al. 2022, section 3.1)."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm.errors import UserError
from cxr_ldm.networks.blocks import Downsample, PixelAttention, ResidualBlock, Upsample
from cxr_ldm.randomness import Random, normal
from cxr_ldm.ranges import Count


class Level(nn.Module):
    """One resolution: some residual blocks, then a change of resolution (or none at the last level)."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, groups: int, change: str | None) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * blocks
        self.resnets = nn.ModuleList(
            ResidualBlock(before, after, groups) for before, after in itertools.pairwise(widths)
        )
        if change == "down":
            self.downsamplers = nn.ModuleList([Downsample(out_channels, padding=0)])
        if change == "up":
            self.upsamplers = nn.ModuleList([Upsample(out_channels)])
        self.change = None if change is None else f"{change}samplers"

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resnets:
            x = block(x)
        return x if self.change is None else getattr(self, self.change)[0](x)


class Middle(nn.Module):
    """Residual block, self-attention over all positions, residual block."""

    def __init__(self, channels: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResidualBlock(channels, channels, groups) for _ in range(2)])
        self.attentions = nn.ModuleList([PixelAttention(channels, groups)] if attention else [])

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class Encoder(nn.Module):
    """Planes `[N,P,H,W]` -> features `[N,2C,H/f,W/f]`, from which `quant_conv` makes the moments."""

    def __init__(
        self, planes: int, latent_channels: int, channels: Sequence[int], blocks: int, groups: int, attention: bool
    ):
        super().__init__()
        self.conv_in = nn.Conv2d(planes, channels[0], 3, padding=1)
        widths = [channels[0], *channels]
        self.down_blocks = nn.ModuleList(
            Level(widths[i], widths[i + 1], blocks, groups, "down" if i < len(channels) - 1 else None)
            for i in range(len(channels))
        )
        self.mid_block = Middle(channels[-1], groups, attention)
        self.conv_norm_out = nn.GroupNorm(groups, channels[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(channels[-1], 2 * latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(functional.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """Latents `[N,C,H/f,W/f]` -> planes `[N,P,H,W]`; one residual block more a level than the encoder."""

    def __init__(
        self, planes: int, latent_channels: int, channels: Sequence[int], blocks: int, groups: int, attention: bool
    ):
        super().__init__()
        widths = [channels[-1], *reversed(channels)]
        self.conv_in = nn.Conv2d(latent_channels, channels[-1], 3, padding=1)
        self.mid_block = Middle(channels[-1], groups, attention)
        self.up_blocks = nn.ModuleList(
            Level(widths[i], widths[i + 1], blocks + 1, groups, "up" if i < len(channels) - 1 else None)
            for i in range(len(channels))
        )
        self.conv_norm_out = nn.GroupNorm(groups, channels[0], eps=1e-6)
        self.conv_out = nn.Conv2d(channels[0], planes, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(functional.silu(self.conv_norm_out(x)))


FIRST_LOG_VARIANCE = -6.0  # of the posterior beside a fitted shortcut: a standard deviation of 0.05 on white latents


class Shortcut(nn.Module):
    """A linear autoencoder of squares of f × f pixels: their C first principal components, white (Hotelling 1933).

    It costs no training, and nothing that cheap should have to be learnt; `suite=autoencoders` measures what it keeps.
    """

    def __init__(self, latent_channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.analysis = nn.Conv2d(1, latent_channels, factor, stride=factor)
        self.synthesis = nn.Conv2d(latent_channels, factor**2, 3, padding=1)

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels `[N,1,H,W]` -> `[N,C,H/f,W/f]`."""
        return self.analysis(pixels)

    def synthesise(self, latents: Tensor) -> Tensor:
        """`[N,C,H/f,W/f]` -> pixels `[N,1,H,W]`."""
        return functional.pixel_shuffle(self.synthesis(latents), self.factor)

    @torch.no_grad()
    def fit(self, pixels: Tensor) -> None:
        """Become the principal components of the squares of `pixels` `[N,1,H,W]`, each of variance 1.

        Raises:
            UserError: the squares have fewer components than there are latent channels.
        """
        squares = functional.pixel_unshuffle(pixels, self.factor).movedim(1, -1).flatten(0, 2).double()
        mean = squares.mean(0)
        variance, components = torch.linalg.eigh((squares - mean).T @ (squares - mean) / len(squares))
        count = self.analysis.out_channels
        std, components = variance.flip(0)[:count].sqrt(), components.flip(1)[:, :count].T  # the largest first
        if len(std) < count or not (std > 1e-6).all():
            raise UserError(
                f"vae.network.latent_channels={count} is more than the images vary in squares of {self.factor} pixels; "
                "take fewer."
            )
        # eigenvectors have no sign of their own: the largest entry of each is positive, on every machine
        components = components * components.gather(1, components.abs().argmax(1, keepdim=True)).sign()
        white = components / std[:, None]
        self.analysis.weight.copy_(white.unflatten(1, (1, self.factor, self.factor)))
        self.analysis.bias.copy_(-white @ mean)  # type: ignore[union-attr]  # it has one
        nn.init.zeros_(self.synthesis.weight)
        self.synthesis.weight[:, :, 1, 1] = (components * std[:, None]).T.float()
        self.synthesis.bias.copy_(mean)  # type: ignore[union-attr]  # it has one


class Autoencoder(nn.Module):
    """Own KL autoencoder with the parameter layout of diffusers' `AutoencoderKL`.

    Args:
        latent_channels: C, channels of the latent.
        channels: feature channels of each level; the reduction is f = patch * 2 ** (levels - 1).
        blocks: residual blocks a level in the encoder (the decoder has one more).
        groups: groups of every GroupNorm; must divide each of `channels`.
        attention: whether the middle attends over all positions.
        patch: side of the squares of pixels that are taken as one position with patch² planes, so that no convolution
            runs at full size (Shi et al. 2016, section 2.2); with 1 every pixel is a position of its own.
        shortcut: whether a linear map of each square of f × f pixels stands beside the encoder, and its inverse beside
            the decoder, so that the convolutions learn what a linear map cannot do. `fit_shortcut` makes it the
            principal components, from which training starts.

    Raises:
        UserError: `groups` does not divide `channels`, patch is below 1, or a picture's size is no multiple of f.
    """

    def __init__(
        self,
        latent_channels: Count,
        channels: Sequence[Count],
        blocks: Count,
        groups: Count,
        attention: bool = True,
        patch: Count = 1,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        if any(width % groups for width in channels):
            raise UserError(f"vae.network.groups={groups} must divide every entry of vae.network.channels={channels}.")
        if patch < 1:
            raise UserError(f"vae.network.patch={patch} must be 1 or more.")
        self.latent_channels, self.patch = latent_channels, patch
        self.factor = patch * 2 ** (len(channels) - 1)
        self.encoder = Encoder(patch**2, latent_channels, channels, blocks, groups, attention)
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.decoder = Decoder(patch**2, latent_channels, channels, blocks, groups, attention)
        self.shortcut = Shortcut(latent_channels, self.factor) if shortcut else None

    def encoding(self) -> nn.ModuleDict:
        """The parts that make latents; all others make pixels of them."""
        parts: dict[str, nn.Module] = {"encoder": self.encoder, "quant_conv": self.quant_conv}
        return nn.ModuleDict(parts if self.shortcut is None else parts | {"analysis": self.shortcut.analysis})

    @torch.no_grad()
    def fit_shortcut(self, pixels: Tensor) -> None:
        """Start as the linear autoencoder of least error on these pixels `[N,1,H,W]`; the convolutions start silent."""
        if self.shortcut is None:
            return
        self.shortcut.fit(pixels)
        for silent in (self.encoder.conv_out, self.decoder.conv_out, self.quant_conv):
            nn.init.zeros_(silent.bias)  # type: ignore[arg-type]  # all have one
        for silent in (self.encoder.conv_out, self.decoder.conv_out):
            nn.init.zeros_(silent.weight)
        self.quant_conv.bias[self.latent_channels :] = FIRST_LOG_VARIANCE  # type: ignore[index]

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels `[N,1,H,W]` in [-1, 1] -> moments (mean, log-variance) `[N,2C,H/f,W/f]`."""
        if pixels.shape[-1] % self.factor or pixels.shape[-2] % self.factor:
            size = tuple(pixels.shape[-2:])
            raise UserError(f"data.size must be a multiple of {self.factor} for this VAE; the images are {size}.")
        planes = functional.pixel_unshuffle(pixels, self.patch)
        mean, log_variance = self.quant_conv(self.encoder(planes)).chunk(2, dim=1)
        if self.shortcut is not None:
            mean = mean + self.shortcut.analyse(pixels)
        return torch.cat([mean, log_variance.clamp(-30.0, 20.0)], dim=1)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents `[N,C,H/f,W/f]` -> pixels `[N,1,H,W]`, in [-1, 1] up to the network's error (not clamped)."""
        pixels = functional.pixel_shuffle(self.decoder(self.post_quant_conv(latents)), self.patch)
        return pixels if self.shortcut is None else pixels + self.shortcut.synthesise(latents)


def sample_posterior(moments: Tensor, random: Random = None) -> Tensor:
    """z = mean + std * eps (Kingma & Welling 2014, eq. 10); the noise is drawn on the CPU, alike on every device."""
    mean, log_variance = moments.chunk(2, dim=1)
    noise = normal(mean.shape, random, mean.dtype).to(mean.device)
    return mean + torch.exp(0.5 * log_variance) * noise


def kl_divergence(moments: Tensor) -> Tensor:
    """KL(N(mean, var) || N(0, 1)) as a mean over elements, in nats (Kingma & Welling 2014, appendix B).

    >>> kl_divergence(torch.zeros(1, 2, 4, 4)).item()
    0.0
    """
    mean, log_variance = moments.chunk(2, dim=1)
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
