"""The processes that share a training run, and what they tell each other; in a run of one, nothing."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

Made = TypeVar("Made")


def count() -> int:
    """How many processes share the run."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def number() -> int:
    """Which of them this is; the first is 0, and it alone prints and writes."""
    return distributed.get_rank() if count() > 1 else 0


def summed(values: Tensor) -> Tensor:
    """The sum over the processes, of values without a graph."""
    if count() == 1:
        return values
    values = values.detach().clone()
    distributed.all_reduce(values)
    return values


def gathered(values: Tensor) -> Tensor:
    """The values of all processes `[count·N, …]`, in their order, without a graph; N is the same in each."""
    if count() == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(count())]
    distributed.all_gather(parts, values.detach().contiguous())
    return torch.cat(parts)


def of_first(value: Any) -> Any:
    """What the first process holds."""
    if count() == 1:
        return value
    held = [value]
    distributed.broadcast_object_list(held)
    return held[0]


def leave() -> None:
    """What follows is done by this process alone."""
    if count() > 1:
        distributed.destroy_process_group()


def wait() -> None:
    """Until every process has come as far."""
    if count() > 1:
        distributed.barrier()


def first_alone(make: Callable[[], Made]) -> Made:
    """What `make` gives, once the first process has made it: the others find on the disk what it left."""
    if number() > 0:
        wait()
        return make()
    made = make()
    wait()
    return made
