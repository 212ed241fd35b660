"""Two bundles on the same images, or on the same prompts and seeds: differences with intervals and p-values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.bundle import Bundle
from cxr_ldm.data.prepared.splits import evenly
from cxr_ldm.evaluation.adherence import Adherence
from cxr_ldm.evaluation.collection import Collection, reconstructions
from cxr_ldm.evaluation.feature_sets import FeatureSets
from cxr_ldm.evaluation.judge import Judge
from cxr_ldm.evaluation.model import Model
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics.distances.frechet import frechet_distance
from cxr_ldm.metrics.distances.paired import paired_distance, paired_kernel_distance, paired_mean
from cxr_ldm.metrics.faithfulness.adherence import Seen, finding_shown, side_shown
from cxr_ldm.metrics.faithfulness.judged import auroc_differences
from cxr_ldm.metrics.faithfulness.lung_floor import Side
from cxr_ldm.metrics.images import reconstruction
from cxr_ldm.metrics.results import Metric

LOWER = ("mae",)  # reconstruction measures of which a smaller value is better
SHOWN = 6  # images of each bundle in the picture


def compare_vae(
    first: Bundle, second: Bundle, data: Collection, device: torch.device, folder: Path
) -> dict[str, Metric]:
    """`NAME_difference` for each measure of reconstruction, image by image over the whole split."""
    rows = data.rows
    original, patients = data.prepared.pixels(rows), data.prepared.patients(rows)
    images = [reconstructions(bundle.parts["autoencoder"], data, rows, device) for bundle in (first, second)]
    one, two = (reconstruction.reconstruction_values(each, original) for each in images)
    shown = evenly(torch.arange(len(rows)).numpy(), SHOWN)
    save_grid(folder / "grid.png", torch.cat([original[shown], *(each[shown] for each in images)]), len(shown))
    return {
        f"{name}_difference": paired_mean(
            one[name], two[name], patients, {"images": data.split}, higher=name not in LOWER, seed=data.seed
        )
        for name in one
    }


def compare_ldm(
    models: tuple[Model, Model],
    data: Collection,
    sets: FeatureSets,
    n: int,
    adherence: Adherence | None,
    judge: Judge | None,
    folder: Path,
) -> dict[str, Metric]:
    """Differences of KID and FID by each extractor, of AUROC by finding, and on phantoms of adherence to whole reports.

    Each model is sampled with its own guidance, unless another is stated.

    Args:
        n: images of each.
        judge: a trained classifier; None where there is none for these data.
    """
    rows = data.chosen(n)
    images = [model.of_texts(data, rows) for model in models]
    save_grid(folder / "grid.png", torch.cat([each[:SHOWN] for each in images]), SHOWN, None, {"synthetic": True})
    stated: dict[str, Any] = {"guidance": [model.sampling.rule.settings() for model in models]}
    stated["images"] = f"generated from the texts of {data.word} images"
    metrics: dict[str, Metric] = {}
    for name in sets.extractors:
        metrics |= distance_differences(sets, name, rows, images, stated, data.seed)
    if judge is not None:
        one, two = (judge.judged(data, rows, each) for each in images)
        facts = stated | {"classifier": judge.sha256, "truth": "what the text says"}
        metrics |= auroc_differences(one, two, facts, data.seed)
    if adherence is not None:
        metrics |= adherence_differences(adherence, rows, images, stated)
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
    adherence: Adherence, rows: np.ndarray, images: list[Tensor], stated: dict[str, Any]
) -> dict[str, Metric]:
    """Does each image show the phantom's finding as its text says, and, where the text names a side, on that side?"""
    measure, data = adherence.measure, adherence.data
    patients = np.asarray(data.prepared.patients(rows))
    asked = [measure.asked(said) for said in adherence.said(rows)]
    seen = [measure.measure(each) for each in images]

    def paired(hit: Callable[[Side | None, Seen], bool], places: list[int]) -> Metric:
        one, two = (torch.tensor([float(hit(asked[i], sides[i])) for i in places]) for sides in seen)
        return paired_mean(one, two, patients[places].tolist(), stated, seed=data.seed)

    named = [i for i, side in enumerate(asked) if side is not None]
    every = list(range(len(asked)))
    metrics = {"finding": paired(finding_shown, every)}
    if named:
        metrics["side"] = paired(side_shown, named)
    return {f"adherence_{what}_texts_difference": metric for what, metric in metrics.items()}
