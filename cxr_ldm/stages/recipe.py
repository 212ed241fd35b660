"""How long a stage trains and by what steps, see conf/training. Lengths count images seen, not epochs."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from cxr_ldm.stages.optimisation import MakeOptimizer


class Periods(NamedTuple):
    """How a run is divided; a stretch is a whole number of optimiser steps.

    Attributes:
        images: from one checkpoint to the next, a stretch.
        stretches: from one validation to the next.
        validations: of the whole run.
    """

    images: int
    stretches: int
    validations: int


@dataclass(frozen=True)
class Recipe:
    """What every stage is told about its training.

    Attributes:
        optimizer: makes the optimiser of parameter groups.
        batch_size: images in a batch.
        images: seen in all, rounded up to whole validation periods.
        validate_every, checkpoint_every: images between two of them; stretches are rounded to fit the first.
        accumulate: batches that make one step of the optimiser.
        workers: processes that fetch batches.
        warmup_steps: of the learning rate.
        last_rate: of the peak rate, at the end of a half cosine.
        ema: decay of the averaged weights; None or 0 averages none.
        patience: validations without improvement before a run stops early; None never stops early.
    """

    optimizer: MakeOptimizer
    batch_size: int
    images: int
    validate_every: int
    checkpoint_every: int
    accumulate: int = 1
    workers: int = 0
    warmup_steps: int = 0
    last_rate: float = 1.0
    ema: float | None = None
    patience: int | None = None

    def periods(self) -> Periods:
        """The stream of images and noise does not see where a stretch ends.

        >>> recipe = Recipe(list, batch_size=32, images=72_000, validate_every=24_000, checkpoint_every=4_000)
        >>> tuple(recipe.periods())
        (4000, 6, 3)
        """
        step = self.batch_size * self.accumulate
        validate_every = min(self.validate_every, self.images)
        stretches = max(1, round(validate_every / self.checkpoint_every))
        images = math.ceil(validate_every / stretches / step) * step
        return Periods(images, stretches, math.ceil(self.images / (images * stretches)))
