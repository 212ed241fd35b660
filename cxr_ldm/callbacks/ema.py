"""Exponential moving average of the weights, through Lightning's own callback."""

from collections.abc import Sequence

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn


class EMA(WeightAveraging):
    """average <- decay_n * average + (1 - decay_n) * weights after every optimiser step.

    decay_n = min(decay, (1 + n) / (10 + n)): the average forgets its random start quickly
    (the warm-up of Tensorflow's ExponentialMovingAverage). Validation and the final bundle use
    the average; checkpoints hold both.
    """

    def __init__(self, decay: float) -> None:
        def average(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
            n = int(count)
            torch._foreach_lerp_(list(averaged), list(current), 1.0 - min(decay, (1 + n) / (10 + n)))

        super().__init__(use_buffers=False, multi_avg_fn=torch.no_grad()(average))

    def follow(self, module: nn.Module) -> None:
        """Take the weights of `module`, which a run ends with, as the average, so that a validation sees them."""
        if self._average_model is not None:
            self._average_model.module.load_state_dict(module.state_dict())
