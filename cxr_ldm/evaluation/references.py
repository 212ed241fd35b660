"""The references of an evaluation: their images, and the measures of the generated set on them."""

from dataclasses import replace

import numpy as np
from torch import Tensor

from cxr_ldm.evaluation.adherence import Adherence
from cxr_ldm.evaluation.collection import Collection, reconstructions
from cxr_ldm.evaluation.distance import Distances
from cxr_ldm.evaluation.judge import Judge
from cxr_ldm.evaluation.model import Model
from cxr_ldm.metrics.references import MARK, REFERENCES, Reference, derangement, reference_distances, shuffled
from cxr_ldm.metrics.results import Metric

EMPTY_SEEDS = 300_000  # seeds of the empty prompt begin here, beyond those of texts


def references(model: Model, data: Collection, distances: Distances, rows: np.ndarray) -> dict[str, Metric]:
    """The distances of a copier, the reconstructions and the empty prompt.

    Args:
        rows: of the images that the generated set is measured against.
    """
    sets, prepared = distances.sets, data.prepared
    metrics: dict[str, Metric] = {}
    empty = model.draw([""] * len(rows), [data.seed + EMPTY_SEEDS + place for place in range(len(rows))])
    decoded = reconstructions(model.bundle.parts["autoencoder"], data, rows, model.device)
    patients = prepared.patients(rows)
    nobody = [f"empty {place}" for place in range(len(rows))]
    with_own = {"pairs": "each reconstruction has its own original among the real images"}
    for name in sets.extractors:
        train = data.chosen(len(rows), "train")
        copies, people = sets.of_rows(name, train, "training"), prepared.patients(train)
        for each in (
            Reference("copier", copies, people, {}),
            Reference("reconstruction", sets.of_images(name, decoded), patients, with_own),
            Reference("empty", sets.of_images(name, empty), nobody, {}, "patients of the real images, seeds"),
        ):
            metrics |= measured(distances, name, rows, each)
    return metrics


def measured(distances: Distances, name: str, rows: np.ndarray, each: Reference) -> dict[str, Metric]:
    """The distances of one reference by one extractor."""
    data, sets = distances.data, distances.sets
    return reference_distances(
        sets.of_rows(name, rows, "real"),
        data.prepared.patients(rows),
        each,
        distances.floors(name, min(len(rows), len(each.features))),
        sets.settings(name) | {"with": f"these {data.word} images"},
        neighbours=distances.neighbours,
        seed=data.seed,
    )


def shuffled_prompts(
    data: Collection, judge: Judge | None, adherence: Adherence | None, rows: np.ndarray, images: Tensor
) -> dict[str, Metric]:
    """AUROC, side, retrieval and the phantom's adherence with the texts of others.

    Args:
        images: generated from the texts of `rows`, `[N,1,H,W]`.
    """
    metrics: dict[str, Metric] = {}
    if judge is not None:
        settings = {"classifier": judge.sha256, "truth": "what another image's text says"}
        metrics |= shuffled(judge.judged(data, rows, images), settings, data.seed)
    if adherence is not None:
        others = rows[derangement(data.prepared.patients(rows), data.seed)]
        stated = {"images": REFERENCES["shuffled"]}
        for name, metric in adherence.of_texts(images, others).items():
            metrics[f"{name}{MARK}shuffled"] = replace(metric, settings=metric.settings | stated)
    return metrics
