"""What the stages share: the learning-rate course, their random numbers, and a look at losses and gradients."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cxr_ldm import ranks
from cxr_ldm.errors import UserError
from cxr_ldm.randomness import BatchGenerator

MakeOptimizer = Callable[[list[dict[str, Any]]], Optimizer]


def warmup_cosine(step: int, warmup: int, total: int, last: float) -> float:
    """Factor on the learning rate: linear from 0 over `warmup` steps, then a half cosine down to `last`.

    >>> [round(warmup_cosine(step, 2, 10, 0.1), 2) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.55, 0.1]
    """
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * done))


def optimisation(
    groups: Iterable[tuple[Iterable[nn.Parameter], float]],
    make: MakeOptimizer,
    warmup: int,
    total: int,
    last: float,
) -> OptimizerLRScheduler:
    """What `configure_optimizers` returns: the parameters that train, by group, and a rate that changes each step.

    Args:
        groups: parameters, and a factor on their learning rate.
    """
    weights, factors = zip(*groups, strict=True)
    optimizer = make([{"params": [weight for weight in group if weight.requires_grad]} for group in weights])
    for group, factor in zip(optimizer.param_groups, factors, strict=True):
        group["lr"] *= factor
    schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, total, last))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def training_noise(module: Any, stream: int, batch: Mapping[str, Tensor], batch_index: int) -> BatchGenerator:
    """What is drawn for a training batch, of which each process of the run has an equal part."""
    count = len(batch["row"])
    places = range(ranks.number() * count, (ranks.number() + 1) * count)
    key = (module.seed, stream, batch_number(module, batch_index))
    return BatchGenerator(key, places, ranks.count() * count)


def validation_noise(module: Any, stream: int, batch: Mapping[str, Tensor]) -> BatchGenerator:
    """The same for an image at every validation, so that two of them compare, and in every batch."""
    return BatchGenerator((module.seed, stream), batch["row"].tolist(), None)


def clip(module: Any, groups: Iterable[Iterable[nn.Parameter]], largest: float | None) -> None:
    """Scale the gradients of each group down to a norm of `largest`; None leaves them as they are.

    The module keeps the largest norm, before that, as its `gradient_norm`.

    Raises:
        UserError: they are not finite, so that the step would make every weight so. In float16 the step is left out
            instead, by the gradient scaler.
    """
    norms = [nn.utils.clip_grad_norm_(list(weights), largest or float("inf")) for weights in groups]
    norm = module.gradient_norm = torch.stack(norms).max()
    if not torch.isfinite(norm) and module.trainer.precision != "16-mixed":
        unchecked = getattr(module, "unchecked", None)
        if unchecked is not None:
            loss, rows = unchecked
            check_loss(loss, rows, module)
        raise UserError(
            f"the gradient is {norm.item()} at step {module.global_step} (precision {module.trainer.precision}); lower "
            "the learning rate, or train with trainer.precision=32."
        )


def finite(loss: Tensor, module: Any, rows: Tensor) -> Tensor:
    """The loss itself; a NaN or an infinity stops the run, before any weight changes.

    On a GPU to ask would be to wait for it, so the question is left to `clip`, which waits anyway.

    Raises:
        UserError: as `check_loss`.
    """
    later = left_to_clip(loss, module)
    module.unchecked = (loss.detach(), rows) if later else None
    if not later:
        check_loss(loss, rows, module)
    return loss


def left_to_clip(loss: Tensor, module: Any) -> bool:
    """Whether `clip` looks at a loss; in float16 it lets gradients pass that are not finite."""
    return loss.is_cuda and module.training and module.trainer.precision != "16-mixed"


def check_loss(loss: Tensor, rows: Tensor, module: Any) -> None:
    """Raises UserError where the loss is not finite; names the step, the images and the precision."""
    if not torch.isfinite(loss):
        ids = module.trainer.datamodule.prepared.ids(rows.cpu().numpy())
        raise UserError(
            f"the loss is {loss.item()} at step {module.global_step} (images {', '.join(ids)}; precision "
            f"{module.trainer.precision}); lower the learning rate, or train with trainer.precision=32."
        )


def batch_number(module: Any, batch_index: int) -> int:
    """The number of this training batch since the beginning of the run, also after a resume."""
    return module.current_epoch * module.trainer.num_training_batches + batch_index
