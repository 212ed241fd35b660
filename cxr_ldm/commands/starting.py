"""What a stage starts from, from a config: a bundle that learns on, or the autoencoder of a model."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cxr_ldm import naming
from cxr_ldm.bundle import Bundle, load_bundle, load_vae
from cxr_ldm.commands.settings import overrides, plain, stage_of
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.stages import tuning

# what a bundle that a stage starts from brings, in place of these groups, and the keys of them that stay free
BROUGHT = {
    "vae": ("vae_bundle", "vae"),
    "ldm": ("vae_bundle", "vae", "denoiser", "text_encoder"),
    "classifier": ("classifier_network",),
}
FREE = ("vae.kl_weight.", "vae.adversary.", "vae.reconstruction.", "classifier_network.min_images.")


def ancestor_named(cfg: DictConfig) -> naming.Chosen | None:
    """The bundle that init= names, for the chosen stage; None where it names none.

    Raises:
        UserError: it is not there, the stage takes none, or something else is asked for that it brings itself.
    """
    stage = stage_of(cfg)
    if cfg.init is None:
        asked = next((word.partition("=")[0] for word in overrides() if word.startswith(("tune=", "tune."))), None)
        if asked:
            raise UserError(f"{asked}= says how a bundle learns on; name that by init=BUNDLE.")
        return None
    brought = BROUGHT.get(stage)
    if brought is None:
        raise UserError(f"init= is for stage={', '.join(BROUGHT)}; stage={stage} has its own start.")
    for word in overrides():
        key = word.partition("=")[0]
        if key.split(".")[0] in brought and not f"{key}.".startswith(FREE):
            raise UserError(f"init={cfg.init} brings its own {key.split('.')[0]}; leave {key}= out.")
    if cfg.tune.rank is not None and stage != "ldm":
        raise UserError(f"tune=lora changes a denoiser; stage={stage} takes tune=full.")
    kinds = ("vae", "ldm") if stage == "vae" else (stage,)
    return naming.bundle_named(cfg.init, Path(cfg.paths.outputs), *kinds, key="init")


def ancestor_of(cfg: DictConfig, prepared: Prepared) -> Bundle | None:
    """The bundle that init= names, loaded; None where it names none.

    Raises:
        UserError: as `ancestor_named`, or it is of another size.
    """
    place, stage = ancestor_named(cfg), stage_of(cfg)
    if place is None:
        return None
    if stage == "vae":
        ancestor = load_vae(place.said(), cfg.bundle_packages)
    else:
        ancestor = load_bundle(place.said(), stage, cfg.bundle_packages)
    tuning.check_size(ancestor, prepared)
    return ancestor


def vae_named(cfg: DictConfig, data: str | None) -> naming.Chosen:
    """The autoencoder of a model: the one that vae_bundle= names, else the newest on `data` (None: on any)."""
    outputs = Path(cfg.paths.outputs)
    if cfg.vae_bundle:
        return naming.bundle_named(cfg.vae_bundle, outputs, "vae", "ldm", key="vae_bundle")
    chosen = any(word.startswith(("vae=", "vae.")) for word in overrides())  # a VAE that was asked for must be that one
    return naming.newest_bundle(outputs, "vae", data, {"vae": plain(cfg.vae)} if chosen else None)


def tuned(cfg: DictConfig, ancestor: Bundle | None) -> tuple[tuning.Tuning | None, dict[str, Any]]:
    """How an ancestor learns on, and what that adds to the settings of a run; nothing where there is none."""
    if ancestor is None:
        return None, {}
    stated = plain(cfg.tune)
    return tuning.Tuning(**stated), {"init": ancestor.sha256, "tune": stated}
