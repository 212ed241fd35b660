"""What evaluate.py measures of a VAE and of a diffusion model, each as entries of metrics.json, and its pictures."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from cxr_ldm import artifacts
from cxr_ldm.bundle import Bundle
from cxr_ldm.compose import device_of, plain
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.data.splits import Split
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics import (
    cost,
    distances,
    diversity,
    extraction,
    image_statistics,
    judge,
    memorisation,
    reconstruction,
)
from cxr_ldm.metrics.curves import curves
from cxr_ldm.metrics.features import extract
from cxr_ldm.metrics.results import Metric
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.sampling import generate
from cxr_ldm.training import spread

REAL_LIKE_PROMPTS = 600  # real images at most that show what the prompts of adherence ask for
POOL = 3  # real images for the floor's splits, as a multiple of n
SHOWN = 8  # images of a picture of extremes


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
    sets = {"compared": "reconstructions of test images", "with": "training images, which are of other patients"}
    metrics |= distance(cfg, prepared, others, reconstructed[here], chosen, sets)
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
    sets = {"compared": "images generated from the texts of test images", "with": "these test images"}
    metrics = distance(cfg, prepared, rows, images, rows, sets)
    metrics |= looks(cfg, prepared, rows, images)
    metrics |= judge.of_prompts(cfg, prepared, rows, images)
    metrics |= memory(cfg, pipeline, prepared, images, folder)
    metrics |= diversity.diversity(images, prepared.pixels(rows), seed=cfg.seed)
    if cfg.data.adherence is not None and prepared.kind == cfg.data.kind:
        metrics |= adherence(cfg, pipeline, prepared, images, rows, folder)
    else:
        metrics |= diversity.diversity_within(images, prompts, prepared.pixels(rows), prompts, cfg.seed)
    if cfg.metrics.curves is not None:
        metrics |= settings_curves(cfg, pipeline, prepared, rows)
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


def kept(cache: Path, made_by: dict[str, Any], compute: Callable[[], Tensor]) -> Tensor:
    """What `compute` gives, from the cache where the same settings gave it before."""
    folder = cache / f"features-{artifacts.fingerprint(made_by)}"
    if not folder.exists():
        with artifacts.building(folder) as partial:
            np.save(partial / "features.npy", compute().cpu().numpy())
            artifacts.write_record(partial, made_by, complete=True)
    return torch.from_numpy(np.load(folder / "features.npy"))


def distance(
    cfg: DictConfig,
    prepared: Prepared,
    rows: np.ndarray,
    generated: Tensor,
    asked: np.ndarray,
    sets: dict[str, str],
) -> dict[str, Metric]:
    """FID, KID and coverage of `generated`, made from the rows `asked`, against the images of `rows`; with floors."""
    extractor = instantiate(cfg.features)
    size, pool = cfg.metrics.batch_size, pool_rows(cfg, prepared, len(rows))
    device, cache = device_of(cfg), Path(cfg.paths.outputs) / "cache"

    def features_of(pixels: Tensor, name: str) -> Tensor:
        return extract(extractor, batches(pixels, size, f"features of {name} images"), device)

    def of_real(rows: np.ndarray, name: str) -> Tensor:
        made_by = {"data": prepared.fingerprint, "rows": rows.tolist(), **extractor.settings()}
        return kept(cache, made_by, lambda: features_of(prepared.pixels(rows), name))

    features = {
        "real": of_real(rows, "real"),
        "generated": features_of(generated, "generated"),
        "floor": of_real(pool, "floor"),
    }
    return distances.distance_metrics(
        features["real"],
        features["generated"],
        features["floor"],
        prepared.patients(pool),
        extractor.settings() | sets,
        patients=(prepared.patients(rows), prepared.patients(asked)),
        repeats=cfg.metrics.floor_repeats,
        neighbours=cfg.metrics.neighbours,
        seed=cfg.seed,
    )


def pool_rows(cfg: DictConfig, prepared: Prepared, n: int) -> np.ndarray:
    """Rows of the real images from which the splits of floors at `n` are drawn."""
    return np.random.default_rng(cfg.seed + 1).permutation(len(prepared))[: POOL * n]


def looks(cfg: DictConfig, prepared: Prepared, rows: np.ndarray, images: Tensor) -> dict[str, Metric]:
    """Contrast, sharpness and entropy of `images`, made from `rows`, beside those of the real images of these rows."""
    size, pool = cfg.metrics.batch_size, pool_rows(cfg, prepared, len(rows))

    def of_real(rows: np.ndarray) -> dict[str, Tensor]:
        parts = np.array_split(rows, -(-len(rows) // size))
        return image_statistics.values_of(prepared.pixels(part) for part in parts)

    patients = prepared.patients(rows)
    return image_statistics.statistics_metrics(
        image_statistics.values_of(images.split(size)),
        of_real(rows),
        of_real(pool),
        prepared.patients(pool),
        (patients, patients),
        repeats=cfg.metrics.floor_repeats,
        seed=cfg.seed,
    )


def memory(cfg: DictConfig, pipeline: TextToCXR, prepared: Prepared, images: Tensor, folder: Path) -> dict[str, Metric]:
    """Is a generated image a copy of a training image: in pixels, in features, and when training prompts are asked?"""
    extractor, train, test = instantiate(cfg.features), prepared.rows("train"), prepared.rows("test")
    device, cache, size = device_of(cfg), Path(cfg.paths.outputs) / "cache", cfg.metrics.batch_size

    def training() -> Iterator[Tensor]:
        return (prepared.pixels(part) for part in np.array_split(train, -(-len(train) // memorisation.BATCH)))

    def features(rows: np.ndarray, name: str) -> Tensor:
        parts = np.array_split(rows, -(-len(rows) // size))
        pixels = tqdm((prepared.pixels(part) for part in parts), f"features of {name} images", len(parts))
        made_by = {"data": prepared.fingerprint, "rows": rows.tolist(), **extractor.settings()}
        return kept(cache, made_by, lambda: extract(extractor, pixels, device))

    held_out = prepared.pixels(test)
    found = memorisation.search(images, held_out, training())
    metrics = memorisation.near_copy_metrics(found, cfg.seed)
    metrics |= memorisation.closeness_metrics(found, "pixels", {"measure": "Pearson correlation of pixels"})
    made = extract(extractor, images.split(size), device)
    found = memorisation.search_features(made, features(test, "test"), [features(train, "training")])
    metrics |= memorisation.feature_copy_metrics(found, extractor.settings(), cfg.seed)
    nearest_picture(folder / "nearest.png", images, prepared, train, found)
    extremes(folder, images, memorisation.nearest_cosine(made, features(test, "test")))
    chosen = chosen_rows(prepared, "train", cfg.metrics.extraction_prompts, cfg.seed)
    people = prepared.people(chosen) if pipeline.attributes is not None else None
    samples = cfg.metrics.extraction_samples

    def ask(prompts: list[str], seeds: list[int]) -> Tensor:
        return generate(pipeline, prompts, seeds, cfg, people and [each for each in people for _ in range(samples)])

    attempted = extraction.attempt(ask, prepared.texts(chosen), samples, held_out, training(), cfg.seed + 100_000)
    return metrics | extraction.extraction_metrics(attempted, {"prompts": "texts of training images"})


def nearest_picture(
    path: Path, images: Tensor, prepared: Prepared, train: np.ndarray, found: memorisation.NearCopies
) -> None:
    """The closest pairs: generated images in one row, and below each its nearest training image."""
    pairs = found.closest(SHOWN)
    real = prepared.pixels(train[[index for _, index, _ in pairs]])
    captions = [f"generated, cosine {near:.3f}" for *_, near in pairs] + ["nearest training image"] * len(pairs)
    save_grid(path, torch.cat([images[[place for place, *_ in pairs]], real]), len(pairs), captions)


def extremes(folder: Path, images: Tensor, likeness: Tensor) -> None:
    """best.png and worst.png: the images most and least like any real test image, by their features."""
    order = likeness.argsort(descending=True)
    for name, places in (("best", order[:SHOWN]), ("worst", order.flip(0)[:SHOWN])):
        captions = [f"cosine {likeness[place]:.3f}" for place in places]
        save_grid(folder / f"{name}.png", images[places], 4, captions, {"synthetic": True})


def costs(cfg: DictConfig, bundle: Bundle, pipeline: TextToCXR) -> dict[str, Metric]:
    """Parameters, latency, throughput and memory of sampling."""
    sampling = cost.Sampling(cfg.guidance.scale, instantiate(cfg.sampler.step), instantiate(cfg.sampler.times))
    metrics = cost.parameters(bundle.parts) | cost.latencies(pipeline, cfg.metrics.cost_steps, sampling)
    return metrics | cost.peak_memory(bundle.folder, str(device_of(cfg)), cfg.bundle_packages)


def settings_curves(cfg: DictConfig, pipeline: TextToCXR, prepared: Prepared, rows: np.ndarray) -> dict[str, Metric]:
    """KID, adherence or AUROC, and seconds, over the guidance scale and over the number of steps."""
    rows, chosen = rows[: cfg.metrics.curves.n], cfg.copy()
    patients = prepared.patients(rows)
    extractor, device, size = instantiate(cfg.features), device_of(cfg), cfg.metrics.batch_size
    real = extract(extractor, prepared.pixels(rows).split(size), device)
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
        features, settings = extract(extractor, images.split(size), device), extractor.settings()
        metrics = {f"kid_{extractor.name}": distances.kernel_metric(real, features, (patients, patients), settings)}
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
