"""Kernel distance of two sets of features (KID) over all pairs, and its standard error by the jackknife over patients.

torchmetrics averages random subsets; both are unbiased, and with one subset that holds everything they are the same.
All pairs have the smaller variance, and need no random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cxr_ldm.metrics.distances.vectors import checked
from cxr_ldm.metrics.statistics import owners

BLOCK = 1024  # images on either side at once
ONE_PATIENT = "all images of a side are of one patient"


@dataclass(frozen=True)
class Jackknife:
    """KID, and what it is without each patient.

    Attributes:
        value: of all images.
        without: float64 [U], KID without the images of each patient.
        strata: int64 [U], whether a patient has real images (1), generated ones (2) or both (3).
    """

    value: float
    without: Tensor
    strata: Tensor

    @property
    def error(self) -> float | None:
        """Standard error (Arvesen 1969, several samples); None where a side has but one patient."""
        return jackknife_error(self.without, self.strata)


def kernel_distance(real: Tensor, generated: Tensor) -> float:
    """KID, the unbiased squared MMD with the kernel (xᵀy / D + 1)³ (Bińkowski et al. 2018), over all pairs, in float64.

    Args:
        real: features [N, D].
        generated: features [M, D].

    Raises:
        UserError: a set has fewer than 2 images, the widths differ, or a value is not finite.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> kernel_distance(x, x + 1)  # 1 + 27 - 2 · (1 + 1 + 8 + 27) / 4, kernels written out
    9.5
    """
    first, second = checked(real, generated)
    nobody = torch.zeros(max(len(first), len(second)), dtype=torch.int64)
    one, two = nobody[: len(first)], nobody[: len(second)]
    own, other = own_sums(first, one, 1)[0].sum(), own_sums(second, two, 1)[0].sum()
    across = cross_sums(first, second, one, two, 1)[0].sum()
    return float(_unbiased(own, other, across, torch.tensor(len(first)), torch.tensor(len(second))))


def kernel_jackknife(
    real: Tensor, generated: Tensor, real_patients: Sequence[str], generated_patients: Sequence[str]
) -> Jackknife:
    """KID and its values without each patient; a patient on both sides is left out on both at once.

    Args:
        real, generated: features [N, D] and [M, D].
        real_patients, generated_patients: patient of each image; of a generated one the patient of its prompt.
    """
    first, second = checked(real, generated)
    one, two = (torch.from_numpy(each) for each in owners(real_patients, generated_patients))
    units = int(max(one.max(), two.max())) + 1
    n, m = (torch.bincount(each, minlength=units) for each in (one, two))
    (rows, own), (others, other) = own_sums(first, one, units), own_sums(second, two, units)
    along, down, both = cross_sums(first, second, one, two, units)
    totals = rows.sum(), others.sum(), along.sum()
    value = _unbiased(*totals, n.sum(), m.sum())
    without = _unbiased(
        totals[0] - 2 * rows + own,
        totals[1] - 2 * others + other,
        totals[2] - along - down + both,
        n.sum() - n,
        m.sum() - m,
    )
    return Jackknife(float(value), without, (n > 0).long() + 2 * (m > 0).long())


def jackknife_error(without: Tensor, strata: Tensor) -> float | None:
    """Root of Σ over strata of (U - 1) / U · Σ (value without a patient - their mean)²; None where U = 1 somewhere."""
    variance = 0.0
    for stratum in strata.unique():
        values = without[strata == stratum]
        if len(values) < 2 or not torch.isfinite(values).all():
            return None
        variance += float((len(values) - 1) / len(values) * (values - values.mean()).square().sum())
    return variance**0.5


def _unbiased(own: Tensor, other: Tensor, across: Tensor, n: Tensor, m: Tensor) -> Tensor:
    """Bińkowski et al. 2018, eq. 4, from sums over different pairs of one side and over all pairs of both."""
    return own / (n * (n - 1)) + other / (m * (m - 1)) - 2 * across / (n * m)


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T).div_(first.shape[1]).add_(1).pow_(3)


def own_sums(features: Tensor, owner: Tensor, units: int) -> tuple[Tensor, Tensor]:
    """Sums [units] over pairs of different images: all pairs whose first is of a unit, and pairs within it."""
    rows, within = (torch.zeros(units, dtype=torch.float64) for _ in range(2))
    parts = list(zip(features.split(BLOCK), owner.split(BLOCK), strict=True))
    for i, (first, one) in enumerate(parts):
        for j, (second, two) in enumerate(parts[i:], start=i):
            block = _kernel(first, second)
            if i == j:
                block.fill_diagonal_(0)
            rows.index_add_(0, one, block.sum(1))
            same = block.mul(one[:, None] == two)
            within.index_add_(0, one, same.sum(1))
            if i != j:  # the mirror image below the diagonal
                rows.index_add_(0, two, block.sum(0))
                within.index_add_(0, two, same.sum(0))
    return rows, within


def cross_sums(first: Tensor, second: Tensor, one: Tensor, two: Tensor, units: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sums [units] over pairs of the two sides: whose first is of a unit, whose second is, and both."""
    along, down, both = (torch.zeros(units, dtype=torch.float64) for _ in range(3))
    for left, a in zip(first.split(BLOCK), one.split(BLOCK), strict=True):
        for right, b in zip(second.split(BLOCK), two.split(BLOCK), strict=True):
            block = _kernel(left, right)
            along.index_add_(0, a, block.sum(1))
            down.index_add_(0, b, block.sum(0))
            both.index_add_(0, a, block.mul_(a[:, None] == b).sum(1))
    return along, down, both
