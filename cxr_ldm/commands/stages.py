"""The plans of the stages from a config. A stage of one's own has a function like these, see conf/stage/*.yaml."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from cxr_ldm import naming, register
from cxr_ldm.bundle import Bundle, load_bundle, load_vae
from cxr_ldm.callbacks.copies import Copies
from cxr_ldm.commands.measuring import cache_of, feature_sets_of
from cxr_ldm.commands.settings import (
    choice,
    common_settings,
    device_of,
    filled,
    guidance_of,
    plain,
    run_folder,
    stage_of,
)
from cxr_ldm.commands.starting import ancestor_named, ancestor_of, tuned, vae_named
from cxr_ldm.data.batches.captions import Wording
from cxr_ldm.data.batches.transforms import Augment
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.flow_map import FlowMapLoss
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.feature_sets import FeatureSets
from cxr_ldm.metrics.copies.watch import Watch, asked
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.classifier import Classifier
from cxr_ldm.stages import tuning
from cxr_ldm.stages.classifier import ClassifierPlan
from cxr_ldm.stages.distill import DistillPlan
from cxr_ldm.stages.latents import drawing
from cxr_ldm.stages.ldm import LDMParts, LDMPlan
from cxr_ldm.stages.plan import Plan, ancestry
from cxr_ldm.stages.recipe import Recipe
from cxr_ldm.stages.upscaler import UpscalerPlan
from cxr_ldm.stages.vae import VAEPlan
from cxr_ldm.training.fit import on_gpu


@dataclass(frozen=True)
class Built:
    """A run that a config means.

    Attributes:
        settings: all that decides its result.
        folder: where it lies.
    """

    plan: Plan
    settings: dict[str, Any]
    folder: Path


def built(
    cfg: DictConfig, plan: Plan, word: str, recipe: DictConfig, more: dict[str, Any], *made_from: Bundle | None
) -> Built:
    """A run with the settings that every stage has, and `more`; `word` says in its name which model it is."""
    plan.made_from = [bundle for bundle in made_from if bundle is not None]
    settings = common_settings(cfg, plan.prepared, recipe) | more
    return Built(plan, settings, run_folder(cfg, plan.kind, word, plan.prepared, settings))


def vae(cfg: DictConfig, prepared: Prepared) -> Built:
    """stage=vae"""
    recipe, more = cfg.training.vae, {"vae": plain(cfg.vae)}
    source = ancestor = ancestor_of(cfg, prepared)
    how, added = tuned(cfg, ancestor)
    network: Callable[[], Autoencoder] = partial(instantiate, cfg.vae.network)
    spec = plain(cfg.vae.network)
    if ancestor is not None:
        spec, trained = ancestor.spec["autoencoder"], ancestor.parts["autoencoder"]
        if not isinstance(trained, Autoencoder):
            raise UserError(f"init={cfg.init} holds a {type(trained).__name__}; only an Autoencoder can learn on.")
        more["vae"] |= {"network": spec}
        network = partial(copy.deepcopy, trained)
    elif cfg.vae_bundle:
        source = load_vae(vae_named(cfg, None).said(), cfg.bundle_packages)
        if source.spec["autoencoder"] != register.named(plain(cfg.vae.network)):
            raise UserError(
                f"vae_bundle={cfg.vae_bundle} holds another network than vae.network; choose the vae= it was trained "
                "with."
            )
        more["decoder_of"] = source.sha256
    plan = VAEPlan(
        prepared,
        recipe_of(recipe, how),
        cfg.seed,
        network,
        spec,
        lambda: instantiate(cfg.vae.adversary),
        instantiate(cfg.vae.reconstruction),
        cfg.vae.kl_weight,
        recipe.latent_noise,
        None if recipe.crop.side is None else (recipe.crop.side, recipe.crop.whole),
        augment_of(recipe, cfg.seed),
        source,
        encoder_too=ancestor is not None,
    )
    return built(cfg, plan, choice("vae"), recipe, more | added, source)


def ldm(cfg: DictConfig, prepared: Prepared) -> Built:
    """stage=ldm"""
    recipe = cfg.training.ldm
    ancestor = ancestor_of(cfg, prepared)
    if ancestor is not None:
        return tuned_ldm(cfg, prepared, ancestor)
    source = load_vae(vae_named(cfg, prepared.name).said(), cfg.bundle_packages)
    more = {
        "vae_bundle": source.sha256,
        **inpaint_stated(cfg),
        **{group: plain(cfg[group]) for group in ("denoiser", "text_encoder", "diffusion")},
        **looks_stated(plain(recipe), cfg.stop),
    }
    if cfg.get("attributes"):
        more["attributes"] = plain(cfg.attributes)
    plan = ldm_plan(cfg, prepared, recipe_of(recipe), source, parts_of(cfg))
    return built(cfg, plan, choice("denoiser"), recipe, more, source)


def tuned_ldm(cfg: DictConfig, prepared: Prepared, ancestor: Bundle) -> Built:
    """stage=ldm init=BUNDLE"""
    recipe = cfg.training.ldm
    how, added = tuned(cfg, ancestor)
    assert how is not None
    loss = partial(loss_of, cfg)
    parts = tuning.ldm_parts(ancestor, how, loss, bool(cfg.get("attributes")), recipe.inpaint)
    own = load_vae(ancestor.folder, cfg.bundle_packages)
    plan = ldm_plan(cfg, prepared, recipe_of(recipe, how), own, parts)
    losses = {key: value for key, value in plain(cfg.diffusion).items() if key not in ("schedule", "scaling")}
    more = added | {"diffusion": losses, **inpaint_stated(cfg), **looks_stated(plain(recipe), cfg.stop)}
    return built(cfg, plan, "tuned", recipe, more, ancestor)


def ldm_plan(cfg: DictConfig, prepared: Prepared, recipe: Recipe, source: Bundle, parts: LDMParts) -> LDMPlan:
    """A run of stage=ldm on the latents of a VAE, of these parts."""
    stated = cfg.training.ldm
    return LDMPlan(
        prepared,
        recipe,
        cfg.seed,
        source,
        parts,
        Wording(**plain(stated.texts)),
        stated.condition_dropout,
        stated.live_signal,
        cache_of(cfg),
        device_of(cfg),
        guidance_of(cfg, Guidance()),
        plain(cfg.diffusion.noise_levels),
        copies_of(cfg, source.parts["autoencoder"], prepared),
        cfg.trainer.graphs and on_gpu(cfg.trainer.accelerator),
        cfg.verify,
    )


def distill(cfg: DictConfig, prepared: Prepared) -> Built:
    """stage=distill"""
    ancestor_of(cfg, prepared)  # refuses one
    recipe, outputs = cfg.training.distill, Path(cfg.paths.outputs)
    chosen = naming.model_bundle(cfg.teacher, outputs, prepared.name if cfg.teacher is None else None, key="teacher")
    teacher = load_bundle(chosen.said(), "ldm", cfg.bundle_packages)
    plan = DistillPlan(
        prepared,
        recipe_of(recipe),
        cfg.seed,
        teacher,
        FlowMapLoss(**plain(recipe.loss)),
        Wording(**plain(recipe.texts)),
        recipe.condition_dropout,
        cache_of(cfg),
        device_of(cfg),
        cfg.verify,
    )
    return built(cfg, plan, "student", recipe, {"teacher": teacher.sha256}, teacher)


def inpaint_stated(cfg: DictConfig) -> dict[str, Any]:
    """What learning to fill holes adds to the settings of a run; nothing without it, so that such runs are found again.

    Raises:
        UserError: CUDA graphs, whose inputs do not change.
    """
    if not cfg.training.ldm.inpaint:
        return {}
    if cfg.trainer.graphs:
        raise UserError("trainer.graphs=true and training.ldm.inpaint=true do not go together; leave one out.")
    return {"inpaint": True}


def denoiser_node(cfg: DictConfig) -> DictConfig:
    """The denoiser that is asked for, told of holes where it learns to fill them.

    Raises:
        UserError: it is no UNet, which alone can be.
    """
    if not cfg.training.ldm.inpaint:
        return cfg.denoiser
    if register.NAMES.get(cfg.denoiser._target_) not in ("UNet", "InpaintUNet"):
        raise UserError(f"training.ldm.inpaint=true needs a UNet; denoiser is {cfg.denoiser._target_}.")
    return filled(cfg, **{"denoiser._target_": register.PARTS["InpaintUNet"]}).denoiser


def parts_of(cfg: DictConfig) -> LDMParts:
    """What a diffusion model is made of."""
    denoiser = denoiser_node(cfg)

    nodes = {"network": denoiser, **flow_nodes(cfg)}
    return LDMParts(
        lambda texts, definition: instantiate(cfg.text_encoder, texts=texts, definition=definition),
        lambda channels, width: instantiate(denoiser, latent_channels=channels, context_width=width),
        lambda width: instantiate(cfg.attributes, width=width) if cfg.get("attributes") else None,
        partial(flow, cfg),
        instantiate(cfg.text_encoder.get("unfreeze")),
        {name: plain(node) for name, node in nodes.items()},
    )


def flow_nodes(cfg: DictConfig) -> dict[str, DictConfig]:
    """What a bundle says that schedule and scaling are built from."""
    return {"schedule": cfg.diffusion.schedule, "scaling": cfg.diffusion.scaling}


def flow(cfg: DictConfig, network: nn.Module) -> tuple[Denoiser, DiffusionLoss]:
    """A network with its schedule, scaling and loss."""
    schedule, scaling = (instantiate(node) for node in flow_nodes(cfg).values())
    return Denoiser(network, schedule, scaling), loss_of(cfg)


def loss_of(cfg: DictConfig) -> DiffusionLoss:
    """Of stage=ldm."""
    parts = (cfg.diffusion.noise_levels, cfg.diffusion.weighting, cfg.diffusion.get("uncertainty"))
    return DiffusionLoss(*map(instantiate, parts))


def classifier(cfg: DictConfig, prepared: Prepared) -> Built:
    """stage=classifier"""
    recipe, model = cfg.training.classifier, cfg.classifier_network
    ancestor = ancestor_of(cfg, prepared)
    how, added = tuned(cfg, ancestor)

    def network(classes: Sequence[str]) -> Classifier:
        if ancestor is not None:
            return tuning.classifier(ancestor, classes)
        return instantiate(model.network, classes=classes)  # type: ignore[no-any-return]

    spec = plain(model.network) if ancestor is None else ancestor.spec["classifier"]
    plan = ClassifierPlan(
        prepared,
        recipe_of(recipe, how),
        cfg.seed,
        network,
        spec,
        model.min_images,
        augment_of(recipe, cfg.seed),
        None if ancestor is None else ancestry(ancestor),
    )
    # rules of an earlier version of this code may have found other classes
    more = {"classifier_network": plain(model), "classes": plan.targets.classes}
    return built(cfg, plan, choice("classifier_network"), recipe, more | added, ancestor)


def upscaler(cfg: DictConfig, prepared: Prepared) -> Built:
    """stage=upscaler"""
    ancestor_of(cfg, prepared)  # refuses one
    recipe, nodes = cfg.training.upscaler, {"upscaler": cfg.upscaler, **flow_nodes(cfg)}
    plan = UpscalerPlan(
        prepared,
        recipe_of(recipe),
        cfg.seed,
        lambda strength: instantiate(cfg.upscaler, **strength._asdict()),
        partial(flow, cfg),
        {name: plain(node) for name, node in nodes.items()},
        recipe.side,
    )
    more = {group: plain(cfg[group]) for group in ("upscaler", "diffusion")}
    return built(cfg, plan, choice("upscaler"), recipe, more)


def recipe_of(recipe: DictConfig, how: tuning.Tuning | None = None) -> Recipe:
    """What every stage is told about its training, at the rate of fine-tuning where it starts from a bundle."""
    names = [name for name in Recipe.__dataclass_fields__ if name != "optimizer" and name in recipe]
    found = Recipe(instantiate(recipe.optimizer), **{name: recipe[name] for name in names})
    return found if how is None else how.recipe(found)


def augment_of(recipe: DictConfig, seed: int) -> Augment | None:
    """The changes to training images; None where they are off."""
    changes = plain(recipe.augment)
    return Augment(**changes, seed=seed) if changes.pop("enabled") else None


def check_start(cfg: DictConfig) -> None:
    """Raises UserError where what the stage starts from is not there: before hours of preparing, not after them."""
    stage = stage_of(cfg)
    if ancestor_named(cfg) is None and (stage == "ldm" or (stage == "vae" and cfg.vae_bundle)):
        vae_named(cfg, None)
    if stage == "ldm":
        inpaint_stated(cfg)
        denoiser_node(cfg)
    if stage == "distill":
        naming.model_bundle(cfg.teacher, Path(cfg.paths.outputs), key="teacher")


def looks_stated(recipe: dict[str, Any], stop: str | None) -> dict[str, Any]:
    """What the looks add to the settings of a run; nothing without them, so that such runs are found again."""
    looks = recipe.get("copies") or {}
    return ({"copies": looks} if looks.get("samples") else {}) | ({"stop": stop} if stop else {})


def copies_of(cfg: DictConfig, autoencoder: Autoencoder, prepared: Prepared) -> Callable[[Path], Copies] | None:
    """Makes the callback that looks for copies, of a run's folder; None where no look is asked for."""
    recipe = cfg.training.ldm
    if recipe.copies.samples == 0:
        return None
    chosen = asked(prepared, recipe.copies.samples, cfg.seed)
    looks = recipe_of(recipe).periods().validations
    sets: list[FeatureSets] = []  # made at the first look

    def features() -> FeatureSets:
        if not sets:
            sets.append(feature_sets_of(cfg, prepared))
        return sets[0]

    def made(images: Tensor) -> Tensor:
        return features().of_images(features().first, images)

    def real(rows: Any, what: str) -> Tensor:
        return features().of_rows(features().first, rows, what)

    watch = Watch(prepared, chosen, real, made, recipe.copies.alpha, looks)
    seeds = [cfg.seed + 1_000_000 + index for index in range(len(chosen.rows))]
    draw = drawing(autoencoder, prepared, chosen.rows, seeds, Guidance())
    return lambda folder: Copies(draw, watch.look, watch.alarms, folder / "checkpoints", cfg.stop == "copies")
