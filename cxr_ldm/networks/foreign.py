"""Weights of other projects in our networks: diffusers' AutoencoderKL, such as Stable Diffusion's, for grey images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxr_ldm.artifacts import read_json
from cxr_ldm.bundle import read_weights
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder

CONFIG = "config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")
# what layers of attention were called before diffusers 0.18, and are in many files still
RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
NEEDED = {"_class_name", "latent_channels", "block_out_channels", "layers_per_block", "norm_num_groups"}
PLAIN = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}


def autoencoder_kl(folder: Path) -> tuple[Autoencoder, dict[str, Any]]:
    """An AutoencoderKL as diffusers saves it, and what ours is built from.

    Colour becomes grey by this rule: the grey image goes in as three equal channels, and the mean of the three that
    come out is taken. Both are linear, so they are folded into the first and the last convolution, exactly.

    Args:
        folder: holds config.json and the weights as .safetensors.

    Raises:
        UserError: a file is missing, it is another class, or it has parts that ours has not.
    """
    stated = read_json(folder / CONFIG)
    if not isinstance(stated, dict) or not stated.keys() >= NEEDED:
        raise UserError(f"{folder / CONFIG} is no config of an AutoencoderKL: it lacks {', '.join(sorted(NEEDED))}.")
    weights = renamed(read_weights(weights_in(folder)))
    arguments = arguments_of(stated, folder)
    latents = arguments["latent_channels"]
    for name, channels in (("quant_conv", 2 * latents), ("post_quant_conv", latents)):
        if f"{name}.weight" not in weights:  # newer ones do without, which is the identity
            weights[f"{name}.weight"] = torch.eye(channels)[:, :, None, None]
            weights[f"{name}.bias"] = torch.zeros(channels)
    for key in ("encoder.conv_in.weight", "decoder.conv_out.weight", "decoder.conv_out.bias"):
        if key not in weights:
            raise UserError(f"{folder} lacks {key}, which every AutoencoderKL has; copy it again.")
    weights["encoder.conv_in.weight"] = weights["encoder.conv_in.weight"].sum(dim=1, keepdim=True)
    for key in ("decoder.conv_out.weight", "decoder.conv_out.bias"):
        weights[key] = weights[key].mean(dim=0, keepdim=True)
    network = Autoencoder(**arguments)
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise UserError(f"{folder} does not fit its {CONFIG}: {str(error).splitlines()[1].strip()}") from None
    return network.eval(), {"part": "Autoencoder", **arguments}


def arguments_of(stated: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Arguments of `Autoencoder` by a config of diffusers; raises UserError where it has what ours has not."""
    if stated.get("_class_name") != "AutoencoderKL":
        raise UserError(f"{folder / CONFIG} is of {stated.get('_class_name')}, and not of an AutoencoderKL.")
    for key, kind in PLAIN.items():
        others = sorted(set(stated.get(key, [])) - {kind})
        if others:
            raise UserError(f"{folder / CONFIG}: {key} has {others[0]}, which ours has not; only {kind} is known.")
    if stated.get("act_fn", "silu") != "silu" or stated.get("in_channels", 3) != stated.get("out_channels", 3):
        raise UserError(f"{folder / CONFIG} is of another activation, or of other channels out than in.")
    return {
        "latent_channels": stated["latent_channels"],
        "channels": list(stated["block_out_channels"]),
        "blocks": stated["layers_per_block"],
        "groups": stated["norm_num_groups"],
        "attention": stated.get("mid_block_add_attention", True),
    }


def weights_in(folder: Path) -> Path:
    """The weights of a folder; raises UserError where there are none, or only in a format that may run code."""
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        raise UserError(
            f"{folder} holds none of {', '.join(WEIGHTS)}; .bin and .ckpt files may run code and are not read."
        )
    return found


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names that they have today, in float32; projections that were 1 × 1 convolutions as matrices."""
    found = {}
    for name, value in weights.items():
        parts = name.split(".")
        if "attentions" in parts and parts[-2] in RENAMED:
            name = ".".join([*parts[:-2], RENAMED[parts[-2]], parts[-1]])
        value = value.float()
        if "attentions" in parts and value.dim() == 4:
            value = value[:, :, 0, 0]
        found[name] = value
    return found
