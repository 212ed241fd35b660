"""What one setting of sampling does to quality, faithfulness and time: the guidance scale, and the number of steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from cxr_ldm.metrics.results import Metric

# Steps and guidance scale -> images [N,1,H,W] of the same prompts and seeds, and the seconds that they took to sample,
# None where that is not known.
Generate = Callable[[int, float], tuple[Tensor, float | None]]
Measure = Callable[[Tensor], Mapping[str, Metric]]


def curves(
    generate: Generate,
    measure: Measure,
    *,
    steps: int,
    guidance: float,
    at_steps: Sequence[int],
    at_guidance: Sequence[float],
) -> dict[str, Metric]:
    """Measures at each guidance scale with `steps` steps, and at each number of steps with the scale `guidance`.

    The prompts and seeds are the same at every point, so that two points differ by the setting alone.

    Images may have been sampled before, so that the time is what `generate` says, and not that of calling it.

    Returns:
        `NAME_at_guidance_G` and `NAME_at_steps_S` for each NAME that `measure` gives, and for `seconds_per_image`.
    """
    points = [("guidance", float(scale), steps, float(scale)) for scale in at_guidance]
    points += [("steps", count, int(count), float(guidance)) for count in at_steps]
    metrics: dict[str, Metric] = {}
    for axis, value, count, scale in points:
        images, seconds = generate(count, scale)
        settings = {"steps": count, "guidance": scale}
        here = {name: replace(metric, settings=metric.settings | settings) for name, metric in measure(images).items()}
        if seconds is not None:
            here["seconds_per_image"] = Metric(
                seconds / len(images), len(images), False, settings=settings, reason="a time of one machine, in batches"
            )
        metrics |= {f"{name}_at_{axis}_{value:g}": metric for name, metric in here.items()}
    return metrics


def points(content: Mapping[str, Any], axis: str) -> dict[str, list[tuple[float, Mapping[str, Any]]]]:
    """The curves along `axis` of a metrics.json: for each measure its points (setting, entry), in order.

    >>> entry = {"value": 1.0}
    >>> points({"kid_at_steps_10": entry, "kid_at_steps_5": entry, "kid": entry}, "steps")
    {'kid': [(5.0, {'value': 1.0}), (10.0, {'value': 1.0})]}
    """
    found: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for name, entry in content.items():
        measure, split, value = name.rpartition(f"_at_{axis}_")
        if split:
            found.setdefault(measure, []).append((float(value), entry))
    return {name: sorted(each, key=lambda point: point[0]) for name, each in found.items()}
