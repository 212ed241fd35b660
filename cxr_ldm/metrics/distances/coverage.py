"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) of two sets of features.

All four ask which images lie in the balls about images of the other set that reach to their k-th neighbours. The
distances of all pairs come from products in float32, a block at a time. Such a squared distance, |x|² + |y|² - 2xᵀy,
loses digits where it is small beside |x|² + |y|². So whatever a rounding could decide is decided anew from differences
in float64: the radii always, and each comparison that lies within the rounding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances.vectors import checked

BLOCK = 1000  # rows of distances at once
PAIRS = 4096  # pairs that are decided anew at once
SPARE = 2  # nearest candidates beyond k whose distances are taken anew
ROUNDING = 1e-5  # of a squared distance in float32, as a share of |x|² + |y|²; at 2,048 features a tenth is seen


@dataclass(frozen=True)
class Coverage:
    """Shares of images inside the other set's balls; `density` alone may be above 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def coverage(real: Tensor, generated: Tensor, neighbours: int = 5) -> Coverage:
    """Precision, recall, density and coverage; balls are closed, as Kynkäänniemi et al. have them.

    - precision: share of generated images in the ball of any real one (Kynkäänniemi et al. 2019, eq. 2);
    - recall: share of real images in the ball of any generated one (eq. 2 with the sets exchanged);
    - density: how many real balls hold a generated image, mean over k (Naeem et al. 2020, eq. 4); 1 is expected of a
      perfect generator;
    - coverage: share of real images whose ball holds a generated one (eq. 6); 1 - 2^-k is expected at equal counts.

    Args:
        real: features [N, D].
        generated: features [M, D].
        neighbours: k; the image itself does not count.

    Raises:
        UserError: a set has no more than k images, the widths differ, or a value is not finite.

    >>> x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    >>> coverage(x, torch.tensor([[0.5], [0.6], [0.7], [50.0]]), neighbours=1)
    Coverage(precision=0.75, recall=0.75, density=1.5, coverage=0.5)
    """
    first, second = checked(real, generated)
    if not 1 <= neighbours < min(len(first), len(second)):
        raise UserError(
            f"coverage: {len(first)} real and {len(second)} generated images; each must be more than the "
            f"{neighbours} neighbours, and neighbours at least 1."
        )
    middle = first.mean(0)  # distances do not change, and what cancels becomes smaller
    first, second = first - middle, second - middle
    here, there = _Side(first, neighbours), _Side(second, neighbours)
    held = torch.zeros(len(second), dtype=torch.int64)  # real balls that hold each generated image
    covered, recalled = (torch.zeros(len(first), dtype=torch.bool) for _ in range(2))
    for start in range(0, len(second), BLOCK):
        rows = slice(start, start + BLOCK)
        squared, rounding = _squared(there, here, rows)
        in_real = _inside(squared, here.radii.expand_as(squared), rounding, second[rows], first)
        in_generated = _inside(squared, there.radii[rows, None].expand_as(squared), rounding, second[rows], first)
        held[rows] = in_real.sum(1)
        covered |= in_real.any(0)
        recalled |= in_generated.any(0)
    return Coverage(
        precision=float((held > 0).double().mean()),
        recall=float(recalled.double().mean()),
        density=float(held.double().mean()) / neighbours,
        coverage=float(covered.double().mean()),
    )


class _Side:
    """A set with its float32 copy, its squared lengths and the squared radii of its balls, float64 [N]."""

    def __init__(self, features: Tensor, neighbours: int) -> None:
        self.features, self.single = features, features.float()
        self.lengths = features.square().sum(1).float()
        self.radii = self._radii(neighbours)

    def _radii(self, neighbours: int) -> Tensor:
        """Squared distance to the k-th nearest other image, from differences in float64."""
        count = min(neighbours + SPARE, len(self.features) - 1)
        radii = []
        for start in range(0, len(self.features), BLOCK):
            rows = torch.arange(start, min(start + BLOCK, len(self.features)))
            squared, _ = _squared(self, self, slice(start, start + BLOCK))
            squared[torch.arange(len(rows)), rows] = torch.inf  # not its own neighbour
            nearest = squared.topk(count, largest=False).indices
            pairs = torch.stack([rows[:, None].expand_as(nearest), nearest]).flatten(1)
            exact = _exact(self.features, self.features, *pairs).view_as(nearest)
            radii.append(exact.sort(1).values[:, neighbours - 1])
        return torch.cat(radii)


def _squared(these: _Side, others: _Side, rows: slice) -> tuple[Tensor, Tensor]:
    """Squared distances in float32 of some rows of one set to all of another, and how far they may be off."""
    sums = these.lengths[rows, None] + others.lengths
    return torch.addmm(sums, these.single[rows], others.single.T, alpha=-2), sums.mul_(ROUNDING)


def _inside(squared: Tensor, limit: Tensor, rounding: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Whether each squared distance is at most its limit, those near it decided in float64, bool [R, C]."""
    gap = squared - limit.float()
    inside = gap <= 0
    near = (gap.abs_() <= rounding).nonzero()
    for pairs in near.split(PAIRS):
        one, two = pairs.unbind(1)
        inside[one, two] = _exact(rows, columns, one, two) <= limit[one, two]
    return inside


def _exact(first: Tensor, second: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """Squared distances of pairs of rows, float64; the same for a pair whichever way round it is."""
    parts = zip(one.split(PAIRS), two.split(PAIRS), strict=True)
    return torch.cat([(first[a] - second[b]).square_().sum(1) for a, b in parts])
