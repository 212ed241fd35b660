"""Training in slices, for machines that are lent by the hour."""

import time

import lightning
from lightning.pytorch.callbacks import Callback


class Slice(Callback):
    """Stops a run at its first checkpoint after `minutes`; what is left is done by the same command.

    Attributes:
        over: whether it was this that stopped the run, before its end.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes, self.over = minutes, False

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.start = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        last = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs
        late = time.monotonic() - self.start >= 60 * self.minutes
        # each process has a clock of its own
        if trainer.strategy.reduce_boolean_decision(late, all=False) and not last and not trainer.should_stop:
            trainer.should_stop = self.over = True
