"""What evaluate.py measures of a VAE and of a diffusion model, each as entries of metrics.json, and its pictures."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from cxr_ldm.bundle import Bundle
from cxr_ldm.compose import device_of, plain
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.data.splits import Split
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics import cost, distances, diversity, judge, reconstruction
from cxr_ldm.metrics.curves import curves
from cxr_ldm.metrics.feature_sets import FeatureSets, feature_sets
from cxr_ldm.metrics.measure_distance import distance, looks
from cxr_ldm.metrics.measure_memory import memory
from cxr_ldm.metrics.results import Metric
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.sampling import generate
from cxr_ldm.training import spread

REAL_LIKE_PROMPTS = 600  # real images at most that show what the prompts of adherence ask for


def chosen_rows(prepared: Prepared, split: Split, n: int, seed: int) -> np.ndarray:
    """`n` rows of a split in a random order that depends on the seed alone; all of them where there are fewer."""
    return np.random.default_rng(seed).permutation(prepared.rows(split))[:n]


def batches(pixels: Tensor, size: int, name: str) -> Iterator[Tensor]:
    """Parts of `pixels` `[N,1,H,W]` with a progress bar."""
    yield from tqdm(pixels.split(size), desc=name, unit="batch")


@torch.inference_mode()
def measure_vae(cfg: DictConfig, bundle: Bundle, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """SSIM, MS-SSIM, PSNR, MAE of the whole test split, and distances of its reconstructions from other real images.

    These others are training images: the same two groups of patients that the floor's splits are like, so that what
    stands above the floor is the autoencoder's share of a generated image's distance.
    """
    rows = prepared.rows("test")
    original, reconstructed = prepared.pixels(rows), reconstructions(cfg, bundle, prepared, rows)
    metrics = reconstruction.reconstruction_metrics(reconstructed, original, prepared.patients(rows), cfg.seed)
    chosen = chosen_rows(prepared, "test", cfg.metrics.n, cfg.seed)
    here = np.searchsorted(rows, chosen)
    others = chosen_rows(prepared, "train", len(chosen), cfg.seed)
    compared = {"compared": "reconstructions of test images", "with": "training images, which are of other patients"}
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


@torch.inference_mode()
def reconstructions(cfg: DictConfig, bundle: Bundle, prepared: Prepared, rows: np.ndarray) -> Tensor:
    """The images of `rows` through a VAE, from the posterior's mean, clamped to [-1, 1], `[N,1,H,W]`."""
    device = device_of(cfg)
    autoencoder, parts = bundle.parts["autoencoder"].to(device), []
    for pixels in batches(prepared.pixels(rows), cfg.metrics.batch_size, "reconstructing"):
        mean, _ = autoencoder.encode(pixels.to(device)).chunk(2, dim=1)
        parts.append(autoencoder.decode(mean).clamp(-1.0, 1.0).cpu())
    return torch.cat(parts)


def measure_ldm(cfg: DictConfig, bundle: Bundle, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """Distances, near copies, diversity and, where the data knows its truth, adherence to the prompt."""
    pipeline = TextToCXR.from_bundle(bundle.folder, str(device_of(cfg)), cfg.bundle_packages)
    rows = chosen_rows(prepared, "test", cfg.metrics.n, cfg.seed)
    prompts, images = prepared.texts(rows), of_texts(cfg, pipeline, prepared, rows)
    sets = feature_sets(cfg, prepared)
    made = {name: sets.of_images(name, images) for name in sets.extractors}
    compared = {"compared": "images generated from the texts of test images", "with": "these test images"}
    metrics = distance(cfg, sets, rows, made, rows, compared)
    metrics |= looks(cfg, prepared, rows, images)
    metrics |= judge.of_prompts(cfg, prepared, rows, images)
    metrics |= memory(cfg, pipeline, sets, rows, images, made[sets.first], folder)
    metrics |= diversity.diversity(images, prepared.pixels(rows), seed=cfg.seed)
    if cfg.data.adherence is not None and prepared.kind == cfg.data.kind:
        metrics |= adherence(cfg, pipeline, prepared, images, rows, folder)
    else:
        metrics |= diversity.diversity_within(images, prompts, prepared.pixels(rows), prompts, cfg.seed)
    if cfg.metrics.curves is not None:
        metrics |= settings_curves(cfg, pipeline, sets, rows)
    metrics |= costs(cfg, bundle, pipeline)
    sampling = {"steps": cfg.sampler.steps, "sampler": plain(cfg.sampler), "guidance": plain(cfg.guidance)}
    facts = {"synthetic": True, "prompts": prompts[:16], "bundle_sha256": bundle.sha256, **sampling}
    save_grid(folder / "grid.png", images[:16], 4, prompts[:16], facts)
    return {
        name: replace(metric, settings=metric.settings | {"sampling": sampling | {"seed": cfg.seed}})
        if "floor" not in name and "real" not in name and "_at_" not in name
        else metric
        for name, metric in metrics.items()
    }


def of_texts(cfg: DictConfig, pipeline: TextToCXR, prepared: Prepared, rows: np.ndarray) -> Tensor:
    """Images `[N,1,H,W]` generated from the texts of `rows`, with a seed for each place."""
    people = prepared.people(rows) if pipeline.attributes is not None else None
    return generate(pipeline, prepared.texts(rows), [cfg.seed + index for index in range(len(rows))], cfg, people)


def costs(cfg: DictConfig, bundle: Bundle, pipeline: TextToCXR) -> dict[str, Metric]:
    """Parameters, latency, throughput and memory of sampling."""
    sampling = cost.Sampling(cfg.guidance.scale, instantiate(cfg.sampler.step), instantiate(cfg.sampler.times))
    metrics = cost.parameters(bundle.parts) | cost.latencies(pipeline, cfg.metrics.cost_steps, sampling)
    return metrics | cost.peak_memory(bundle.folder, str(device_of(cfg)), cfg.bundle_packages)


def settings_curves(cfg: DictConfig, pipeline: TextToCXR, sets: FeatureSets, rows: np.ndarray) -> dict[str, Metric]:
    """KID, adherence or AUROC, and seconds, over the guidance scale and over the number of steps."""
    rows, chosen = rows[: cfg.metrics.curves.n], cfg.copy()
    prepared, name = sets.prepared, sets.first
    patients, real = prepared.patients(rows), sets.of_rows(name, rows, "real")
    findings = prepared.manifest["findings"].iloc[rows].tolist()
    knows = cfg.data.adherence is not None and prepared.kind == cfg.data.kind
    adherence = instantiate(cfg.data.adherence) if knows else None
    if adherence is not None:
        train = prepared.rows("train")
        adherence.calibrate(prepared.pixels(train), prepared.manifest["findings"].iloc[train].tolist())

    def sampled(steps: int, scale: float) -> Tensor:
        chosen.sampler.steps, chosen.guidance.scale = steps, scale
        return of_texts(chosen, pipeline, prepared, rows)

    def measure(images: Tensor) -> dict[str, Metric]:
        features = sets.of_images(name, images)
        metrics = {f"kid_{name}": distances.kernel_metric(real, features, (patients, patients), sets.settings(name))}
        if adherence is not None:
            metrics |= adherence.of_texts(images, findings)
        judged = judge.of_prompts(cfg, prepared, rows, images)
        return metrics | {name: judged[name] for name in ("auroc_mean",) if name in judged}

    return curves(
        sampled,
        measure,
        steps=cfg.sampler.steps,
        guidance=cfg.guidance.scale,
        at_steps=cfg.metrics.curves.steps,
        at_guidance=cfg.metrics.curves.guidance,
    )


def adherence(
    cfg: DictConfig, pipeline: TextToCXR, prepared: Prepared, images: Tensor, rows: np.ndarray, folder: Path
) -> dict[str, Metric]:
    """Do samples show the finding and the side that their prompt names? Beside it: real images, the same measure.

    Args:
        images: generated from the texts of `rows`, `[N,1,H,W]`.
    """
    measure = instantiate(cfg.data.adherence)
    train, test = prepared.rows("train"), prepared.rows("test")
    measure.calibrate(prepared.pixels(train), prepared.manifest["findings"].iloc[train].tolist())
    metrics = measure.ceiling(prepared.pixels(test), prepared.manifest["findings"].iloc[test].tolist())
    metrics |= measure.of_texts(images, prepared.manifest["findings"].iloc[rows].tolist())
    count, samples = cfg.metrics.adherence_n, {}
    for index, (name, prompt) in enumerate(measure.prompts.items()):
        seeds = [cfg.seed + 10_000 * (index + 1) + number for number in range(count)]
        samples[name] = generate(pipeline, [prompt] * count, seeds, cfg)
    shown = torch.cat([images[:4] for images in samples.values()])
    captions = [prompt for prompt in measure.prompts.values() for _ in range(4)]
    facts = {"synthetic": True, "prompts": captions, "bundle_sha256": pipeline.sha256}
    save_grid(folder / "adherence.png", shown, 4, captions, facts)
    real = np.concatenate([train, test])
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
