"""Entries of metrics.json for two sets of image features: each distance with its interval and its floor.

The floor is the same distance of real from real images at the same n, over repeated patient-disjoint splits. All in
float64, on features that were computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.metrics.distances.coverage import coverage
from cxr_ldm.metrics.distances.frechet import covariance_settings, frechet_distance
from cxr_ldm.metrics.distances.kernel import ONE_PATIENT, kernel_distance, kernel_jackknife
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import IMAGES, PATIENTS, normal_interval, spread

SPLIT_ATTEMPTS = 20
FEWEST_DECIDING = 5  # images inside, and outside, for the interval of a share
SHARES = ("precision", "recall", "density", "coverage")
SPLITS = "real against real, disjoint by patient, same n"
OVERLAP = "the splits overlap, so their spread is no interval"
Pair = tuple[Tensor, Tensor]
# Ends of what a statistic can be.
RANGES = {"fid": (0.0, np.inf), "density": (0.0, np.inf), **dict.fromkeys(("precision", "recall", "coverage"), (0, 1))}


@dataclass(frozen=True)
class Floors:
    """Distances of real from real images at the same n, one for each patient-disjoint split; or why there are none.

    Attributes:
        n: images on each side.
        values: of each split, by "fid", "kid" and the names of SHARES.
        reason: why there are none.
    """

    n: int
    values: dict[str, tuple[float, ...]] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class Many:
    """Larger sets for a distance whose expectation does not depend on their size.

    Attributes:
        real, generated: features [N, D] and [M, D].
        patients: of the real images, and of the prompts of the generated ones.
        settings: what these sets are.
    """

    real: Tensor
    generated: Tensor
    patients: tuple[Sequence[str], Sequence[str]]
    settings: dict[str, object]


def floors(
    features: Tensor, patients: Sequence[str], n: int, repeats: int = 5, seed: int = 0, neighbours: int = 5
) -> Floors:
    """Distances of n real from n other real images of other patients, over `repeats` random splits.

    Args:
        features: of real images, [N, D].
        patients: patient of each image.
        neighbours: of precision, recall, density and coverage.

    Returns:
        The values, or a reason where two groups of n images with disjoint patients cannot be formed.
    """
    splits, reason = disjoint_splits(patients, n, repeats, seed)
    found = []
    for one, two in ((features[first], features[second]) for first, second in splits):
        shares = vars(coverage(one, two, neighbours))
        found.append({"fid": frechet_distance(one, two), "kid": kernel_distance(one, two), **shares})
    names = found[0] if found else {}
    return Floors(n, {name: tuple(float(each[name]) for each in found) for name in names}, reason)


def disjoint_splits(patients: Sequence[str], n: int, repeats: int, seed: int) -> tuple[list[Pair], str | None]:
    """Indices of `repeats` random pairs of groups of n images that share no patient; none and the reason otherwise."""
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    splits = []
    for repeat in range(repeats):
        split = _disjoint_split(owner, len(names), n, np.random.default_rng([seed, repeat]))
        if split is None:
            return [], f"{len(patients)} real images do not give two patient-disjoint groups of {n}"
        splits.append(split)
    return splits, None


def _disjoint_split(owner: np.ndarray, people: int, n: int, random: np.random.Generator) -> Pair | None:
    counts = np.bincount(owner)
    for _ in range(SPLIT_ATTEMPTS):
        group = np.zeros(people, dtype=int)
        sizes = [0, 0]
        for patient in random.permutation(people):
            smaller = int(sizes[1] < sizes[0])
            group[patient] = smaller
            sizes[smaller] += int(counts[patient])
        if min(sizes) >= n:
            one, two = (random.permutation(np.flatnonzero(group[owner] == which))[:n] for which in (0, 1))
            return torch.from_numpy(one), torch.from_numpy(two)
    return None


def distance_metrics(
    real: Tensor,
    generated: Tensor,
    pool: Tensor,
    pool_patients: Sequence[str],
    stated: dict[str, object],
    *,
    patients: tuple[Sequence[str], Sequence[str]] | None = None,
    repeats: int = 5,
    neighbours: int = 5,
    seed: int = 0,
) -> dict[str, Metric]:
    """Entries for metrics.json: FID, KID, precision, recall, density, coverage, and the floor of each.

    FID comes with its ratio to the floor, and KID with its difference from it.

    Args:
        real: features of real images, [N, D]; cut with `generated` to the smaller of the two counts.
        generated: features of generated images, [M, D].
        pool: features of the real images from which the floor's splits are drawn, [P, D].
        pool_patients: their patients.
        stated: of the extractor, with its name under "extractor".
        patients: of the real images, and of the prompts of the generated ones; None takes images as independent.
        neighbours: k of precision, recall, density and coverage.
    """
    floor = floors(pool, pool_patients, min(len(real), len(generated)), repeats, seed, neighbours)
    return distances_from(real, generated, floor, stated, patients=patients, neighbours=neighbours, seed=seed)


def distances_from(
    real: Tensor,
    generated: Tensor,
    floor: Floors,
    facts: dict[str, object],
    *,
    patients: tuple[Sequence[str], Sequence[str]] | None = None,
    many: Many | None = None,
    neighbours: int = 5,
    seed: int = 0,
    over: str | None = None,
) -> dict[str, Metric]:
    """What `distance_metrics` gives, with a floor that is known already.

    Args:
        over: what `patients` are, where they are something else.
        many: larger sets for KID alone, whose expectation does not depend on their size; None takes the same ones.
    """
    n, name = min(len(real), len(generated)), facts["extractor"]
    real, generated = real[:n], generated[:n]
    alone = [f"real {i}" for i in range(n)], [f"generated {i}" for i in range(n)]
    people = alone if patients is None else (patients[0][:n], patients[1][:n])
    over = over or (IMAGES if patients is None else PATIENTS)
    facts = {**facts, "drawn": over}
    if floor.reason:
        facts |= {"floor": None, "floor_reason": floor.reason}
    own = {kind: {**facts, "neighbours": neighbours, "balls": "closed"} for kind in SHARES}
    own["fid"] = facts | covariance_settings(n, real.shape[1])
    own["kid"] = {**facts, "kernel": "(x·y/D + 1)³", "pairs": "all, unbiased"} | (many.settings if many else {})

    def statistic(one: Tensor, two: Tensor) -> list[float]:
        return [frechet_distance(one, two), *vars(coverage(one, two, neighbours)).values()]

    apart = spread(statistic, [real, generated], people, smallest=neighbours + 1, seed=seed)
    metrics = {}
    for index, (kind, value) in enumerate(zip(("fid", *SHARES), statistic(real, generated), strict=True)):
        reason = apart.why_none(index) or why_no_interval(kind, value, n)
        ends = None if reason else apart.interval(value, index, *RANGES[kind])
        stated = own[kind] | apart.settings
        metrics[f"{kind}_{name}"] = Metric(value, n, kind != "fid", ends, stated, reason, over)
        if kind == "fid":
            sets = (many.real, many.generated, many.patients) if many else (real, generated, people)
            metrics[f"kid_{name}"] = kernel_metric(*sets, own["kid"], over)
    return metrics if floor.reason else metrics | _floor_metrics(str(name), metrics, floor, own)


def why_no_interval(kind: str, value: float, n: int) -> str | None:
    """Why a share of images has no interval by subsampling: in simulations those near 0 or 1 held the truth too rarely.

    >>> why_no_interval("recall", 0.01, 200), why_no_interval("recall", 0.1, 200), why_no_interval("fid", 0.0, 200)
    ('2 of 200 images alone decide it; an interval needs at least 5', None, None)
    """
    if kind not in ("precision", "recall", "coverage"):
        return None
    decide = min(round(value * n), n - round(value * n))
    return (
        None
        if decide >= FEWEST_DECIDING
        else f"{decide} of {n} images alone decide it; an interval needs at least {FEWEST_DECIDING}"
    )


def kernel_metric(
    real: Tensor,
    generated: Tensor,
    patients: tuple[Sequence[str], Sequence[str]],
    facts: dict[str, object],
    over: str = PATIENTS,
) -> Metric:
    """KID with its jackknife interval over patients; `patients` are of the real images and of the prompts."""
    found, n = kernel_jackknife(real, generated, *patients), len(generated)
    if found.error is None:
        return Metric(found.value, n, False, settings=facts, reason=ONE_PATIENT)
    stated = {**facts, "standard_error": found.error, "interval": "normal, jackknife over patients"}
    return Metric(found.value, n, False, normal_interval(found.value, found.error), stated, over=over)


def _floor_metrics(
    name: str, metrics: dict[str, Metric], floor: Floors, own: dict[str, dict[str, object]]
) -> dict[str, Metric]:
    """Floors, FID's ratio to its own and KID's difference from its own."""
    repeats = len(floor.values["fid"])
    entries, middle, error = {}, {}, {}
    for kind, values in floor.values.items():
        deviation = float(np.std(values, ddof=1)) if repeats > 1 else 0.0
        middle[kind], error[kind] = float(np.mean(values)), deviation / repeats**0.5
        stated = own[kind] | {"repeats": repeats, "splits": SPLITS, "standard_deviation": deviation}
        if kind == "kid":
            stated["standard_error"] = error[kind]
        entries[f"{kind}_{name}_floor"] = Metric(
            middle[kind], floor.n, kind not in ("fid", "kid"), settings=stated, reason=OVERLAP
        )
    fid, kid = metrics[f"fid_{name}"], metrics[f"kid_{name}"]
    difference, own_error = kid.value - middle["kid"], kid.settings.get("standard_error")
    if own_error is not None:
        both = (own_error**2 + error["kid"] ** 2) ** 0.5
        stated = own["kid"] | {"standard_error": both, "interval": "normal"}
        ends = normal_interval(difference, both)
        over = f"{kid.over}, and the splits of the floor"
        entries[f"kid_{name}_difference"] = Metric(difference, floor.n, False, ends, stated, over=over)
    else:
        entries[f"kid_{name}_difference"] = Metric(difference, floor.n, False, settings=own["kid"], reason=kid.reason)
    if middle["fid"] > 0:
        low_high = fid.ci95 and (fid.ci95[0] / middle["fid"], fid.ci95[1] / middle["fid"])
        stated = fid.settings | {"interval_of": "the numerator, the floor held fixed"}
        ratio = fid.value / middle["fid"]
        entries[f"fid_{name}_ratio"] = Metric(ratio, floor.n, False, low_high, stated, fid.reason, fid.over)
    return entries
