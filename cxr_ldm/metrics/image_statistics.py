"""Do generated images look like real ones in contrast, sharpness and entropy? Each distribution beside the real one."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.imaging import statistics as measures
from cxr_ldm.metrics.distances import OVERLAP, SPLITS, disjoint_splits
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import BOOTSTRAP, mean_over_patients, spread

Values = Mapping[str, Tensor]

MEASURES: dict[str, Callable[[Tensor], Tensor]] = {
    "contrast_michelson": measures.michelson_contrast,
    "contrast_rms": measures.rms_contrast,
    "sharpness": measures.sharpness,
    "entropy": measures.entropy,
}
SETTINGS: dict[str, dict[str, object]] = {
    "contrast_michelson": {"percentiles": [measures.LOW, measures.HIGH]},
    "contrast_rms": {"unit": "share of the grey range"},
    "sharpness": {"unit": "squared 8-bit grey levels", "resolution": measures.SHARPNESS_SIDE},
    "entropy": {"unit": "bits", "levels": 256},
}
NEITHER = "neither: near the real images is better"


def values_of(batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Each statistic of each image, float64 [N] by name; one batch of pixels [B, 1, H, W] is held at a time.

    Raises:
        UserError: there is no image.
    """
    parts = [{name: measure(batch) for name, measure in MEASURES.items()} for batch in batches]
    if not parts:
        raise UserError("image statistics: there is no image to measure.")
    return {name: torch.cat([part[name] for part in parts]) for name in MEASURES}


def relative_distance(generated: Tensor, real: Tensor) -> float:
    """Wasserstein-1 distance of two samples [N] and [M], in standard deviations of the real one.

    A shift of all values by one standard deviation has 1.

    Raises:
        UserError: all real values are the same.

    >>> x = torch.arange(100.0)
    >>> round(relative_distance(x + float(x.std()), x), 6)
    1.0
    """
    deviation = float(real.double().std())
    if not deviation > 0:
        raise UserError("image statistics: all real images have the same value; their spread is no unit.")
    return float(wasserstein_distance(generated.double().numpy(), real.double().numpy())) / deviation


def statistics_metrics(
    generated: Values,
    real: Values,
    pool: Values,
    pool_patients: Sequence[str],
    patients: tuple[Sequence[str], Sequence[str]],
    *,
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, Metric]:
    """Entries for metrics.json, for each statistic `NAME`, `NAME_of_real`, `NAME_distance` and its floor.

    Args:
        generated, real: as `values_of` gives them.
        pool, pool_patients: of the real images from which the floor's splits are drawn.
        patients: of the prompts of the generated images, and of the real ones.
    """
    metrics: dict[str, Metric] = {}
    n = min(len(patients[0]), len(patients[1]))
    splits, reason = disjoint_splits(pool_patients, n, repeats, seed)
    for name, own in SETTINGS.items():
        made, true = generated[name], real[name]
        stated = {**own, "images": "raw, not enhanced"}
        mean = stated | {"direction": NEITHER, "interval": f"bootstrap over patients, {BOOTSTRAP} draws, seed {seed}"}
        metrics[name] = mean_over_patients(made, patients[0], mean, seed=seed)
        metrics[f"{name}_of_real"] = mean_over_patients(true, patients[1], mean, seed=seed)
        apart = spread(lambda one, two: [relative_distance(one, two)], [made, true], patients, seed=seed)
        value = relative_distance(made, true)
        unit = stated | {"unit": "standard deviations of real images", "distance": "Wasserstein-1"}
        between = unit | apart.settings | ({"floor": None, "floor_reason": reason} if reason else {})
        metrics[f"{name}_distance"] = Metric(
            value, n, False, apart.interval(value, low=0.0), between, reason=apart.reason
        )
        if splits:
            floor = [relative_distance(pool[name][one], pool[name][two]) for one, two in splits]
            settings = unit | {"repeats": repeats, "splits": SPLITS, "standard_deviation": float(np.std(floor))}
            metrics[f"{name}_distance_floor"] = Metric(
                float(np.mean(floor)), n, False, settings=settings, reason=OVERLAP
            )
    return metrics
