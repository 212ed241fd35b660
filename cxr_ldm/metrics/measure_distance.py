"""How far generated images are from real ones: distances of features by each extractor, and image statistics."""

from dataclasses import dataclass

import numpy as np
from omegaconf import DictConfig
from torch import Tensor

from cxr_ldm.data.prepared import Prepared
from cxr_ldm.metrics import distances, image_statistics
from cxr_ldm.metrics.feature_sets import FeatureSets
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.splits import WORDS

POOL = 3  # real images for the floor's splits, as a multiple of n


@dataclass(frozen=True)
class More:
    """Images beyond those of FID, for KID.

    Attributes:
        asked: rows that all generated images were made from, those of FID first.
        made: features of all of them by extractor, float64 [M, D].
        compared: what they are.
    """

    asked: np.ndarray
    made: dict[str, Tensor]
    compared: str


def distance(
    cfg: DictConfig,
    sets: FeatureSets,
    rows: np.ndarray,
    made: dict[str, Tensor],
    asked: np.ndarray,
    compared: dict[str, str],
    more: More | None = None,
) -> dict[str, Metric]:
    """FID, KID and coverage against the images of `rows`, with floors, by each extractor.

    Args:
        made: features of the generated images by extractor, float64 [N, D].
        asked: rows that the generated images were made from.
        compared: what is compared with what, for the settings.
        more: further images for KID, which is then taken against the whole measured split.
    """
    patients = sets.prepared.patients(rows), sets.prepared.patients(asked)
    metrics: dict[str, Metric] = {}
    for name, generated in made.items():
        metrics |= distances.distances_from(
            sets.of_rows(name, rows, "real"),
            generated,
            floors_of(cfg, sets, name, min(len(rows), len(generated))),
            sets.settings(name) | compared,
            patients=patients,
            many=many_of(cfg, sets, name, more) if more else None,
            neighbours=cfg.metrics.neighbours,
            seed=cfg.seed,
        )
    return metrics


def floors_of(cfg: DictConfig, sets: FeatureSets, name: str, n: int) -> distances.Floors:
    """Floors at n images a side by an extractor; computed once."""
    key = name, n, cfg.seed
    if key not in sets.floors:
        pool, metrics = pool_rows(cfg, sets.prepared, n), cfg.metrics
        features, patients = sets.of_rows(name, pool, "floor"), sets.prepared.patients(pool)
        sets.floors[key] = distances.floors(features, patients, n, metrics.floor_repeats, cfg.seed, metrics.neighbours)
    floors: distances.Floors = sets.floors[key]
    return floors


def many_of(cfg: DictConfig, sets: FeatureSets, name: str, more: More) -> distances.Many:
    """All generated images against every real image of the measured split."""
    prepared, real = sets.prepared, sets.prepared.rows(cfg.split)
    word = WORDS[cfg.split]
    stated: dict[str, object] = {"compared": more.compared, "with": f"all {len(real):,} {word} images"}
    people = prepared.patients(real), prepared.patients(more.asked)
    return distances.Many(sets.of_rows(name, real, word), more.made[name], people, stated)


def pool_rows(cfg: DictConfig, prepared: Prepared, n: int) -> np.ndarray:
    """Rows of the real images from which the splits of floors at `n` are drawn; of test only where that is measured."""
    rows = np.arange(len(prepared))
    if cfg.split != "test":
        rows = np.setdiff1d(rows, prepared.rows("test"))
    return np.random.default_rng(cfg.seed + 1).permutation(rows)[: POOL * n]


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
