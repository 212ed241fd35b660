"""Do generated images look like real ones in contrast, sharpness and entropy? Each distribution beside the real one."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.imaging import contrast as measures
from cxr_ldm.metrics.distances.floors import OVERLAP, SPLITS, disjoint_splits
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import BOOTSTRAP, PATIENTS, mean_over_patients, spread

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


def relative_distance(generated: Tensor, real: Tensor, unit: float | None = None) -> float:
    """Wasserstein-1 distance of two samples [N] and [M], in standard deviations of the real one.

    A shift of all values by one standard deviation has 1.

    Args:
        unit: standard deviation to divide by; None takes that of `real`.

    Raises:
        UserError: all real values are the same.

    >>> x = torch.arange(100.0)
    >>> round(relative_distance(x + float(x.std()), x), 6)
    1.0
    """
    unit = float(real.double().std()) if unit is None else unit
    if not unit > 0:
        raise UserError("image statistics: all real images have the same value; their spread is no unit.")
    return float(wasserstein_distance(generated.double().numpy(), real.double().numpy())) / unit


def statistics_metrics(
    generated: Values,
    real: Values,
    pool: Values,
    pool_patients: Sequence[str],
    patients: tuple[Sequence[str], Sequence[str]],
    *,
    repeats: int = 5,
    seed: int = 0,
    over: tuple[str, str] = (PATIENTS, PATIENTS),
) -> dict[str, Metric]:
    """Entries for metrics.json, for each statistic `NAME`, `NAME_of_real`, `NAME_distance` and its floor.

    Args:
        generated, real: as `values_of` gives them.
        pool, pool_patients: of the real images from which the floor's splits are drawn.
        patients: of the prompts of the generated images, and of the real ones.
        over: what the first of these are, and both together, where they are something else.
    """
    metrics: dict[str, Metric] = {}
    n = min(len(patients[0]), len(patients[1]))
    splits, reason = disjoint_splits(pool_patients, n, repeats, seed)
    for name, own in SETTINGS.items():
        made, true = generated[name], real[name]
        stated = {**own, "images": "raw, not enhanced"}
        for end, values, people, whose in (("", made, patients[0], over[0]), ("_of_real", true, patients[1], PATIENTS)):
            drawn = f"bootstrap over {whose}, {BOOTSTRAP} draws, seed {seed}"
            mean = stated | {"direction": NEITHER, "interval": drawn}
            metrics[f"{name}{end}"] = mean_over_patients(values, people, mean, seed=seed, over=whose)
        if true.std() > 0:
            distances = _distances(made, true, pool[name], splits, reason, patients, stated, seed, over[1])
            metrics |= {f"{name}_{end}": metric for end, metric in distances.items()}
        else:
            metrics[f"{name}_of_real"].settings["distance"] = "none: all real images have the same value"
    return metrics


def _distances(
    generated: Tensor,
    real: Tensor,
    pool: Tensor,
    splits: Sequence[tuple[Tensor, Tensor]],
    reason: str | None,
    patients: tuple[Sequence[str], Sequence[str]],
    facts: dict[str, object],
    seed: int,
    over: str,
) -> dict[str, Metric]:
    """`distance` and, where there are splits, `distance_floor`.

    One unit for all: a part of the images can have a value in common, as a saturated contrast is, and no spread.
    """
    deviation, n = float(real.std()), min(len(generated), len(real))
    stated = facts | {
        "unit": "standard deviations of real images",
        "deviation": deviation,
        "distance": "Wasserstein-1",
    }
    apart = spread(lambda one, two: [relative_distance(one, two, deviation)], [generated, real], patients, seed=seed)
    value = relative_distance(generated, real, deviation)
    own = stated | apart.settings | ({"floor": None, "floor_reason": reason} if reason else {})
    ends = apart.interval(value, low=0.0)
    metrics = {"distance": Metric(value, n, False, ends, own, apart.why_none(), over)}
    if splits:
        floor = [relative_distance(pool[one], pool[two], deviation) for one, two in splits]
        own = stated | {"repeats": len(splits), "splits": SPLITS, "standard_deviation": float(np.std(floor))}
        metrics["distance_floor"] = Metric(float(np.mean(floor)), n, False, settings=own, reason=OVERLAP)
    return metrics
