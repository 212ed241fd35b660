"""How a model does for women and men, by age and by view, wherever a collection says who its people are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.people import AGE_BANDS
from cxr_ldm.metrics.distances.floors import kernel_metric
from cxr_ldm.metrics.faithfulness.auroc import BOOTSTRAP, patient_weights
from cxr_ldm.metrics.faithfulness.judged import Judged, auroc_metrics
from cxr_ldm.metrics.results import Metric

FEWEST = 30  # patients of a group for a figure about it


def groups_of(data: Prepared, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Images by sex, age and view, bool [N] each by names such as sex_female; nothing of what a collection lacks."""
    found: dict[str, np.ndarray] = {}
    columns = [name for name in ("sex", "view") if name in data.table.column_names]
    for name in columns:
        values = data.column(name)[rows]
        for value in sorted({str(each) for each in values if each is not None}):
            found[f"{name}_{value.lower().replace(' ', '_')}"] = values == value
    if "age" in data.table.column_names:
        ages = np.array([np.nan if each is None else each for each in data.column("age")[rows]], dtype=float)
        bands = {name.replace(" ", "_"): ends for name, ends in AGE_BANDS.items()}
        found |= {f"age_{name}": (ages >= low) & (ages < high) for name, (low, high) in bands.items()}
    return {name: inside for name, inside in found.items() if inside.any()}


def distances_by_group(
    groups: Mapping[str, np.ndarray],
    name: str,
    real: Tensor,
    made: Tensor,
    patients: Sequence[str],
    stated: Mapping[str, Any],
) -> dict[str, Metric]:
    """`kid_EXTRACTOR_GROUP`: images generated from the texts of one group against its real images.

    Args:
        groups: as of `groups_of`.
        name: of the extractor.
        real, made: features `[N,D]` of the real images and of those generated from their texts.
        stated: of the extractor.
    """
    found = {}
    for group, inside in enough(groups, patients).items():
        of = [patient for patient, own in zip(patients, inside, strict=True) if own]
        found[f"kid_{name}_{group}"] = kernel_metric(real[inside], made[inside], (of, of), {**stated, "group": group})
    return found


def auroc_by_group(
    groups: Mapping[str, np.ndarray], judged: Judged, stated: Mapping[str, Any], end: str, seed: int
) -> dict[str, Metric]:
    """`auroc_mean_GROUP` with `end`: the mean over the findings that enough patients of the group show, and do not."""
    found = {}
    for group, inside in enough(groups, judged.patients).items():
        part = part_of(judged, inside)
        facts = {**stated, "group": group, "interval": f"bootstrap over patients, {BOOTSTRAP} draws, seed {seed}"}
        mean = auroc_metrics(part, patient_weights(part.patients, seed), facts).get("auroc_mean")
        if mean is not None:
            found[f"auroc_mean_{group}{end}"] = mean
    return found


def enough(groups: Mapping[str, np.ndarray], patients: Sequence[str]) -> dict[str, np.ndarray]:
    """Groups of enough patients for a figure that are not all images."""
    known = np.asarray(patients)
    return {name: inside for name, inside in groups.items() if not inside.all() and len(set(known[inside])) >= FEWEST}


def part_of(judged: Judged, inside: np.ndarray) -> Judged:
    """Some of the judged images, bool [N]."""
    places = np.flatnonzero(inside)
    return replace(
        judged,
        probabilities=judged.probabilities[places],
        targets=judged.targets[places],
        texts=[judged.texts[int(place)] for place in places],
        patients=[judged.patients[int(place)] for place in places],
        sources=judged.sources[places],
    )
