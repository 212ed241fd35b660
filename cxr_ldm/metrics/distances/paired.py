"""Is one bundle better than another? Both are measured on the same prompts with the same seeds, and compared in pairs.

Values are differences, first less second. p-values are exact permutation tests: were the two bundles alike, each
patient's images could be exchanged between them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.metrics.distances.kernel import ONE_PATIENT, cross_sums, jackknife_error, kernel_jackknife, own_sums
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import PATIENTS, holm, mean_over_patients, normal_interval, owners, spread

FLIPS = 4999
EXCHANGES = 199  # of a distance, each of which is two whole distances

ROUNDING = 1e-12  # of sums in float64

Distance = Callable[[Tensor, Tensor], float]


def paired_mean(
    first: Tensor,
    second: Tensor,
    patients: Sequence[str],
    facts: dict[str, object],
    *,
    higher: bool = True,
    seed: int = 0,
) -> Metric:
    """Mean difference of two values of each image, with a bootstrap interval over patients and a sign-flip p-value.

    Args:
        first, second: a value of each image, [N].
        patients: of the images, or of their prompts.
        higher: whether a larger value is better.

    >>> one = torch.linspace(0, 1, 40)
    >>> metric = paired_mean(one + 0.1, one, [str(i) for i in range(40)], {})
    >>> round(metric.value, 3), metric.settings["p_value"]
    (0.1, 0.0002)
    """
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} and {len(second)} values are no pairs")
    difference = first.double() - second.double()
    p_value = sign_flip_p_value(difference, patients, seed)
    stated = _stated(facts, p_value, f"sign flips of patients, {FLIPS} draws")
    return mean_over_patients(difference, patients, stated, higher=higher, seed=seed)


def sign_flip_p_value(difference: Tensor, patients: Sequence[str], seed: int = 0) -> float:
    """Two-sided p-value of a mean difference under flips of all signs of a patient (Phipson & Smyth 2010, eq. 2)."""
    (owner,) = owners(patients)
    sums = np.bincount(owner, weights=difference.double().numpy())
    random = np.random.default_rng(seed)
    reached = 0
    observed = abs(sums.sum()) * (1 - 1e-12)  # a permutation that changes nothing must reach it despite rounding
    for _ in range(FLIPS):
        reached += int(abs((sums * random.choice((-1.0, 1.0), len(sums))).sum()) >= observed)
    return (1 + reached) / (1 + FLIPS)


def paired_distance(
    distance: Distance,
    real: Tensor,
    first: Tensor,
    second: Tensor,
    real_patients: Sequence[str],
    patients: Sequence[str],
    facts: dict[str, object],
    *,
    higher: bool = False,
    seed: int = 0,
) -> Metric:
    """Difference of the distances (or of any statistic) of two generated sets from one real set.

    The interval is by subsampling of patients, the same half of prompts for both sets; what a distance owes to the
    number of images is in both, and cancels as far as it is the same. The p-value exchanges the two sets' images,
    patient by patient.

    Args:
        distance: of real and generated features, such as `frechet_distance`.
        real: features of real images, [N, D].
        first, second: features of generated images, [M, D], of the same prompts and seeds.
        real_patients, patients: of the real images, and of the prompts.
        higher: whether a larger value is better.
    """
    if first.shape != second.shape or len(first) != len(patients):
        raise ValueError(f"{len(first)} and {len(second)} images of {len(patients)} prompts are no pairs")

    def difference(real: Tensor, first: Tensor, second: Tensor) -> list[float]:
        return [distance(real, first) - distance(real, second)]

    value = difference(real, first, second)[0]
    found = spread(difference, [real, first, second], [real_patients, patients, patients], seed=seed)
    p_value = exchange_p_value(lambda one, two: difference(real, one, two)[0], first, second, patients, seed)
    stated = _stated(facts, p_value, f"exchange of patients' images, {EXCHANGES} draws") | found.settings
    ends, why = found.interval(value), found.why_none()
    return Metric(value, len(first), higher, ci95=ends, settings=stated, reason=why, over=PATIENTS)


def exchange_p_value(
    difference: Distance, first: Tensor, second: Tensor, patients: Sequence[str], seed: int = 0
) -> float:
    """Two-sided p-value of a difference of two sets when a patient's images are exchanged between them."""
    (owner,) = owners(patients)
    random = np.random.default_rng([seed, 1])
    observed = abs(difference(first, second)) * (1 - 1e-12)
    reached = 0
    for _ in range(EXCHANGES):
        swap = torch.from_numpy(random.random(owner.max() + 1) < 0.5)[torch.from_numpy(owner), None]
        one, two = torch.where(swap, second, first), torch.where(swap, first, second)
        reached += int(abs(difference(one, two)) >= observed)
    return (1 + reached) / (1 + EXCHANGES)


def paired_kernel_distance(
    real: Tensor,
    first: Tensor,
    second: Tensor,
    real_patients: Sequence[str],
    patients: Sequence[str],
    facts: dict[str, object],
    seed: int = 0,
) -> Metric:
    """Difference of two KIDs with a normal interval by the jackknife over patients, and the exchange's p-value.

    Where all three sets are of one distribution the interval is too wide, as KID then converges faster than 1/√n.
    """
    one, two = (kernel_jackknife(real, each, real_patients, patients) for each in (first, second))
    error = jackknife_error(one.without - two.without, one.strata)
    value = one.value - two.value
    shares = kernel_difference_shares(real, first, second)
    p_value = sign_flip_p_value(shares, patients, seed)
    stated = _stated(facts, p_value, f"exchange of patients' images, {FLIPS} draws")
    if error is None:
        return Metric(value, len(first), False, settings=stated, reason=ONE_PATIENT)
    stated |= {"standard_error": error, "interval": "normal, jackknife over patients"}
    return Metric(value, len(first), False, ci95=normal_interval(value, error), settings=stated, over=PATIENTS)


def kernel_difference_shares(real: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """What each pair of images adds to the difference of two KIDs, [M]: exchanging a pair turns the sign of its share.

    With K the kernel of both generated sets joined, without its diagonal, and w marking the images that stand first,
    w'Kw - (1 - w)'K(1 - w) = (2w - 1)'K1: it is linear in the signs 2w - 1, as are the terms of real against generated.
    """
    n, joined = len(first), torch.cat([first, second]).double()
    each = torch.arange(2 * n)
    own = own_sums(joined, each, 2 * n)[0]
    across = cross_sums(real.double(), joined, torch.zeros(len(real), dtype=torch.int64), each, 2 * n)[1]
    scores = own / (n * (n - 1)) - 2 * across / (n * len(real))
    shares = scores[:n] - scores[n:]
    return shares.where(shares.abs() > ROUNDING * scores.abs().max(), 0.0)  # equal images have no share at all


def corrected(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """The differences of one comparison with `p_value_holm` beside each p-value: several are looked at, at once."""
    tested = [name for name, metric in metrics.items() if "p_value" in metric.settings]
    p_values = holm([float(metrics[name].settings["p_value"]) for name in tested])
    more = {
        name: {"p_value_holm": p_value, "tests": len(tested)} for name, p_value in zip(tested, p_values, strict=True)
    }
    return {name: replace(metric, settings=metric.settings | more.get(name, {})) for name, metric in metrics.items()}


def _stated(stated: dict[str, object], p_value: float, test: str) -> dict[str, object]:
    return {**stated, "difference": "first less second", "p_value": p_value, "test": test}
