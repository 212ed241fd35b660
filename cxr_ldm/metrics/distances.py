"""Distances between two sets of image features: Fréchet (FID) and kernel (KID), each with its real-against-real floor.

All in float64, on features that were computed once. KID runs through torchmetrics. FID does so too as a cross-check
only: torchmetrics takes square roots of the eigenvalues of a product of covariances, and with fewer images than
features those that should be 0 are rounding noise, so it is off by about 1e-5 and negative on identical sets. The trace
of the square root is a nuclear norm of the centred features themselves, which is exact for sets of any rank.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

# The package itself exports these two only where torch-fidelity is installed.
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric

SPLIT_ATTEMPTS = 20
NO_FID_INTERVAL = "the bootstrap of FID is biased; an interval by subsampling is not computed yet"
CLOSED_FORM = "nuclear norm of centred features, float64"


class Precomputed(nn.Module):
    """Stands where torchmetrics expects an extractor, and hands on features that exist already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


@dataclass(frozen=True)
class Floors:
    """Distances of real from real images at the same n, one for each patient-disjoint split; or why there are none."""

    n: int
    fid: tuple[float, ...] = ()
    kid: tuple[float, ...] = ()
    reason: str | None = None


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Fréchet distance of the two Gaussians fitted to features [N, D] and [M, D] (Heusel et al. 2017, eq. 6).

    |μ1 - μ2|² + Tr(Σ1) + Tr(Σ2) - 2 Tr((Σ1 Σ2)^½). With Σ = AᵀA for centred features A over sqrt(N - 1), the last
    trace is the sum of the singular values of A1 A2ᵀ. Unbiased covariances, as in torchmetrics.

    >>> x = torch.tensor([[-1.0], [1.0]])
    >>> round(frechet_distance(x, 2 * x + 3), 6)  # means 0 and 3, standard deviations √2 and 2√2
    11.0
    """
    first, second = _checked(real, generated)
    mean = (first.mean(0) - second.mean(0)).square().sum()
    one, two = _factor(first), _factor(second)
    covariance = one.square().sum() + two.square().sum() - 2 * torch.linalg.svdvals(one @ two.T).sum()
    return max(float(mean + covariance), 0.0)


def _factor(features: Tensor) -> Tensor:
    """A with AᵀA the covariance, at most D rows."""
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(centred) > centred.shape[1] else centred


def torchmetrics_frechet_distance(real: Tensor, generated: Tensor) -> float:
    """The same by torchmetrics' FrechetInceptionDistance; agrees to about 1e-4 (see the module's docstring)."""
    first, second = _checked(real, generated)
    metric = FrechetInceptionDistance(feature=Precomputed(first.shape[1]))
    metric.update(first, real=True)
    metric.update(second, real=False)
    return float(metric.compute())


def kernel_distance(
    real: Tensor, generated: Tensor, subset_size: int = 500, subsets: int = 50, seed: int = 0
) -> tuple[float, float]:
    """KID, the unbiased squared MMD with the kernel (xᵀy / D + 1)³ (Bińkowski et al. 2018), by torchmetrics.

    Returns:
        Mean and standard deviation over random subsets of `subset_size`; with one full subset the deviation is 0.

    Raises:
        UserError: a set is smaller than `subset_size`.
    """
    first, second = _checked(real, generated)
    if min(len(first), len(second)) < subset_size:
        raise UserError(f"KID: {len(first)} real and {len(second)} generated images are fewer than {subset_size=}.")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message=".*will save all extracted features.*")
        torch.manual_seed(seed)  # torchmetrics draws its subsets from torch's global generator
        metric = KernelInceptionDistance(Precomputed(first.shape[1]), subsets=subsets, subset_size=subset_size)
        metric.update(first, real=True)
        metric.update(second, real=False)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def kernel_distance_error(real: Tensor, generated: Tensor) -> float:
    """Standard error of KID over all images: the two-sample jackknife (Arvesen 1969), images taken as independent."""
    first, second = _checked(real, generated)
    across = _kernel(first, second)
    variance = 0.0
    for own, cross in ((_kernel(first, first), across), (_kernel(second, second), across.T)):
        n, m = cross.shape
        sums = own.sum(1) - own.diagonal()
        within = (sums.sum() - 2 * sums) / ((n - 1) * (n - 2))
        between = (cross.sum() - cross.sum(1)) / ((n - 1) * m)
        left_out = within - 2 * between
        variance += float((n - 1) / n * (left_out - left_out.mean()).square().sum())
    return variance**0.5


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T / first.shape[1] + 1) ** 3


def floors(
    features: Tensor, patients: Sequence[str], n: int, repeats: int = 5, seed: int = 0, *, kid_subset: int, subsets: int
) -> Floors:
    """FID and KID of n real against n other real images of other patients, over `repeats` random splits.

    Args:
        features: of real images, [N, D].
        patients: patient of each image.

    Returns:
        The values, or a reason where two groups of n images with disjoint patients cannot be formed.
    """
    if len(patients) != len(features):
        raise ValueError(f"{len(features)} features and {len(patients)} patients do not match")
    fid, kid = [], []
    for repeat in range(repeats):
        split = _disjoint_split(np.asarray(patients), n, np.random.default_rng([seed, repeat]))
        if split is None:
            return Floors(n, reason=f"{len(features)} real images do not give two patient-disjoint groups of {n}")
        one, two = (features[torch.from_numpy(group)] for group in split)
        fid.append(frechet_distance(one, two))
        kid.append(kernel_distance(one, two, kid_subset, subsets, seed + repeat)[0])
    return Floors(n, tuple(fid), tuple(kid))


def _disjoint_split(patients: np.ndarray, n: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """Indices of two random groups of n images that share no patient."""
    names, owner = np.unique(patients, return_inverse=True)
    counts = np.bincount(owner)
    for _ in range(SPLIT_ATTEMPTS):
        group = np.zeros(len(names), dtype=int)
        sizes = [0, 0]
        for patient in random.permutation(len(names)):
            smaller = int(sizes[1] < sizes[0])
            group[patient] = smaller
            sizes[smaller] += int(counts[patient])
        if min(sizes) >= n:
            one, two = (random.permutation(np.flatnonzero(group[owner] == which))[:n] for which in (0, 1))
            return one, two
    return None


def distance_metrics(
    real: Tensor,
    generated: Tensor,
    pool: Tensor,
    pool_patients: Sequence[str],
    settings: dict[str, object],
    *,
    repeats: int = 5,
    subsets: int = 50,
    seed: int = 0,
) -> dict[str, Metric]:
    """Entries for metrics.json: FID and KID, their floors, FID's ratio to it and KID's difference from it.

    Args:
        real: features of real images, [N, D]; cut with `generated` to the smaller of the two counts.
        generated: features of generated images, [M, D].
        pool: features of the real images from which the floor's splits are drawn, [P, D].
        pool_patients: their patients.
        settings: of the extractor, with its name under "extractor".
    """
    n = min(len(real), len(generated))
    real, generated = real[:n], generated[:n]
    subset = min(500, n)
    count = subsets if subset < n else 1  # every full subset is the same set
    name = settings["extractor"]
    floor = floors(pool, pool_patients, n, repeats, seed, kid_subset=subset, subsets=count)
    frechet = {**settings, "covariance": CLOSED_FORM, "torchmetrics": torchmetrics_frechet_distance(real, generated)}
    kernel = {**settings, "kernel": "(x·y/D + 1)³", "subsets": count, "subset_size": subset, "seed": seed}
    if floor.reason:
        frechet, kernel = ({**part, "floor": None, "floor_reason": floor.reason} for part in (frechet, kernel))
    fid = frechet_distance(real, generated)
    kid, _ = kernel_distance(real, generated, subset, count, seed)
    error = kernel_distance_error(real, generated)
    kernel_settings = {**kernel, "standard_error": error, "interval": "normal, two-sample jackknife"}
    metrics = {
        f"fid_{name}": Metric(fid, n, False, settings=frechet, reason=NO_FID_INTERVAL),
        f"kid_{name}": Metric(kid, n, False, ci95=_normal_interval(kid, error), settings=kernel_settings),
    }
    return metrics if floor.reason else metrics | _floor_metrics(str(name), fid, kid, error, floor, settings)


def _floor_metrics(
    name: str, fid: float, kid: float, error: float, floor: Floors, settings: dict[str, object]
) -> dict[str, Metric]:
    splits = {**settings, "repeats": len(floor.fid), "splits": "real against real, disjoint by patient, same n"}
    fid_floor, kid_floor = float(np.mean(floor.fid)), float(np.mean(floor.kid))
    deviation = [float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for values in (floor.fid, floor.kid)]
    standard_error = deviation[1] / len(floor.kid) ** 0.5
    both = (error**2 + standard_error**2) ** 0.5
    overlap = "the splits overlap, so their spread is no interval"
    fid_settings = {**splits, "standard_deviation": deviation[0]}
    kid_settings = {**splits, "standard_error": standard_error}
    against = {**settings, "standard_error": both, "interval": "normal"}
    difference = kid - kid_floor
    metrics = {
        f"fid_{name}_floor": Metric(fid_floor, floor.n, False, settings=fid_settings, reason=overlap),
        f"kid_{name}_floor": Metric(kid_floor, floor.n, False, settings=kid_settings, reason=overlap),
        f"kid_{name}_difference": Metric(
            difference, floor.n, False, ci95=_normal_interval(difference, both), settings=against
        ),
    }
    if fid_floor > 0:
        ratio = Metric(fid / fid_floor, floor.n, False, settings=settings, reason=NO_FID_INTERVAL)
        metrics[f"fid_{name}_ratio"] = ratio
    return metrics


def _normal_interval(value: float, error: float) -> tuple[float, float]:
    return value - 1.959964 * error, value + 1.959964 * error


def _checked(real: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in float64.

    Raises:
        UserError: a set has fewer than 2 images, the widths differ, or a value is not finite.
    """
    for name, features in (("real", real), ("generated", generated)):
        if features.ndim != 2 or len(features) < 2:
            raise UserError(
                f"distances: {name} features of shape {tuple(features.shape)}; at least 2 images are needed."
            )
        if not torch.isfinite(features).all():
            raise UserError(f"distances: {name} features hold a NaN or an infinity.")
    if real.shape[1] != generated.shape[1]:
        raise UserError(f"distances: {real.shape[1]} real and {generated.shape[1]} generated features do not match.")
    return real.double(), generated.double()
