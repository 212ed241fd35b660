"""How far generated images are from real ones: distances of features by each extractor, and image statistics."""

import numpy as np
from omegaconf import DictConfig
from torch import Tensor

from cxr_ldm.data.prepared import Prepared
from cxr_ldm.metrics import distances, image_statistics
from cxr_ldm.metrics.feature_sets import FeatureSets
from cxr_ldm.metrics.results import Metric

POOL = 3  # real images for the floor's splits, as a multiple of n


def distance(
    cfg: DictConfig,
    sets: FeatureSets,
    rows: np.ndarray,
    made: dict[str, Tensor],
    asked: np.ndarray,
    compared: dict[str, str],
) -> dict[str, Metric]:
    """FID, KID and coverage against the images of `rows`, with floors, by each extractor.

    Args:
        made: features of the generated images by extractor, float64 [N, D].
        asked: rows that the generated images were made from.
        compared: what is compared with what, for the settings.
    """
    prepared, pool = sets.prepared, pool_rows(cfg, sets.prepared, len(rows))
    metrics: dict[str, Metric] = {}
    for name, generated in made.items():
        metrics |= distances.distance_metrics(
            sets.of_rows(name, rows, "real"),
            generated,
            sets.of_rows(name, pool, "floor"),
            prepared.patients(pool),
            sets.settings(name) | compared,
            patients=(prepared.patients(rows), prepared.patients(asked)),
            repeats=cfg.metrics.floor_repeats,
            neighbours=cfg.metrics.neighbours,
            seed=cfg.seed,
        )
    return metrics


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
