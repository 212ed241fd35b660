"""Figures that follow from others: what stands beside a floor or beside real images, as a ratio or a difference."""

from collections.abc import Mapping
from dataclasses import replace

from cxr_ldm.metrics.results import Metric

FIXED = "the numerator, what it is divided by held fixed"


def derived(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """What the headline of a page needs and no measure gives.

    Coverage and recall over their floors, sharpness over that of real images, and the similarity within a prompt less
    that of real images that say the same.

    >>> one, two = (Metric(value, 9, True, reason="few") for value in (0.4, 0.8))
    >>> derived({"recall_x": one, "recall_x_floor": two})["recall_x_ratio"].value
    0.5
    """
    found = {}
    for name, metric in metrics.items():
        floor, real = metrics.get(f"{name}_floor"), metrics.get(f"{name}_of_real")
        if floor is not None and name.startswith(("coverage_", "recall_")) and floor.value > 0:
            found[f"{name}_ratio"] = _over(metric, floor)
        elif real is not None and name == "sharpness" and real.value > 0:
            found[f"{name}_ratio"] = _over(metric, real)
        elif floor is not None and name.startswith("pairwise_ssim_within_"):
            settings = metric.settings | {"less": floor.value}
            found[f"{name}_difference"] = replace(metric, value=metric.value - floor.value, settings=settings)
    return found


def _over(metric: Metric, other: Metric) -> Metric:
    ends = metric.ci95 and (metric.ci95[0] / other.value, metric.ci95[1] / other.value)
    settings = metric.settings | {"over": other.value, "interval_of": FIXED}
    return replace(metric, value=metric.value / other.value, ci95=ends, settings=settings)
