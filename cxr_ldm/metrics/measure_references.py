"""The references of an evaluation: their images, and the measures of the generated set on them."""

from dataclasses import replace

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from cxr_ldm.bundle import Bundle, load_bundle
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.metrics import judge
from cxr_ldm.metrics.feature_sets import FeatureSets
from cxr_ldm.metrics.generated import generated
from cxr_ldm.metrics.measure_distance import floors_of
from cxr_ldm.metrics.measured_images import chosen_rows, reconstructions
from cxr_ldm.metrics.references import MARK, REFERENCES, Reference, derangement, reference_distances, shuffled
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.splits import WORDS
from cxr_ldm.pipeline import TextToCXR

EMPTY_SEEDS = 300_000  # seeds of the empty prompt begin here, beyond those of texts


def references(
    cfg: DictConfig, bundle: Bundle, pipeline: TextToCXR, sets: FeatureSets, rows: np.ndarray, images: Tensor
) -> dict[str, Metric]:
    """Every reference of REFERENCES.

    Args:
        rows: of the images that the generated set is measured against.
        images: generated from their texts, `[N,1,H,W]`.
    """
    metrics = shuffled_prompts(cfg, sets.prepared, rows, images)
    empty = generated(cfg, pipeline)([""] * len(rows), [cfg.seed + EMPTY_SEEDS + place for place in range(len(rows))])
    decoded = reconstructions(cfg, bundle, sets.prepared, rows)
    patients = sets.prepared.patients(rows)
    nobody = [f"empty {place}" for place in range(len(rows))]
    with_own = {"pairs": "each reconstruction has its own original among the real images"}
    for name in sets.extractors:
        train = chosen_rows(sets.prepared, "train", len(rows), cfg.seed)
        copies, people = sets.of_rows(name, train, "training"), sets.prepared.patients(train)
        for each in (
            Reference("copier", copies, people, {}),
            Reference("reconstruction", sets.of_images(name, decoded), patients, with_own),
            Reference("empty", sets.of_images(name, empty), nobody, {}, "patients of the real images, seeds"),
        ):
            metrics |= measured(cfg, sets, name, rows, each)
    return metrics


def measured(cfg: DictConfig, sets: FeatureSets, name: str, rows: np.ndarray, each: Reference) -> dict[str, Metric]:
    """The distances of one reference by one extractor."""
    return reference_distances(
        sets.of_rows(name, rows, "real"),
        sets.prepared.patients(rows),
        each,
        floors_of(cfg, sets, name, min(len(rows), len(each.features))),
        sets.settings(name) | {"with": f"these {WORDS[cfg.split]} images"},
        neighbours=cfg.metrics.neighbours,
        seed=cfg.seed,
    )


def shuffled_prompts(cfg: DictConfig, prepared: Prepared, rows: np.ndarray, images: Tensor) -> dict[str, Metric]:
    """AUROC, side, retrieval and the phantom's adherence with the texts of others."""
    metrics: dict[str, Metric] = {}
    if cfg.get("classifier"):
        classifier = load_bundle(cfg.classifier, "classifier", cfg.bundle_packages)
        settings = {"classifier": classifier.sha256, "truth": "what another image's text says"}
        metrics |= shuffled(judge.judged(cfg, classifier, prepared, rows, images), settings, cfg.seed)
    if cfg.data.adherence is not None and prepared.kind == cfg.data.kind:
        measure, findings, train = (
            instantiate(cfg.data.adherence),
            prepared.manifest["findings"],
            prepared.rows("train"),
        )
        measure.calibrate(prepared.pixels(train), findings.iloc[train].tolist())
        said = findings.iloc[rows[derangement(prepared.patients(rows), cfg.seed)]].tolist()
        stated = {"images": REFERENCES["shuffled"]}
        for name, metric in measure.of_texts(images, said, WORDS[cfg.split]).items():
            metrics[f"{name}{MARK}shuffled"] = replace(metric, settings=metric.settings | stated)
    return metrics
