"""A model as folders that diffusers and transformers open: vae/, unet/, scheduler/, text_encoder/ and tokenizer/.

Our networks have the layout of theirs, so weights go over by their names; the whitening of the latents is folded into
the autoencoder's outer convolutions, and latent channels that are not diffused come out of the UNet as zeros.
"""

import importlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as FastTokenizer
from torch import Tensor

from cxr_ldm import artifacts
from cxr_ldm.assets import DRAW_DIFFUSERS
from cxr_ldm.bundle import Bundle, write_weights
from cxr_ldm.card import card
from cxr_ldm.diffusion.schedules import RectifiedFlow
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.unet import UNet
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.portable import SCRIPT, facts, require
from cxr_ldm.text.encoders import TextEncoder

PROJECTION = "text_projection.safetensors"


def write_diffusers(bundle: Bundle, folder: Path) -> None:
    """Write a model as vae/, unet/, scheduler/, text_encoder/ and tokenizer/, with what no library knows beside them.

    That is text_projection.safetensors (layer norm, matrix, layer norm behind the text encoder), config.json, the card,
    and draw.py, which draws an image by diffusers and transformers alone.

    Raises:
        UserError: diffusers is missing, `folder` exists, or the model has parts that it does not know.
    """
    require(("diffusers",), "form=diffusers", "diffusers")
    from transformers import PreTrainedTokenizerFast

    diffusers: Any = importlib.import_module("diffusers")  # which has no types of its own
    if folder.exists():
        raise UserError(f"out={folder} exists already; delete it or name another folder.")
    pipeline = TextToCXR.of(bundle, "cpu")
    check(pipeline)
    encoder, whitening = pipeline.conditioner.text_encoder, pipeline.whitening
    spec = bundle.spec["network"]
    unet = diffusers.UNet2DConditionModel(**unet_arguments(spec, whitening, pipeline.latent_shape[1]))
    unet.load_state_dict(unet_weights(pipeline.denoiser.network.state_dict(), whitening), strict=True)
    vae = diffusers.AutoencoderKL(**vae_arguments(bundle.spec["autoencoder"], pipeline.size))
    vae.load_state_dict(vae_weights(pipeline.autoencoder, whitening), strict=True)
    words = {name: f"[{name[:-6].upper()}]" for name in ("pad_token", "unk_token", "cls_token", "sep_token")}
    own = FastTokenizer.from_str(encoder.tokenizer.definition)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=encoder.tokenizer.length, **words)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    with artifacts.building(folder) as partial:
        unet.save_pretrained(partial / "unet")
        vae.save_pretrained(partial / "vae")
        scheduler.save_pretrained(partial / "scheduler")
        whole(encoder).save_pretrained(partial / "text_encoder")
        tokenizer.save_pretrained(partial / "tokenizer")
        projection = {name: value.contiguous() for name, value in encoder.projection.state_dict().items()}
        write_weights(partial / PROJECTION, projection)
        artifacts.write_json(
            partial / "config.json", facts(bundle, pipeline, False) | {"live": whitening.live.tolist()}
        )
        artifacts.write_text(
            partial / "README.md", card({"kind": "ldm", "info": bundle.info, "software": "cxr_ldm as diffusers"})
        )
        shutil.copyfile(DRAW_DIFFUSERS, partial / SCRIPT)


def check(pipeline: TextToCXR) -> None:
    """Raises UserError where a model has what these classes have not."""
    autoencoder, network = pipeline.autoencoder, pipeline.denoiser.network
    if not isinstance(autoencoder, Autoencoder) or autoencoder.patch != 1 or autoencoder.shortcut is not None:
        raise UserError(
            "form=diffusers: AutoencoderKL has no squares of pixels and no shortcut, which this model's VAE has; "
            "form=onnx writes any."
        )
    if type(network) is not UNet:
        raise UserError(f"form=diffusers writes a UNet; this model's is a {type(network).__name__}.")
    if not isinstance(pipeline.denoiser.schedule, RectifiedFlow) or pipeline.conditioner.takes_patients:
        raise UserError("form=diffusers writes models of diffusion=flow and of the text alone; this is another.")


def unet_arguments(spec: Mapping[str, Any], whitening: Whitening, side: int) -> dict[str, Any]:
    """Of UNet2DConditionModel; `attention_head_dim` is its number of heads, by an old name."""
    channels, levels = spec["channels"], spec["attention_levels"]
    kinds = ["CrossAttn" if level in levels else "" for level in range(len(channels))]
    return {
        "sample_size": side,
        "in_channels": len(whitening.mean),
        "out_channels": len(whitening.mean),
        "block_out_channels": tuple(channels),
        "down_block_types": tuple(f"{kind}DownBlock2D" for kind in kinds),
        "up_block_types": tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if spec["middle_attention"] else "UNetMidBlock2D",
        "layers_per_block": spec["blocks"],
        "norm_num_groups": spec["groups"],
        "attention_head_dim": tuple(spec.get("heads") or width // spec["head_width"] for width in channels),
        "cross_attention_dim": spec["context_width"],
    }


def unet_weights(weights: dict[str, Tensor], whitening: Whitening) -> dict[str, Tensor]:
    """With a channel for each of the VAE's: what is not diffused is not looked at, and comes out as 0."""
    found, live = dict(weights), whitening.live
    inner, outer = weights["conv_in.weight"], weights["conv_out.weight"]
    found["conv_in.weight"] = inner.new_zeros(inner.shape[0], len(whitening.mean), *inner.shape[2:])
    found["conv_in.weight"][:, live] = inner
    found["conv_out.weight"] = outer.new_zeros(len(whitening.mean), *outer.shape[1:])
    found["conv_out.weight"][live] = outer
    found["conv_out.bias"] = outer.new_zeros(len(whitening.mean))
    found["conv_out.bias"][live] = weights["conv_out.bias"]
    return found


def vae_arguments(spec: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Of AutoencoderKL."""
    levels = len(spec["channels"])
    return {
        "in_channels": 1,
        "out_channels": 1,
        "sample_size": size,
        "latent_channels": spec["latent_channels"],
        "block_out_channels": tuple(spec["channels"]),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "layers_per_block": spec["blocks"],
        "norm_num_groups": spec["groups"],
        "mid_block_add_attention": spec.get("attention", True),
        "scaling_factor": 1.0,
    }


def vae_weights(autoencoder: Autoencoder, whitening: Whitening) -> dict[str, Tensor]:
    """With latents that are white: (z - mean) / std behind the encoder, and back before the decoder.

    The log-variance falls by 2 log std; channels that are not diffused are decoded at their mean.
    """
    found = dict(autoencoder.state_dict())
    mean, std = whitening.mean[:, 0, 0], whitening.std[:, 0, 0]
    weight, bias = found["quant_conv.weight"], found["quant_conv.bias"]
    first, second = bias.chunk(2)
    scale = torch.cat([1 / std, torch.ones_like(std)])[:, None, None, None]
    found["quant_conv.weight"] = weight * scale
    found["quant_conv.bias"] = torch.cat([(first - mean) / std, second - 2 * std.log()])
    kept = torch.zeros_like(std)
    kept[whitening.live] = std[whitening.live]
    weight, bias = found["post_quant_conv.weight"], found["post_quant_conv.bias"]
    found["post_quant_conv.weight"] = weight * kept[None, :, None, None]
    found["post_quant_conv.bias"] = bias + weight[:, :, 0, 0] @ mean
    return found


def whole(encoder: TextEncoder) -> Any:
    """The transformer with the layers that train apart from it put back."""
    from transformers import AutoConfig, AutoModel

    architecture: Any = encoder.arguments["architecture"]
    model = AutoModel.from_config(AutoConfig.for_model(**architecture))
    model.pooler = None
    if encoder.top:  # taken off by `cxr_ldm.text.unfreezing.split`
        own = [*encoder.transformer.encoder.layer, *encoder.top]
        for mine, theirs in zip(model.encoder.layer, own, strict=True):
            mine.load_state_dict(theirs.state_dict())
    model.load_state_dict(model.state_dict() | encoder.transformer.state_dict())
    return model.eval()
