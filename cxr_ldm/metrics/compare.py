"""Two bundles on the same images, or on the same prompts and seeds: differences with intervals and p-values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from cxr_ldm.bundle import Bundle
from cxr_ldm.compose import device_of, guidance_of
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics import reconstruction
from cxr_ldm.metrics.adherence import Seen, finding_shown, side_shown
from cxr_ldm.metrics.feature_sets import FeatureSets, feature_sets
from cxr_ldm.metrics.frechet import frechet_distance
from cxr_ldm.metrics.lung_floor import Side
from cxr_ldm.metrics.measured_images import chosen_rows, of_texts, reconstructions
from cxr_ldm.metrics.paired import paired_distance, paired_kernel_distance, paired_mean
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.splits import WORDS
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.training import spread

LOWER = ("mae",)  # reconstruction measures of which a smaller value is better
SHOWN = 6  # images of each bundle in the picture


def compare_vae(cfg: DictConfig, first: Bundle, second: Bundle, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """`NAME_difference` for each measure of reconstruction, image by image over the whole split."""
    rows = prepared.rows(cfg.split)
    original, patients = prepared.pixels(rows), prepared.patients(rows)
    images = [reconstructions(cfg, bundle, prepared, rows) for bundle in (first, second)]
    one, two = (reconstruction.reconstruction_values(each, original) for each in images)
    shown = spread(torch.arange(len(rows)).numpy(), SHOWN)
    save_grid(folder / "grid.png", torch.cat([original[shown], *(each[shown] for each in images)]), len(shown))
    return {
        f"{name}_difference": paired_mean(
            one[name], two[name], patients, {"images": cfg.split}, higher=name not in LOWER, seed=cfg.seed
        )
        for name in one
    }


def compare_ldm(cfg: DictConfig, first: Bundle, second: Bundle, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """Differences of KID and FID by each extractor; on phantoms, of adherence to whole reports too, image by image.

    Each bundle is sampled with its own guidance, unless the command states another.
    """
    rows = chosen_rows(prepared, cfg.split, cfg.metrics.n, cfg.seed)
    images = [
        of_texts(cfg, TextToCXR.from_bundle(bundle.folder, str(device_of(cfg)), cfg.bundle_packages), prepared, rows)
        for bundle in (first, second)
    ]
    save_grid(folder / "grid.png", torch.cat([each[:SHOWN] for each in images]), SHOWN, None, {"synthetic": True})
    sets = feature_sets(cfg, prepared)
    both = {"guidance": [guidance_of(cfg, Guidance.of_bundle(bundle.info)).settings() for bundle in (first, second)]}
    stated = both | {"images": f"generated from the texts of {WORDS[cfg.split]} images"}
    metrics: dict[str, Metric] = {}
    for name in sets.extractors:
        metrics |= distance_differences(sets, name, rows, images, stated, cfg.seed)
    if cfg.data.adherence is not None and prepared.kind == cfg.data.kind:
        metrics |= adherence_differences(cfg, prepared, rows, images, stated)
    return metrics


def distance_differences(
    sets: FeatureSets, name: str, rows: np.ndarray, images: list[Tensor], stated: dict[str, Any], seed: int
) -> dict[str, Metric]:
    """KID and FID of two sets of images, `[N,1,H,W]` each, made from the texts of `rows`: first less second."""
    patients, real = sets.prepared.patients(rows), sets.of_rows(name, rows, "real")
    one, two = (sets.of_images(name, each) for each in images)
    stated = sets.settings(name) | stated
    kid = paired_kernel_distance(real, one, two, patients, patients, stated, seed)
    fid = paired_distance(frechet_distance, real, one, two, patients, patients, stated, seed=seed)
    return {f"kid_{name}_difference": kid, f"fid_{name}_difference": fid}


def adherence_differences(
    cfg: DictConfig, prepared: Prepared, rows: np.ndarray, images: list[Tensor], stated: dict[str, Any]
) -> dict[str, Metric]:
    """Does each image show the phantom's finding as its text says, and, where the text names a side, on that side?"""
    measure, train = instantiate(cfg.data.adherence), prepared.rows("train")
    findings, patients = prepared.manifest["findings"], np.asarray(prepared.patients(rows))
    measure.calibrate(prepared.pixels(train), findings.iloc[train].tolist())
    asked = [measure.asked(said) for said in findings.iloc[rows]]
    seen = [measure.measure(each) for each in images]

    def paired(hit: Callable[[Side | None, Seen], bool], places: list[int]) -> Metric:
        one, two = (torch.tensor([float(hit(asked[i], sides[i])) for i in places]) for sides in seen)
        return paired_mean(one, two, patients[places].tolist(), stated, seed=cfg.seed)

    named = [i for i, side in enumerate(asked) if side is not None]
    every = list(range(len(asked)))
    metrics = {"finding": paired(finding_shown, every)}
    if named:
        metrics["side"] = paired(side_shown, named)
    return {f"adherence_{what}_texts_difference": metric for what, metric in metrics.items()}
