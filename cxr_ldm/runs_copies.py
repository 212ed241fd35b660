"""What `training.ldm.copies` and `stop` add to a diffusion run: looks for copies while it trains."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from cxr_ldm import training
from cxr_ldm.callbacks.copies import Copies
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.feature_sets import FeatureSets, feature_sets
from cxr_ldm.metrics.watch import Watch, asked
from cxr_ldm.networks.autoencoder import Autoencoder

STOPS = (None, "copies")


def check(cfg: DictConfig, stage: str) -> None:
    """Raises UserError where `stop` or the looks cannot be what was meant."""
    copies = cfg.training.ldm.copies
    if cfg.stop not in STOPS:
        raise UserError(f"stop={cfg.stop} is not known; stop=copies ends a diffusion run that begins to copy.")
    if cfg.stop and stage != "ldm":
        raise UserError(f"stop={cfg.stop} needs stage=ldm; stage={stage} makes no images of its own.")
    if cfg.stop and copies.samples == 0:
        raise UserError("stop=copies needs looks; choose training.ldm.copies.samples=200 or so.")
    if type(copies.samples) is not int or copies.samples < 0:
        raise UserError(f"training.ldm.copies.samples={copies.samples} must be a whole number of 0 or more.")
    if not isinstance(copies.alpha, float) or not 0 < copies.alpha < 1:
        raise UserError(f"training.ldm.copies.alpha={copies.alpha} must be a number between 0 and 1.")


def stated(recipe: dict[str, Any], stop: str | None) -> dict[str, Any]:
    """What the looks add to the settings of a run; nothing without them, so that such runs are found again."""
    looks = recipe.get("copies") or {}
    return ({"copies": looks} if looks.get("samples") else {}) | ({"stop": stop} if stop else {})


def copies_of(cfg: DictConfig, autoencoder: Autoencoder, prepared: Prepared, folder: Path) -> Copies | None:
    """The callback; None where no look is asked for."""
    recipe = cfg.training.ldm
    if recipe.copies.samples == 0:
        return None
    chosen = asked(prepared, recipe.copies.samples, cfg.seed)
    *_, looks = training.periods(recipe)
    sets: list[FeatureSets] = []  # made at the first look

    def features() -> FeatureSets:
        if not sets:
            sets.append(feature_sets(cfg, prepared))
        return sets[0]

    def made(images: Tensor) -> Tensor:
        return features().of_images(features().first, images)

    def real(rows: Any, what: str) -> Tensor:
        return features().of_rows(features().first, rows, what)

    watch = Watch(prepared, chosen, real, made, recipe.copies.alpha, looks)
    seeds = [cfg.seed + 1_000_000 + index for index in range(len(chosen.rows))]
    draw = training.drawing(autoencoder, prepared, chosen.rows, seeds, Guidance())
    return Copies(draw, watch.look, watch.alarms, folder / "checkpoints", cfg.stop == "copies")
