"""The step at which the top layers of a text encoder begin to train."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.text.unfreezing import Unfreezing


class Unfreeze(Callback):
    """Keeps gradients from `text_encoder.top` until `at_step` optimiser steps were taken.

    The weights stand in the optimiser and in DistributedDataParallel from the start, at a gradient of zero; taking
    even that away before clipping and the step makes AdamW pass them over, weight decay and moments included.
    Whether they train is a function of the global step alone, so a resumed run needs no state of this callback.
    """

    def __init__(self, unfreezing: Unfreezing) -> None:
        self.unfreezing = unfreezing

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        encoder = pl_module.text_encoder
        encoder.top_trains = trainer.global_step > self.unfreezing.at_step
        self._log(trainer, pl_module)
        steps = int(trainer.estimated_stepping_batches)
        if steps <= self.unfreezing.at_step:
            pl_module.print(
                f"text_encoder.unfreeze.at_step={self.unfreezing.at_step} is not before the run's end at {steps}: "
                "the text encoder stays frozen"
            )

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        encoder, step = pl_module.text_encoder, trainer.global_step
        if encoder.top_trains or step < self.unfreezing.at_step:
            return
        encoder.top_trains = True
        self._log(trainer, pl_module)
        pl_module.print(
            f"step {step}: the top {len(encoder.top)} layers of the text encoder train now "
            f"({parameter_count(encoder.top) / 1e6:.2f}M parameters)"
        )

    def on_before_optimizer_step(self, trainer: lightning.Trainer, pl_module: Any, optimizer: Any) -> None:
        if not pl_module.text_encoder.top_trains:
            pl_module.text_encoder.top.zero_grad()

    def _log(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        held = 0 if pl_module.text_encoder.top_trains else parameter_count(pl_module.text_encoder.top)
        count = parameter_count(pl_module, trainable_only=True) - held
        for logger in trainer.loggers:
            logger.log_metrics({"trainable_parameters": count}, step=trainer.global_step)
