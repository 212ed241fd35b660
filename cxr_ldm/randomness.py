"""Random numbers of training, as a function of the seed, the step and an image's place in the batch.

However many processes share a batch, each of its images meets the same numbers.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor

GOLDEN = 0.618033988749895


def generator_at(*position: int) -> Generator:
    """A CPU generator whose numbers depend on `position` alone, e.g. (seed, stream, step).

    >>> torch.equal(torch.rand(2, generator=generator_at(0, 1)), torch.rand(2, generator=generator_at(0, 1)))
    True
    """
    return torch.Generator().manual_seed(hash(position) & 0x7FFF_FFFF_FFFF_FFFF)  # tuples of ints hash alike anywhere


class BatchGenerator:
    """A generator for each image of a part of a batch.

    Args:
        key: of the whole batch, e.g. (seed, stream, step).
        places: of these images in it, or another number of each image.
        total: images of the whole batch, whose levels are stratified; None: the level of an image follows from its
            number alone, so that it is the same in every batch.

    >>> whole = normal((4, 2), BatchGenerator((0, 1), range(4), 4))
    >>> torch.equal(normal((2, 2), BatchGenerator((0, 1), range(2, 4), 4)), whole[2:])
    True
    """

    def __init__(self, key: tuple[int, ...], places: Sequence[int], total: int | None) -> None:
        self.key, self.places, self.total = key, [int(place) for place in places], total
        self.own = [generator_at(*key, place) for place in self.places]


Random: TypeAlias = Generator | BatchGenerator | None


def normal(shape: Sequence[int], random: Random, dtype: torch.dtype | None = None) -> Tensor:
    """Standard normal numbers for the images of a batch, `shape` = [N, …], on the CPU."""
    return _drawn(torch.randn, shape, random, dtype=dtype)


def uniform(shape: Sequence[int], random: Random) -> Tensor:
    """Uniform numbers in [0, 1) for the images of a batch, `shape` = [N, …], on the CPU."""
    return _drawn(torch.rand, shape, random)


def strata(count: int, random: Random) -> Tensor:
    """A number in [0, 1) for each of `count` images `[count]`: one of each equal slice of the batch, in random order.

    Stratifying keeps the distribution and lowers the variance of a loss (Kingma et al. 2021, appendix I.1).
    """
    if not isinstance(random, BatchGenerator):
        return (torch.randperm(count, generator=random) + torch.rand(count, generator=random)) / count
    if random.total is None:
        # in float64: of the products of large numbers float32 keeps hardly a digit behind the point
        parts = (torch.tensor(random.places, dtype=torch.float64) * GOLDEN) % 1.0
        return parts.float().clamp(max=1.0 - 2**-24)
    slices = torch.randperm(random.total, generator=generator_at(*random.key))
    return (slices[random.places] + uniform((count,), random)) / random.total


def _drawn(draw: Any, shape: Sequence[int], random: Random, **options: Any) -> Tensor:
    if not isinstance(random, BatchGenerator):
        return draw(tuple(shape), generator=random, **options)  # type: ignore[no-any-return]
    if shape[0] != len(random.own):
        raise ValueError(f"{shape[0]} images, and random numbers for {len(random.own)}")
    return torch.stack([draw(tuple(shape[1:]), generator=own, **options) for own in random.own])
