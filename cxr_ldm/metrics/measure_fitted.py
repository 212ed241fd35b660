"""Classifiers that an evaluation trains itself: the cross-fitted judge of real images, and train on synthetic."""

from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from cxr_ldm.compose import device_of, plain
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.data.targets import Targets, all_targets, learnable
from cxr_ldm.metrics.auroc import BOOTSTRAP, patient_weights
from cxr_ldm.metrics.crossfit import crossfit
from cxr_ldm.metrics.faithfulness import Judged, auroc_metrics, side_metrics
from cxr_ldm.metrics.feature_sets import kept
from cxr_ldm.metrics.fitting import Pixels, Recipe, fit, scores
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.splits import WORDS
from cxr_ldm.metrics.trained_on import trained_on


def recipe_of(cfg: DictConfig) -> Recipe:
    """The plain classifier of metrics.fitted."""
    fitted = cfg.metrics.fitted
    return Recipe(
        lambda classes: instantiate(fitted.network, classes=list(classes)),
        instantiate(fitted.optimizer),
        fitted.epochs,
        fitted.batch_size,
        fitted.size,
        device_of(cfg).type,
    )


def recorded(cfg: DictConfig, prepared: Prepared, targets: Targets) -> dict[str, Any]:
    """What decides the weights of a plain classifier beside its images."""
    facts = {"data": prepared.fingerprint, "classes": targets.classes, "seed": cfg.seed, "device": device_of(cfg).type}
    return facts | {"fitted": plain(cfg.metrics.fitted)}


def check(cfg: DictConfig, prepared: Prepared, asked: np.ndarray) -> None:
    """Raises UserError where a classifier that will be fitted has no class to learn: before anything is generated.

    Args:
        asked: training rows whose texts are asked for.
    """
    least = cfg.metrics.fitted.min_images
    if cfg.metrics.synthetic:
        learnable(all_targets(prepared.manifest), asked[: cfg.metrics.synthetic_n], least)
    if cfg.metrics.folds:
        learnable(all_targets(prepared.manifest), judged_rows(cfg, prepared), least)


def judged_rows(cfg: DictConfig, prepared: Prepared) -> np.ndarray:
    """All rows, those of the test split only where it is measured."""
    rows = np.arange(len(prepared))
    return rows if cfg.split == "test" else np.setdiff1d(rows, prepared.rows("test"))


def crossfitted(cfg: DictConfig, prepared: Prepared) -> dict[str, Metric]:
    """AUROC by finding and side accuracy on all real images, `…_real_crossfitted`; on test only where it is measured.

    Each image is scored by a classifier that saw no image of its patient.
    """
    rows = judged_rows(cfg, prepared)
    targets = learnable(all_targets(prepared.manifest), rows, cfg.metrics.fitted.min_images)
    made_by = recorded(cfg, prepared, targets) | {"rows": rows.tolist(), "folds": cfg.metrics.folds}
    cache, patients = Path(cfg.paths.outputs) / "cache", prepared.patients(rows)
    seen = crossfit(
        recipe_of(cfg),
        lambda places: prepared.pixels(rows[places]),
        targets.values[rows],
        targets.classes,
        patients,
        cfg.metrics.folds,
        cfg.seed,
        lambda fold, compute: kept(cache, made_by | {"fold": fold}, compute, "scores"),
    )
    prevalence = np.asarray(targets.prevalence(rows))
    sources = prepared.manifest["source"].to_numpy(dtype=str)[rows]
    real = Judged(targets.classes, seen, targets.values[rows], prevalence, prepared.texts(rows), patients, sources)
    weights = patient_weights(patients, cfg.seed)
    word = "all real images" if cfg.split == "test" else "all real images but those of the test split"
    settings = {"images": word, "truth": "what the text says", "folds": cfg.metrics.folds, **_stated(cfg)}
    settings["interval"] = f"bootstrap over patients, {BOOTSTRAP} draws, seed {cfg.seed}; the classifiers held fixed"
    metrics = auroc_metrics(real, weights, settings) | side_metrics(real, weights, settings)
    return {f"{name}_real_crossfitted": metric for name, metric in metrics.items()}


def synthetic(
    cfg: DictConfig, made_by: dict[str, Any], prepared: Prepared, asked: np.ndarray, images: Tensor
) -> dict[str, Metric]:
    """Train on synthetic, test on the real measured split; see `trained_on`.

    Args:
        made_by: what decides the generated images beside their texts.
        asked: training rows whose texts were asked for, cut to metrics.synthetic_n.
        images: generated from them, `[N,1,H,W]`.
    """
    count = min(len(asked), cfg.metrics.synthetic_n or len(asked))
    asked, images, tested = asked[:count], images[:count], prepared.rows(cfg.split)
    targets = learnable(all_targets(prepared.manifest), asked, cfg.metrics.fitted.min_images)
    ways: dict[str, Pixels] = {
        "synthetic": lambda places: images[places],
        "real": lambda places: prepared.pixels(asked[places]),
    }
    common = recorded(cfg, prepared, targets) | {"rows": asked.tolist(), "tested": tested.tolist()}
    recipe, cache, found = recipe_of(cfg), Path(cfg.paths.outputs) / "cache", {}
    for way, pixels in ways.items():

        def compute(pixels: Pixels = pixels) -> Tensor:
            network = fit(recipe, pixels, targets.values[asked], targets.classes, cfg.seed)
            return scores(recipe, network, lambda places: prepared.pixels(tested[places]), np.arange(len(tested)))

        facts = common | {"trained_on": way} | (made_by if way == "synthetic" else {})
        found[way] = kept(cache, facts, compute, "scores").numpy()
    settings = {"images": f"all {len(tested):,} {WORDS[cfg.split]} images", "truth": "what the text says"}
    settings |= {"trained_on": f"{count:,} images of the same training texts", **_stated(cfg)}
    sources = prepared.manifest["source"].to_numpy(dtype=str)[tested]
    return trained_on(
        targets.classes, found, targets.values[tested], prepared.patients(tested), sources, settings, cfg.seed
    )


def _stated(cfg: DictConfig) -> dict[str, Any]:
    fitted = cfg.metrics.fitted
    return {"epochs": fitted.epochs, "size": fitted.size, "channels": list(fitted.network.channels)}
