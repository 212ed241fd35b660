"""Ending a run when a queue or a person asks for it, without losing a step."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from cxr_ldm.errors import Paused


class Stop(Callback):
    """On SIGTERM or Ctrl-C, a checkpoint at the next optimiser step, and the end; a second Ctrl-C ends at once.

    The step after it is a function of the checkpoint, within a stretch as at its end (see `StreamDataModule`). A
    validation that has begun is finished first, since it stands before the checkpoint of its stretch. Several
    processes, whose samplers Lightning divides, end without a checkpoint of their own and repeat a part of a stretch.

    Stands behind the callbacks that change what a checkpoint holds, such as EMA.

    Args:
        checkpoint: the file from which the run is resumed.

    Attributes:
        asked: name of the signal that came; None: there was none.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.asked: str | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # in place of Lightning's own, which puts back those of before when it ends
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.asked == "SIGINT":
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False):
            return
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # the end of the stretch has its own checkpoint; half a step has none
        if trainer.world_size == 1:
            trainer.save_checkpoint(self.checkpoint)
        raise self._paused(trainer)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False):
            raise self._paused(trainer)

    def at_the_end(self, trainer: lightning.Trainer) -> None:
        """Raises Paused where the signal came in the last stretch: what is left is done by the same command."""
        if self.asked is not None:
            raise self._paused(trainer)

    def _paused(self, trainer: lightning.Trainer) -> Paused:
        kept = "with a checkpoint there" if trainer.world_size == 1 else "and goes on from the checkpoint before it"
        run = self.checkpoint.parent.parent
        return Paused(
            f"stopped by {self.asked or 'a signal'} at step {trainer.global_step}, {kept}; {run} is unfinished, and "
            "the same command goes on."
        )
