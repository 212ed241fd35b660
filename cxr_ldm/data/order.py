"""The order of the training data, as a function of (seed, position) alone."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from cxr_ldm.errors import UserError


class StepSampler(Sampler[tuple[int, int]]):
    """Epoch e is the positions e·per_epoch … (e+1)·per_epoch of one endless stream of rows.

    The k-th pass of the stream over the rows is a permutation drawn from (seed, k). So the length of an epoch, which
    is how often to validate, does not change what is seen when, and a run that goes on at epoch e sees what an
    undisturbed one would have seen. Lightning calls `set_epoch`. It yields (row, position).

    Args:
        rows: row numbers to draw from, int64 [R].
        seed: of the order.
        per_epoch: rows in an epoch; more or fewer than R.

    Raises:
        UserError: `rows` is empty.

    >>> sampler = StepSampler(np.arange(3), seed=0, per_epoch=4)
    >>> list(sampler)
    [(2, 0), (0, 1), (1, 2), (2, 3)]
    >>> sampler.set_epoch(1)
    >>> list(sampler)
    [(0, 4), (1, 5), (2, 6), (1, 7)]
    """

    def __init__(self, rows: np.ndarray, seed: int, per_epoch: int):
        if len(rows) == 0:
            raise UserError("the training split has no image; prepare more images or choose another data.splits.seed.")
        self.rows, self.seed, self.per_epoch = np.asarray(rows), seed, per_epoch
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        begin = self.epoch * self.per_epoch
        end, count = begin + self.per_epoch, len(self.rows)
        for turn in range(begin // count, -(-end // count)):
            order = np.random.default_rng([self.seed, turn]).permutation(self.rows)
            first, last = max(begin, turn * count), min(end, (turn + 1) * count)
            yield from zip(order[first - turn * count : last - turn * count].tolist(), range(first, last), strict=True)
