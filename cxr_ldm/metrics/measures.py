"""What evaluate.py measures of a VAE and of a diffusion model, each as entries of metrics.json, and its pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from cxr_ldm.bundle import Bundle
from cxr_ldm.compose import device_of, guidance_of, plain
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics import cost, distances, diversity, judge, measure_fitted, reconstruction
from cxr_ldm.metrics.curves import curves
from cxr_ldm.metrics.feature_sets import FeatureSets, feature_sets
from cxr_ldm.metrics.generated import generated
from cxr_ldm.metrics.headline import derived
from cxr_ldm.metrics.measure_distance import More, distance, looks
from cxr_ldm.metrics.measure_memory import memory
from cxr_ldm.metrics.measure_own_words import own_words
from cxr_ldm.metrics.measure_references import references
from cxr_ldm.metrics.measured_images import asked_rows, chosen_rows, of_texts, reconstructions
from cxr_ldm.metrics.references import MARK
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.splits import WORDS
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.training import spread

IN_A_ROW = 6  # images of each point of a curve in its picture
REAL_LIKE_PROMPTS = 600  # real images at most that show what the prompts of adherence ask for


@torch.inference_mode()
def measure_vae(cfg: DictConfig, bundle: Bundle, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """SSIM, MS-SSIM, PSNR, MAE of the whole split, and distances of its reconstructions from other real images.

    These others are training images: the same two groups of patients that the floor's splits are like, so that what
    stands above the floor is the autoencoder's share of a generated image's distance.
    """
    rows = prepared.rows(cfg.split)
    original, reconstructed = prepared.pixels(rows), reconstructions(cfg, bundle, prepared, rows)
    metrics = reconstruction.reconstruction_metrics(reconstructed, original, prepared.patients(rows), cfg.seed)
    chosen = chosen_rows(prepared, cfg.split, cfg.metrics.n, cfg.seed)
    here = np.searchsorted(rows, chosen)
    others = chosen_rows(prepared, "train", len(chosen), cfg.seed)
    compared = {
        "compared": f"reconstructions of {WORDS[cfg.split]} images",
        "with": "training images, which are of other patients",
    }
    sets = feature_sets(cfg, prepared)
    made = {name: sets.of_images(name, reconstructed[here]) for name in sets.extractors}
    metrics |= distance(cfg, sets, others, made, chosen, compared)
    metrics |= looks(cfg, prepared, chosen, reconstructed[here])
    first = spread(np.arange(len(rows)), 8)
    captions = ["radiograph"] * len(first) + ["reconstruction"] * len(first)
    save_grid(folder / "grid.png", torch.cat([original[first], reconstructed[first]]), len(first), captions)
    worst = reconstruction.worst(reconstruction.ssim(reconstructed, original), len(first))
    save_grid(folder / "worst.png", torch.cat([original[worst], reconstructed[worst]]), len(first), captions)
    return metrics | cost.parameters(bundle.parts)


def measure_ldm(cfg: DictConfig, bundle: Bundle, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """Distances, near copies, diversity and, where the data knows its truth, adherence to the prompt."""
    pipeline = TextToCXR.from_bundle(bundle.folder, str(device_of(cfg)), cfg.bundle_packages)
    rows = chosen_rows(prepared, cfg.split, cfg.metrics.n, cfg.seed)
    if cfg.metrics.curves is not None and cfg.metrics.curves.get("alone"):
        return settings_curves(cfg, pipeline, feature_sets(cfg, prepared), rows, folder)
    asked = asked_rows(cfg, prepared, rows)
    measure_fitted.check(cfg, prepared, asked[len(rows) :])
    pool = of_texts(cfg, pipeline, prepared, asked)
    prompts, images = prepared.texts(rows), pool[: len(rows)]
    sets = feature_sets(cfg, prepared)
    in_all = {name: sets.of_images(name, pool[: max(len(rows), cfg.metrics.kid_n or 0)]) for name in sets.extractors}
    made = {name: features[: len(rows)] for name, features in in_all.items()}
    word = WORDS[cfg.split]
    compared = {"compared": f"images generated from the texts of {word} images", "with": f"these {word} images"}
    metrics = distance(cfg, sets, rows, made, rows, compared, more(cfg, asked, len(rows), in_all))
    metrics |= looks(cfg, prepared, rows, images)
    metrics |= judge.of_prompts(cfg, prepared, rows, images)
    metrics |= memory(cfg, pipeline, sets, rows, images, made[sets.first], folder)
    metrics |= diversity.diversity(images, prepared.pixels(rows), seed=cfg.seed)
    if cfg.data.adherence is not None and prepared.kind == cfg.data.kind:
        metrics |= adherence(cfg, pipeline, prepared, images, rows, folder)
    else:
        metrics |= diversity.diversity_within(images, prompts, prepared.pixels(rows), prompts, cfg.seed)
    if cfg.metrics.own_prompts_n:
        metrics |= own_words(cfg, pipeline, prepared, folder)
    if cfg.metrics.folds:
        metrics |= measure_fitted.crossfitted(cfg, prepared)
    if cfg.metrics.synthetic:
        metrics |= measure_fitted.synthetic(
            cfg, generated(cfg, pipeline).made_by, prepared, asked[len(rows) :], pool[len(rows) :]
        )
    if cfg.metrics.references:
        metrics |= references(cfg, bundle, pipeline, sets, rows, images)
    if cfg.metrics.curves is not None:
        metrics |= settings_curves(cfg, pipeline, sets, rows, folder)
    metrics |= derived(metrics) | costs(cfg, bundle, pipeline)
    sampling = sampling_of(cfg) | {"guidance": plain(cfg.guidance)}
    facts = {"synthetic": True, "prompts": prompts[:16], "bundle_sha256": bundle.sha256, **sampling}
    save_grid(folder / "grid.png", images[:16], 4, prompts[:16], facts)
    return {
        name: replace(metric, settings=metric.settings | {"sampling": sampling | {"seed": cfg.seed}})
        if sampled(name)
        else metric
        for name, metric in metrics.items()
    }


def sampled(name: str) -> bool:
    """Whether a metric is of generated images, and one way of sampling made them.

    >>> [sampled(name) for name in ("kid_x", "kid_x_floor", "kid_x_reference_copier", "kid_x_reference_empty")]
    [True, False, False, True]
    """
    not_ours = ("floor", "real", "_at_", "parameters", f"{MARK}copier", f"{MARK}reconstruction")
    return not any(part in name for part in not_ours)


def more(cfg: DictConfig, asked: np.ndarray, n: int, made: dict[str, Tensor]) -> More | None:
    """What KID takes beyond the `n` images of the other distances; nothing where metrics.kid_n asks for no more."""
    count = min(len(asked), cfg.metrics.kid_n or 0)
    if count <= n:
        return None
    word = WORDS[cfg.split]
    compared = f"images generated from the texts of {n} {word} images, then of {count - n} training images"
    return More(asked[:count], made, compared)


def sampling_of(cfg: DictConfig) -> dict[str, Any]:
    """The sampler and its steps, for records."""
    return {"steps": cfg.sampler.steps, "sampler": plain(cfg.sampler)}


def costs(cfg: DictConfig, bundle: Bundle, pipeline: TextToCXR) -> dict[str, Metric]:
    """Parameters, latency, throughput and memory of sampling."""
    rule = guidance_of(cfg, pipeline.guidance)
    sampling = cost.Sampling(rule, instantiate(cfg.sampler.step), instantiate(cfg.sampler.times))
    metrics = cost.parameters(bundle.parts) | cost.latencies(pipeline, cfg.metrics.cost_steps, sampling)
    return metrics | cost.peak_memory(
        bundle.folder, str(device_of(cfg)), cfg.bundle_packages, cfg.sampler.steps, sampling
    )


def settings_curves(
    cfg: DictConfig, pipeline: TextToCXR, sets: FeatureSets, rows: np.ndarray, folder: Path
) -> dict[str, Metric]:
    """KID, adherence or AUROC and side, and seconds, over the guidance scale and over the number of steps.

    curves.png has a row for each scale, of the same prompts and seeds.
    """
    rows, chosen = rows[: cfg.metrics.curves.n], cfg.copy()
    prepared, name = sets.prepared, sets.first
    patients, real = prepared.patients(rows), sets.of_rows(name, rows, "real")
    findings = prepared.manifest["findings"].iloc[rows].tolist()
    knows = cfg.data.adherence is not None and prepared.kind == cfg.data.kind
    adherence = instantiate(cfg.data.adherence) if knows else None
    if adherence is not None:
        train = prepared.rows("train")
        adherence.calibrate(prepared.pixels(train), prepared.manifest["findings"].iloc[train].tolist())

    shown, captions = [], []

    def sampled(steps: int, scale: float) -> Tensor:
        chosen.sampler.steps, chosen.guidance.scale = steps, scale
        images = of_texts(chosen, pipeline, prepared, rows)
        shown.append(images[:IN_A_ROW])
        captions.extend([f"guidance {scale:g}, {steps} steps"] * len(shown[-1]))
        return images

    def measure(images: Tensor) -> dict[str, Metric]:
        features = sets.of_images(name, images)
        metrics = {f"kid_{name}": distances.kernel_metric(real, features, (patients, patients), sets.settings(name))}
        if adherence is not None:
            metrics |= adherence.of_texts(images, findings, WORDS[cfg.split])
        judged = judge.of_prompts(cfg, prepared, rows, images)
        return metrics | {name: judged[name] for name in ("auroc_mean", "side_accuracy") if name in judged}

    metrics = curves(
        sampled,
        measure,
        steps=cfg.sampler.steps,
        guidance=cfg.guidance.scale,
        at_steps=cfg.metrics.curves.steps,
        at_guidance=cfg.metrics.curves.guidance,
    )
    facts = {"synthetic": True, "bundle_sha256": pipeline.sha256, **sampling_of(cfg)}
    save_grid(folder / "curves.png", torch.cat(shown), len(shown[0]), captions, facts)
    return metrics


def adherence(
    cfg: DictConfig, pipeline: TextToCXR, prepared: Prepared, images: Tensor, rows: np.ndarray, folder: Path
) -> dict[str, Metric]:
    """Do samples show the finding and the side that their prompt names? Beside it: real images, the same measure.

    Args:
        images: generated from the texts of `rows`, `[N,1,H,W]`.
    """
    measure = instantiate(cfg.data.adherence)
    train, held_out = prepared.rows("train"), prepared.rows(cfg.split)
    measure.calibrate(prepared.pixels(train), prepared.manifest["findings"].iloc[train].tolist())
    metrics = measure.of_real(prepared.pixels(held_out), prepared.manifest["findings"].iloc[held_out].tolist())
    metrics |= measure.of_texts(images, prepared.manifest["findings"].iloc[rows].tolist(), WORDS[cfg.split])
    count, samples = cfg.metrics.adherence_n, {}
    for index, (name, prompt) in enumerate(measure.prompts.items()):
        seeds = [cfg.seed + 10_000 * (index + 1) + number for number in range(count)]
        samples[name] = generated(cfg, pipeline)([prompt] * count, seeds)
    shown = torch.cat([images[:4] for images in samples.values()])
    captions = [prompt for prompt in measure.prompts.values() for _ in range(4)]
    facts = {"synthetic": True, "prompts": captions, "bundle_sha256": pipeline.sha256}
    save_grid(folder / "adherence.png", shown, 4, captions, facts)
    real = np.concatenate([train, held_out])
    truths = [
        tuple((entry["name"], entry["side"]) for entry in said) for said in prepared.manifest["findings"].iloc[real]
    ]
    asked = [measure.shown(name) for name, images in samples.items() for _ in images]
    chosen = [row for row, truth in enumerate(truths) if truth in set(asked)][:REAL_LIKE_PROMPTS]
    metrics |= diversity.diversity_within(
        torch.cat(list(samples.values())),
        asked,
        prepared.pixels(real[chosen]),
        [truths[row] for row in chosen],
        cfg.seed,
    )
    return metrics | measure.rates(samples)
