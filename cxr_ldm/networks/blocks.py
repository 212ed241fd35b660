"""Building blocks shared by the autoencoder and the UNet."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

Projection = TypeVar("Projection", nn.Conv2d, nn.Linear)
Known = dict[int, tuple[Tensor, tuple[Tensor, Tensor]]]  # of a context, by its identity: itself, its keys and values


class ResidualBlock(nn.Module):
    """Pre-activation residual block with an optional embedding added between its convolutions.

    Source: Ho et al. 2020 (DDPM), appendix B. The last convolution starts at zero, so a fresh
    block is the identity (or its 1x1 shortcut).

    Shapes: x `[N,in_channels,H,W]`, embedding `[N,embedding_width]` or None -> `[N,out_channels,H,W]`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, embedding_width: int | None = None, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding_width, out_channels) if embedding_width else None
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=eps)
        self.conv2 = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        if self.time_emb_proj is not None and embedding is not None:
            h = h + self.time_emb_proj(functional.silu(embedding))[:, :, None, None]
        h = self.conv2(functional.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, eq. 1).

    Shapes: x `[N,Q,width]`, context `[N,L,context_width]` (x itself when None), mask bool `[N,L]`,
    True where a token may be attended to -> `[N,Q,width]`.
    """

    def __init__(self, width: int, heads: int, context_width: int | None = None, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.known: Known | None = None  # see `texts_once`
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(context_width or width, width, bias=bias)
        self.to_v = nn.Linear(context_width or width, width, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        query = self._by_head(self.to_q(x))
        key, value = self._keys_and_values(x) if context is None else self._of_text(context)
        allowed = None if mask is None else mask[:, None, None, :]
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        return self.to_out[0](attended.transpose(1, 2).flatten(2))

    def _by_head(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _keys_and_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        return self._by_head(self.to_k(source)), self._by_head(self.to_v(source))

    def _of_text(self, context: Tensor) -> tuple[Tensor, Tensor]:
        known = self.known
        if known is None:
            return self._keys_and_values(context)
        if id(context) not in known:
            known[id(context)] = context, self._keys_and_values(context)
        return known[id(context)][1]


@contextmanager
def texts_once(network: nn.Module) -> Iterator[None]:
    """While the block runs, keys and values of each context that the network meets are computed once.

    A context is known as the tensor object that it is, which must not be changed meanwhile. For sampling alone: what
    is kept has no gradient of later steps.
    """
    layers = [module for module in network.modules() if isinstance(module, Attention)]
    for layer in layers:
        layer.known = {}
    try:
        yield
    finally:
        for layer in layers:
            layer.known = None


class PixelAttention(nn.Module):
    """Single-head self-attention over all positions of a feature map, as in the autoencoder's middle."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=1e-6)
        attention = Attention(channels, heads=1, bias=True)
        self.to_q, self.to_k, self.to_v, self.to_out = attention.to_q, attention.to_k, attention.to_v, attention.to_out

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(self.group_norm(x))
        query, key, value = self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        attended = functional.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        return x + to_map(self.to_out[0](attended), x)


class Gate(nn.Module):
    """GEGLU (Shazeer 2020, eq. 6): one half of a projection, gated by the GELU of the other."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * functional.gelu(gate)


class GatedFeedForward(nn.Module):
    """Feed-forward layer with a four-fold inner width; its second entry is dropout in diffusers, and nothing here."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gate(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerLayer(nn.Module):
    """Self-attention, cross-attention to the text, feed-forward; each behind a LayerNorm and a residual."""

    def __init__(self, width: int, heads: int, context_width: int) -> None:
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.attn2 = nn.LayerNorm(width), Attention(width, heads, context_width)
        self.norm3, self.ff = nn.LayerNorm(width), GatedFeedForward(width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context, mask)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A transformer layer over the positions of a feature map (Rombach et al. 2022, section 3.3).

    Shapes: x `[N,channels,H,W]`, context `[N,L,context_width]`, mask bool `[N,L]` -> as x.
    """

    def __init__(self, channels: int, heads: int, context_width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerLayer(channels, heads, context_width)])
        self.proj_out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        tokens = to_tokens(self.proj_in(self.norm(x)))
        tokens = self.transformer_blocks[0](tokens, context, mask)
        return x + self.proj_out(to_map(tokens, x))


class Downsample(nn.Module):
    """Halve height and width by a strided convolution.

    `padding=1` is the UNet's; `padding=0` pads right and bottom only, as autoencoders of this family do.
    """

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x if self.conv.padding != (0, 0) else functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def to_tokens(x: Tensor) -> Tensor:
    """`[N,C,H,W]` -> `[N,H*W,C]`; a view when x is in channels-last memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def to_map(tokens: Tensor, like: Tensor) -> Tensor:
    """`[N,H*W,C]` -> `[N,C,H,W]` with the height and width of `like`."""
    return tokens.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)


def zeroed(module: Projection) -> Projection:
    """Set weight and bias to zero, so that a residual branch starts silent."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


def parameter_count(module: nn.Module, trainable_only: bool = False) -> int:
    """Number of parameters.

    >>> parameter_count(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


Net = TypeVar("Net", bound=nn.Module)


def channels_last(module: Net) -> Net:
    """Keep 4-D weights in channels-last memory, which CPU and tensor-core convolutions prefer."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
