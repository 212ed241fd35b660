"""Ending a run when a queue or a person asks for it, without losing a step."""

import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from cxr_ldm.errors import Paused

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class Stop(Callback):
    """On SIGTERM, SIGUSR1, SIGUSR2 or Ctrl-C, a checkpoint at the next optimiser step, and the end; a second Ctrl-C
    ends at once.

    Where SIGUSR1 or SIGUSR2 was handled before, as submitit does, who queues the job again, that is called at the end.

    The step after it is a function of the checkpoint, within a stretch as at its end (see `StreamDataModule`). A
    validation that has begun is finished first, since it stands before the checkpoint of its stretch. One of several
    processes that hears the signal tells the others.

    Stands behind the callbacks that change what a checkpoint holds, such as EMA.

    Args:
        checkpoint: the file from which the run is resumed.

    Attributes:
        asked: name of the signal that came; None: there was none.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.asked: str | None = None
        self.again: Callable[[int, FrameType | None], Any] | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # in place of Lightning's own, which puts back those of before when it ends
        for number in SIGNALS:
            before = signal.signal(number, self._ask)
            if number in (signal.SIGUSR1, signal.SIGUSR2) and callable(before) and before != self._ask:
                self.again = before

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
        trainer.save_checkpoint(self.checkpoint)
        raise self._paused(trainer)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False):
            raise self._paused(trainer)

    def at_the_end(self, trainer: lightning.Trainer) -> None:
        """Raises Paused where the signal came in the last stretch: what is left is done by the same command."""
        if trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False):
            raise self._paused(trainer)

    def _paused(self, trainer: lightning.Trainer) -> Paused:
        """What is raised; where the job can be queued again, that is asked for, which ends the process."""
        run = self.checkpoint.parent.parent
        pause = Paused(
            f"stopped by {self.asked or 'a signal'} at step {trainer.global_step}, with a checkpoint there; {run} is "
            "unfinished, and the same command goes on."
        )
        if self.again is not None and self.asked != "SIGINT":
            print(pause)
            self.again(signal.SIGUSR2, None)
        return pause
