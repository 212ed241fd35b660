"""python -m cxr_ldm.export: a trained bundle in another form, or with the guidance that it should be used with."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from cxr_ldm import naming
from cxr_ldm.artifacts import read_json
from cxr_ldm.as_diffusers import write_diffusers
from cxr_ldm.bundle import (
    Bundle,
    bundle_sha256,
    load_bundle,
    read_config,
    save_again,
    save_bundle,
    save_with_decoder,
    verify,
)
from cxr_ldm.card import card
from cxr_ldm.commands.checking import check
from cxr_ldm.commands.schema import Export
from cxr_ldm.commands.settings import asked_data, plain
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.choice import beyond, chosen_by
from cxr_ldm.foreign import GUIDANCE, stable_diffusion
from cxr_ldm.hub import published as published_on_hub
from cxr_ldm.networks.foreign import autoencoder_kl
from cxr_ldm.networks.tiny import PUBLISHED, published
from cxr_ldm.portable import write_onnx
from cxr_ldm.report.cards.facts import facts_of
from cxr_ldm.report.cards.pages import files

WRITTEN: dict[str, Callable[[Bundle, Path], None]] = {
    "onnx": write_onnx,
    "onnx_int8": partial(write_onnx, int8=True),
    "diffusers": write_diffusers,
}
UNKNOWN = "images that its publisher names, with the terms"
FOREIGN = "autoencoder_kl"  # an AutoencoderKL as diffusers saves it


def main(cfg: DictConfig) -> None:
    """Write the bundle again in the form that is asked for."""
    check(cfg, Export)
    if cfg.hub is not None:
        return publish(cfg)
    if cfg.out is None:
        raise UserError("out is not set; name the folder to write, for example out=exported.")
    if cfg.form in (*PUBLISHED, FOREIGN):
        return write_published(cfg)
    if cfg.form == "stable_diffusion":
        return write_foreign(cfg)
    if cfg.form in WRITTEN:
        return write_elsewhere(cfg)
    if cfg.decoder is not None and cfg.form != "full":
        raise UserError("decoder= and form=full go together; form=half or int8 makes what they wrote smaller.")
    outputs = Path(cfg.paths.outputs)
    bundle = naming.model_bundle(cfg.bundle, outputs, asked_data(cfg)).said()
    changes = guidance_of(cfg, bundle)
    if cfg.form == "full" and cfg.decoder is None and not changes:
        raise UserError("form=full alone would be a copy; decoder= or guidance= go together with it.")
    if cfg.decoder is not None:
        decoder = naming.bundle_named(cfg.decoder, outputs, "vae", key="decoder").said()
        save_with_decoder(bundle, decoder, Path(cfg.out), **changes)
    else:
        storage = None if cfg.form == "full" else cfg.form
        save_again(bundle, Path(cfg.out), storage=storage, **changes)
    megabytes = sum(file.stat().st_size for file in Path(cfg.out).iterdir()) / 1e6
    print(f"  {cfg.out} ({megabytes:.1f} MB)")


def publish(cfg: DictConfig) -> None:
    """The bundle as it is to a hub, once the terms of what it was trained on are said."""
    if cfg.out is not None or cfg.decoder is not None or cfg.form != "half" or guidance_of(cfg, Path()):
        raise UserError("hub= sends a bundle as it is; write another by out= first, and then send that by bundle=.")
    bundle = naming.model_bundle(cfg.bundle, Path(cfg.paths.outputs), asked_data(cfg)).said()
    verify(bundle)
    print(card(read_config(bundle)))
    cards = files(facts_of(bundle, Path(cfg.paths.outputs)))
    print(f"  {published_on_hub(bundle, cfg.hub, cfg.private, cards)}")
    print(f"  with {', '.join(cards)}")


def write_elsewhere(cfg: DictConfig) -> None:
    """The bundle as what another library opens."""
    if cfg.decoder is not None or guidance_of(cfg, Path()):
        raise UserError(f"form={cfg.form} writes a model as it is; give it a decoder or a guidance by form=full first.")
    bundle = naming.model_bundle(cfg.bundle, Path(cfg.paths.outputs), asked_data(cfg)).said()
    WRITTEN[cfg.form](load_bundle(bundle, "ldm"), Path(cfg.out))
    for file in sorted(path for path in Path(cfg.out).rglob("*") if path.is_file()):
        print(f"  {file} ({file.stat().st_size / 1e6:.1f} MB)")


def check_published(cfg: DictConfig) -> None:
    """Raises UserError where it is not said what is read, or the result is there already."""
    if cfg.bundle is None:
        raise UserError(f"form={cfg.form} needs bundle=DIR, the folder of the published files.")
    if Path(cfg.out).exists():
        raise UserError(f"out={cfg.out} exists already; delete it or name another folder.")


def write_foreign(cfg: DictConfig) -> None:
    """A whole model of diffusers in the folder `bundle` as a bundle."""
    check_published(cfg)
    stated = guidance_of(cfg, None) or {"guidance": Guidance(GUIDANCE).settings() | {"chosen": "default"}}
    model = stable_diffusion(Path(cfg.bundle))
    data = {"name": UNKNOWN, "kind": "published"}
    info = {"run": cfg.form, "size": model.size, "data": data, "vae_data": data, **stated}
    save_bundle(Path(cfg.out), "ldm", model.specs, model.parts, info)
    print(f"  {cfg.out}")


def write_published(cfg: DictConfig) -> None:
    """Published files of an autoencoder in the folder `bundle` as the bundle of a VAE."""
    check_published(cfg)
    network: nn.Module
    if cfg.form == FOREIGN:
        network, spec = autoencoder_kl(Path(cfg.bundle))
        name = UNKNOWN
    else:
        network = published(Path(cfg.bundle), cfg.form)
        spec = {"part": "TinyAutoencoder", "latent_channels": PUBLISHED[cfg.form]}
        name = f"photographs, by the authors of {cfg.form.upper()} (MIT licence)"
    info = {"run": cfg.form, "size": None, "data": {"name": name, "kind": "published"}}
    save_bundle(Path(cfg.out), "vae", {"autoencoder": spec}, {"autoencoder": network}, info)
    print(f"  {cfg.out}")


def guidance_of(cfg: DictConfig, bundle: Path | None) -> dict[str, Any]:
    """`info.guidance` as `guidance=` or `guidance.scale=` asks for it, which is printed; nothing where neither does."""
    asked, more = cfg.guidance, ""
    if isinstance(asked, str):
        if bundle is None:
            raise UserError(f"guidance={asked} measured another model; give a scale by guidance.scale=.")
        if cfg.decoder is not None:
            raise UserError(f"guidance={asked} measured another decoder; write the decoder first, then measure that.")
        entry = chosen_by(Path(asked), bundle_sha256(bundle))
        more = beyond(entry["scale"], [point["scale"] for point in entry["chosen"]["curve"]])
    else:
        stated = plain(asked) if OmegaConf.is_config(asked) else {"scale": asked}
        if all(value is None for value in stated.values()):
            return {}
        if stated.get("negative") is not None:
            raise UserError("guidance.negative belongs to a prompt and is not kept by a bundle; give it to sample.py.")
        own = Guidance() if bundle is None else Guidance.of_bundle(read_json(bundle / "config.json")["info"])
        entry = own.with_stated(**stated).settings() | {"chosen": "stated"}
    print(f"guidance scale {entry['scale']:g}{more}")
    return {"guidance": entry}
