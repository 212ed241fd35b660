"""A whole model as diffusers saves those of Stable Diffusion's family, such as RoentGen, as the parts of a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cxr_ldm.artifacts import read_json
from cxr_ldm.bundle import read_weights
from cxr_ldm.diffusion.scaling import Epsilon, VPrediction
from cxr_ldm.diffusion.schedules import LinearBeta
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.foreign import CONFIG, autoencoder_kl, weights_in
from cxr_ldm.networks.unet import UNet
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.text.clip import FAMILY, ClipTextEncoder

SCHEDULER = "scheduler_config.json"
GUIDANCE = 7.5  # what diffusers samples models of this family with
SCALINGS = {"epsilon": Epsilon, "v_prediction": VPrediction}
BETAS = {"linear": False, "scaled_linear": True}
# settings of a UNet2DConditionModel that ours has no part for, and the only value of each that it computes
PLAIN: dict[str, Any] = {
    "act_fn": "silu",
    "addition_embed_type": None,
    "center_input_sample": False,
    "class_embed_type": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "resnet_time_scale_shift": "default",
    "time_cond_proj_dim": None,
    "time_embedding_type": "positional",
    "transformer_layers_per_block": 1,
}
MIDDLES = {"UNetMidBlock2DCrossAttn": True, "UNetMidBlock2D": False}


@dataclass(frozen=True)
class Model:
    """Parts and what each is built from, as `save_bundle` takes them, and the side of its images in pixels."""

    parts: dict[str, Any]
    specs: dict[str, dict[str, Any]]
    size: int


def stable_diffusion(folder: Path) -> Model:
    """vae/, unet/, scheduler/, text_encoder/ and tokenizer/ of a folder as our parts; grey images as of its VAE.

    Raises:
        UserError: a file is missing or damaged, or a part has what ours has not.
    """
    autoencoder, vae = autoencoder_kl(folder / "vae")
    network, unet, side = unet_of(folder / "unet")
    schedule, scaling, steps = schedule_of(folder / "scheduler")
    encoder = clip_of(folder)
    whitening = whitening_of(folder / "vae", autoencoder)
    if unet["latent_channels"] != vae["latent_channels"] or unet["context_width"] != encoder.width:
        raise UserError(
            f"{folder}: unet/ is of {unet['latent_channels']} latent channels and states of {unet['context_width']}; "
            f"vae/ has {vae['latent_channels']} and text_encoder/ {encoder.width}."
        )
    parts = {"autoencoder": autoencoder, "network": network, "schedule": schedule, "scaling": scaling}
    specs = {
        "autoencoder": vae,
        "network": {"part": "UNet", **unet},
        "schedule": {"part": "LinearBeta", **steps},
        "scaling": {"part": type(scaling).__name__},
        "text_encoder": {"part": "ClipTextEncoder", **encoder.arguments},
        "whitening": {"part": "Whitening", **whitening.arguments},
    }
    return Model(parts | {"text_encoder": encoder, "whitening": whitening}, specs, side * autoencoder.factor)


def config_of(folder: Path, name: str, kinds: str, needed: set[str]) -> dict[str, Any]:
    """A config of diffusers; raises UserError where it is missing, of another class, or lacks something."""
    path = folder / name
    if not path.is_file():
        raise UserError(f"{path} is missing; give the folder of a whole model as diffusers saves it.")
    stated = read_json(path)
    if not isinstance(stated, dict) or not stated.keys() >= needed:
        raise UserError(f"{path} lacks {', '.join(sorted(needed - set(stated or ())))}; copy it again.")
    if stated.get("_class_name", kinds) != kinds and not str(stated["_class_name"]).endswith(kinds):
        raise UserError(f"{path} is of {stated['_class_name']}, and not of a {kinds}.")
    return stated


def unet_of(folder: Path) -> tuple[UNet, dict[str, Any], int]:
    """A UNet2DConditionModel, what ours is built from, and the side of its latents."""
    needed = {"in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim", "sample_size"}
    stated = config_of(folder, CONFIG, "UNet2DConditionModel", needed)
    for key, value in PLAIN.items():
        if stated.get(key, value) != value:
            raise UserError(f"{folder / CONFIG} has {key}={stated[key]}, which ours has not; only {value} is known.")
    arguments = unet_arguments(stated, folder / CONFIG)
    weights = {name: value.float() for name, value in read_weights(weights_in(folder)).items()}
    for name, value in weights.items():
        if name.endswith(("proj_in.weight", "proj_out.weight")) and value.dim() == 2:  # linear in newer ones
            weights[name] = value[:, :, None, None]
    network = UNet(**arguments)
    load(network, weights, folder)
    return network.eval(), arguments, int(stated["sample_size"])


def unet_arguments(stated: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Arguments of `UNet` by a config of diffusers, whose `attention_head_dim` is a number of heads by an old name."""
    channels = list(stated["block_out_channels"])
    down = stated.get("down_block_types") or ["CrossAttnDownBlock2D"] * (len(channels) - 1) + ["DownBlock2D"]
    up = stated.get("up_block_types") or ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * (len(channels) - 1)
    levels = [level for level, kind in enumerate(down) if kind == "CrossAttnDownBlock2D"]
    mirrored = [kind.replace("Up", "Down") for kind in reversed(up)] == list(down)
    middle = stated.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    if not mirrored or set(down) - {"CrossAttnDownBlock2D", "DownBlock2D"} or middle not in MIDDLES:
        raise UserError(f"{path}: its blocks are {', '.join([*down, str(middle), *up])}, which ours has not.")
    if stated.get("out_channels", stated["in_channels"]) != stated["in_channels"]:
        raise UserError(f"{path} takes other channels than it gives, as one that fills holes does; ours does not.")
    heads = stated.get("num_attention_heads") or stated.get("attention_head_dim", 8)
    found = {
        "latent_channels": stated["in_channels"],
        "context_width": stated["cross_attention_dim"],
        "channels": channels,
        "blocks": stated["layers_per_block"],
        "attention_levels": levels,
        "middle_attention": MIDDLES[middle],
        "groups": stated.get("norm_num_groups", 32),
    }
    if isinstance(heads, int):
        return found | {"heads": heads}
    widths = {channel // count for channel, count in zip(channels, heads, strict=True)}
    if len(widths) > 1:
        raise UserError(
            f"{path}: its heads are of {sorted(widths)} channels; ours has one width, or one number of them."
        )
    return found | {"head_width": widths.pop()}


def schedule_of(folder: Path) -> tuple[LinearBeta, Any, dict[str, Any]]:
    """The schedule that a model was trained on, what its output means, and the schedule's arguments."""
    stated = config_of(folder, SCHEDULER, "Scheduler", {"beta_start", "beta_end", "num_train_timesteps"})
    kind, meaning = stated.get("beta_schedule", "linear"), stated.get("prediction_type", "epsilon")
    if kind not in BETAS or meaning not in SCALINGS or stated.get("trained_betas") is not None:
        raise UserError(f"{folder / SCHEDULER}: beta_schedule={kind}, prediction_type={meaning}; ours are others.")
    arguments = {
        "levels": stated["num_train_timesteps"],
        "beta_first": stated["beta_start"],
        "beta_last": stated["beta_end"],
        "zero_terminal": stated.get("rescale_betas_zero_snr", False),
        "scaled": BETAS[kind],
    }
    return LinearBeta(**arguments), SCALINGS[meaning](), arguments


def whitening_of(folder: Path, autoencoder: Autoencoder) -> Whitening:
    """One scale for all channels (`scaling_factor`), and a shift where there is one."""
    stated, channels = read_json(folder / CONFIG), autoencoder.latent_channels
    shift = stated.get("shift_factor") or 0.0
    return Whitening([shift] * channels, [1 / stated.get("scaling_factor", 0.18215)] * channels)


def clip_of(folder: Path) -> ClipTextEncoder:
    """text_encoder/ and tokenizer/ of CLIP."""
    from transformers import CLIPTokenizerFast

    place = folder / "text_encoder"
    architecture = config_of(place, CONFIG, "", {"model_type"})
    if architecture["model_type"] != FAMILY:
        raise UserError(f"{place / CONFIG} is a {architecture['model_type']}; only CLIP's text encoder is known.")
    try:
        words = CLIPTokenizerFast.from_pretrained(folder / "tokenizer")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / 'tokenizer'} cannot be read ({str(error).splitlines()[0]}).") from None
    unknown = {"_name_or_path", "architectures", "torch_dtype", "dtype", "transformers_version"}
    kept = {key: value for key, value in architecture.items() if key not in unknown}
    length = min(words.model_max_length, architecture.get("max_position_embeddings", 77))
    encoder = ClipTextEncoder(words.backend_tokenizer.to_str(), kept, length, str(words.pad_token))
    weights = {
        name: value.float() if value.is_floating_point() else value
        for name, value in read_weights(weights_in(place)).items()
    }
    weights.pop("text_model.embeddings.position_ids", None)  # of older versions: numbers from 0
    load(encoder.transformer, weights, place)
    return encoder


def load(network: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Raises UserError where weights do not fit what the config beside them says."""
    try:
        network.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        raise UserError(f"{folder} does not fit its {CONFIG}: {str(error).splitlines()[1].strip()}") from None
