"""Diffusers' networks with our weights, whose names are the same, and its DPM-Solver++."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cxr_ldm.benchmark.graph_peers import Exported
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.blocks import channels_last
from cxr_ldm.networks.precision import dtype_of
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.networks.unet import UNet
from cxr_ldm.ranges import Count, Pixels, Whole

Condition = tuple[Tensor, Tensor]


def library() -> Any:
    """`diffusers`; raises UserError where it is not installed."""
    try:
        import diffusers
    except ImportError:
        raise UserError('this suite needs diffusers as a peer; `pip install -e ".[test]"` brings it.') from None
    return diffusers


@dataclass(frozen=True)
class UNetShape:
    """Arguments of a `UNet` besides latents and text."""

    channels: Sequence[Count]
    blocks: Count
    attention_levels: Sequence[Whole]
    middle_attention: bool
    groups: Count
    head_width: Count | None = None
    heads: Count | None = None


@dataclass(frozen=True)
class AutoencoderShape:
    """Arguments of an `Autoencoder`."""

    latent_channels: Count
    channels: Sequence[Count]
    blocks: Count
    groups: Count
    attention: bool


class Twin(nn.Module):
    """Diffusers' UNet2DConditionModel with the shape and weights of a UNet, called as ours is."""

    def __init__(self, ours: UNet, shape: UNetShape, context_width: int) -> None:
        super().__init__()
        channels, latents = list(shape.channels), ours.conv_in.in_channels
        attends = [level in shape.attention_levels for level in range(len(channels))]
        heads = [shape.heads or width // (shape.head_width or width) for width in channels]
        self.network = library().UNet2DConditionModel(
            in_channels=latents,
            out_channels=latents,
            block_out_channels=channels,
            down_block_types=["CrossAttnDownBlock2D" if each else "DownBlock2D" for each in attends],
            up_block_types=["CrossAttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attends)],
            mid_block_type="UNetMidBlock2DCrossAttn" if shape.middle_attention else "UNetMidBlock2D",
            layers_per_block=shape.blocks,
            norm_num_groups=shape.groups,
            attention_head_dim=heads,  # the number of heads, whatever it is called
            cross_attention_dim=context_width,
        )
        self.network.load_state_dict(ours.state_dict(), strict=True)
        channels_last(self.network).eval()

    def forward(self, x: Tensor, label: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """As `UNet`."""
        return self.network(x, label, context, encoder_attention_mask=mask).sample  # type: ignore[no-any-return]


def twin_autoencoder(ours: Autoencoder, shape: AutoencoderShape) -> Any:
    """Diffusers' AutoencoderKL with the shape and weights of an Autoencoder."""
    levels = len(shape.channels)
    theirs = library().AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=shape.latent_channels,
        block_out_channels=list(shape.channels),
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        layers_per_block=shape.blocks,
        norm_num_groups=shape.groups,
        mid_block_add_attention=shape.attention,
    )
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return channels_last(theirs).eval()


@dataclass(frozen=True)
class Shapes:
    """What is compared.

    Attributes:
        denoiser: of the package's recipe for 256 pixels.
        original: of the UNet that the original's slides show.
        autoencoder: of both.
        size: of the images, in pixels.
        tokens, width: of the text states.
    """

    denoiser: UNetShape
    original: UNetShape
    autoencoder: AutoencoderShape
    size: Pixels
    tokens: Count
    width: Count

    @property
    def latent(self) -> tuple[int, int, int]:
        side = self.size // 2 ** (len(self.autoencoder.channels) - 1)
        return self.autoencoder.latent_channels, side, side

    def unet(self, shape: UNetShape) -> UNet:
        """A UNet of these latents and texts."""
        return randomised(UNet(self.latent[0], self.width, **asdict(shape)))  # type: ignore[no-any-return]

    def student(self) -> StudentUNet:
        """One of the denoiser's shape."""
        shapes = {"latent_channels": self.latent[0], "context_width": self.width, **asdict(self.denoiser)}
        return randomised(StudentUNet(scales=[1.0, 4.0], **shapes))  # type: ignore[no-any-return]

    def vae(self) -> Autoencoder:
        """An autoencoder of these latents."""
        return randomised(Autoencoder(**asdict(self.autoencoder)))  # type: ignore[no-any-return]

    def twin(self, ours: UNet, shape: UNetShape) -> Twin:
        """Diffusers' with the same weights."""
        return Twin(ours, shape, self.width)

    def graph(self, ours: UNet, batch: int) -> Exported:
        """The same network as a graph in onnxruntime, for a batch of this size."""
        states, mask = self.text(batch)
        inputs = {"x": torch.randn(batch, *self.latent), "label": torch.full((batch,), 500.0)}
        return Exported(ours, inputs | {"context": states, "mask": mask})

    def text(self, batch: int) -> tuple[Tensor, Tensor]:
        """States and mask."""
        return torch.randn(batch, self.tokens, self.width), torch.ones(batch, self.tokens, dtype=torch.bool)


def randomised(module: Any) -> Any:
    """In evaluation mode, with a little noise on every weight: a branch that starts at zero is no less work, but an
    image of it would show no difference.
    """
    with torch.no_grad():
        for weights in module.parameters():
            weights.add_(0.02 * torch.randn_like(weights))
    return channels_last(module).eval()


def dpm_solver(
    network: nn.Module, autoencoder: Any, latent: tuple[int, int, int], steps: int, scale: float
) -> Callable[[Condition, Condition], Tensor]:
    """An image by diffusers' DPM-Solver++(2M) and classifier-free guidance, as its pipelines go through them."""
    scheduler = library().DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)

    def draw(text: Condition, null: Condition) -> Tensor:
        scheduler.set_timesteps(steps)
        x = torch.randn(1, *latent).to(dtype_of(network))
        context, mask = (torch.cat(pair) for pair in zip(null, text, strict=True))
        context = context.to(x.dtype)
        for t in scheduler.timesteps:
            empty, named = network(torch.cat([x, x]), t.expand(2), context, mask).chunk(2)
            x = scheduler.step(empty + scale * (named - empty), t, x).prev_sample
        return autoencoder.decode(x).sample  # type: ignore[no-any-return]

    return draw
