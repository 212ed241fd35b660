"""Diffusers' networks with our weights, whose names are the same, and its DPM-Solver++."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.blocks import channels_last
from cxr_ldm.networks.unet import UNet

Condition = tuple[Tensor, Tensor]


def library() -> Any:
    """`diffusers`; raises UserError where it is not installed."""
    try:
        import diffusers
    except ImportError:
        raise UserError('this suite needs diffusers as a peer; `pip install -e ".[test]"` brings it.') from None
    return diffusers


class Twin(nn.Module):
    """Diffusers' UNet2DConditionModel with the shape and weights of a UNet, called as ours is.

    Args:
        arguments: that `ours` was made of, latent channels and context width included.
    """

    def __init__(self, ours: UNet, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        channels = list(arguments["channels"])
        attends = [level in arguments["attention_levels"] for level in range(len(channels))]
        heads = [arguments.get("heads") or width // arguments["head_width"] for width in channels]
        self.network = library().UNet2DConditionModel(
            in_channels=arguments["latent_channels"],
            out_channels=arguments["latent_channels"],
            block_out_channels=channels,
            down_block_types=["CrossAttnDownBlock2D" if each else "DownBlock2D" for each in attends],
            up_block_types=["CrossAttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attends)],
            mid_block_type="UNetMidBlock2DCrossAttn" if arguments["middle_attention"] else "UNetMidBlock2D",
            layers_per_block=arguments["blocks"],
            norm_num_groups=arguments["groups"],
            attention_head_dim=heads,  # the number of heads, whatever it is called
            cross_attention_dim=arguments["context_width"],
        )
        self.network.load_state_dict(ours.state_dict(), strict=True)
        channels_last(self.network).eval()

    def forward(self, x: Tensor, label: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """As `UNet`."""
        return self.network(x, label, context, encoder_attention_mask=mask).sample  # type: ignore[no-any-return]


def twin_autoencoder(ours: Autoencoder, arguments: Mapping[str, Any]) -> Any:
    """Diffusers' AutoencoderKL with the shape and weights of an Autoencoder that was made of `arguments`."""
    levels = len(arguments["channels"])
    theirs = library().AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=arguments["latent_channels"],
        block_out_channels=list(arguments["channels"]),
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        layers_per_block=arguments["blocks"],
        norm_num_groups=arguments["groups"],
        mid_block_add_attention=arguments["attention"],
    )
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return channels_last(theirs).eval()


def dpm_solver(
    network: nn.Module, autoencoder: Any, latent: tuple[int, int, int], steps: int, scale: float
) -> Callable[[Condition, Condition], Tensor]:
    """An image by diffusers' DPM-Solver++(2M) and classifier-free guidance, as its pipelines go through them."""
    scheduler = library().DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)

    def draw(text: Condition, null: Condition) -> Tensor:
        scheduler.set_timesteps(steps)
        x = torch.randn(1, *latent)
        context, mask = (torch.cat(pair) for pair in zip(null, text, strict=True))
        for t in scheduler.timesteps:
            empty, named = network(torch.cat([x, x]), t.expand(2), context, mask).chunk(2)
            x = scheduler.step(empty + scale * (named - empty), t, x).prev_sample
        return autoencoder.decode(x).sample  # type: ignore[no-any-return]

    return draw
