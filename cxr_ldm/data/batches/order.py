"""The order of the training data, as a function of (seed, position) alone."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from cxr_ldm.errors import UserError


class StepSampler(Sampler[tuple[int, int]]):
    """Epoch e is the positions e·per_epoch … (e+1)·per_epoch of one endless stream of rows.

    The k-th pass of the stream over the rows is drawn from (seed, k): a permutation, or with weights as many draws of
    each row as its weight says. So the length of an epoch, which is how often to validate, does not change what is
    seen when, and a run that goes on at epoch e sees what an undisturbed one would have seen. Lightning calls
    `set_epoch`. It yields (row, position).

    Args:
        rows: row numbers to draw from, int64 [R].
        seed: of the order.
        per_epoch: rows in an epoch; more or fewer than R.
        part: which of how many equal parts of every batch this process has.
        batch: rows of a whole batch, which divides `per_epoch`.
        weights: draws of each row in a pass, float [R]; a fraction holds on average, in other passes for other rows.
            None draws each once.

    Raises:
        UserError: `rows` is empty.

    >>> sampler = StepSampler(np.arange(3), seed=0, per_epoch=4)
    >>> list(sampler)
    [(2, 0), (0, 1), (1, 2), (2, 3)]
    >>> sampler.set_epoch(1)
    >>> list(sampler)
    [(0, 4), (1, 5), (2, 6), (1, 7)]
    >>> sampler.start_at(1, skipped=2)
    >>> list(sampler)
    [(2, 6), (1, 7)]
    >>> list(StepSampler(np.arange(3), seed=0, per_epoch=4, part=(1, 2), batch=4))
    [(1, 2), (2, 3)]
    """

    def __init__(
        self,
        rows: np.ndarray,
        seed: int,
        per_epoch: int,
        weights: np.ndarray | None = None,
        part: tuple[int, int] = (0, 1),
        batch: int = 1,
    ):
        if len(rows) == 0:
            raise UserError("the training split has no image; prepare more images or choose another data.splits.seed.")
        self.rows, self.seed, self.per_epoch, self.weights = np.asarray(rows), seed, per_epoch, weights
        self.count = len(rows) if weights is None else max(1, round(float(weights.sum())))  # draws in a pass
        self.epoch = self.first_epoch = self.skipped = 0
        self.part, self.batch = part, batch

    def start_at(self, epoch: int, skipped: int) -> None:
        """Begin within an epoch, behind `skipped` of its rows; the epochs after it are whole."""
        self.epoch = self.first_epoch = epoch
        self.skipped = skipped

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.per_epoch // self.part[1]

    def turn(self, number: int) -> np.ndarray:
        """The rows of one pass in their order, int64 [count]."""
        random = np.random.default_rng([self.seed, number])
        if self.weights is None:
            return random.permutation(self.rows)
        # systematic sampling: ticks one draw apart over the rows laid end to end by their weights, in random order
        order = random.permutation(len(self.rows))
        ends = np.cumsum(self.weights[order])
        ticks = (np.arange(self.count) + random.random()) * (ends[-1] / self.count)
        places = np.searchsorted(ends, ticks, side="right").clip(max=len(order) - 1)
        return random.permutation(self.rows[order[places]])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        number, count = self.part
        share = self.batch // count
        return (drawn for drawn in self.whole() if drawn[1] % self.batch // share == number)

    def whole(self) -> Iterator[tuple[int, int]]:
        """The epoch of all processes together."""
        begin = self.epoch * self.per_epoch
        end, count = begin + self.per_epoch, self.count
        if self.epoch == self.first_epoch:
            begin += self.skipped
        for number in range(begin // count, -(-end // count)):
            order = self.turn(number)
            first, last = max(begin, number * count), min(end, (number + 1) * count)
            yield from zip(
                order[first - number * count : last - number * count].tolist(), range(first, last), strict=True
            )
