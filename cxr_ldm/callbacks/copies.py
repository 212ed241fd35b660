"""A look for copies at each validation, and the end of a run that begins to make them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from cxr_ldm.callbacks.grids import Draw
from cxr_ldm.errors import UserError

CLEAN = "clean.ckpt"  # beside last.ckpt: the last look that found nothing


class Copies(Callback):
    """Draws the same samples at each validation and logs what they show; with `stop` the first alarm ends the run.

    After each look without an alarm the checkpoint is kept as clean.ckpt; of a run that was stopped it makes the
    bundle. What a look decides is a function of the weights, so a run that was killed decides the same again.
    Stands before EMA in the list of callbacks, so that it sees the averaged weights.

    Args:
        draw: the module -> samples `[N,1,H,W]` in [-1, 1].
        look: samples -> values by name.
        alarms: whether values raise an alarm.
        folder: of the checkpoints.
        stop: whether an alarm ends the run.

    Attributes:
        alarm: optimiser step of the first alarm; None: there was none.
        clean: optimiser step of the last look before it; None: there was none.
    """

    def __init__(
        self,
        draw: Draw,
        look: Callable[[Tensor], dict[str, float]],
        alarms: Callable[[dict[str, float]], bool],
        folder: Path,
        stop: bool,
    ) -> None:
        self.draw, self.look, self.alarms, self.folder, self.stop = draw, look, alarms, folder, stop
        self.alarm: int | None = None
        self.clean: int | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"alarm": self.alarm, "clean": self.clean}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.alarm, self.clean = state_dict["alarm"], state_dict["clean"]

    @property
    def stopped(self) -> bool:
        """Whether an alarm ended the run."""
        return self.stop and self.alarm is not None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.stopped:
            trainer.should_stop = True

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        values = self.look(self.draw(pl_module))
        pl_module.log_dict(values, rank_zero_only=True)
        if not self.alarms(values):
            self.clean = trainer.global_step if self.alarm is None else self.clean
        elif self.alarm is None:
            self.alarm = trainer.global_step
            print(
                f"step {self.alarm}: samples are nearer to training images than to held-out ones "
                f"(excess {values['val/copies_excess']:.3f} in pixels, p = {values['val/copies_p']:.4f})"
            )
            if self.stop:
                trainer.should_stop = True

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.stop and self.alarm is None and self.clean == trainer.global_step:
            trainer.save_checkpoint(self.folder / CLEAN)

    def checkpoint(self) -> Path:
        """The checkpoint that a stopped run ends with.

        Raises:
            UserError: the first look already raised the alarm.
        """
        if self.clean is None:
            raise UserError(
                f"stop=copies: the first look, at step {self.alarm}, already finds copies, and no checkpoint before it "
                "was looked at; shorten training.ldm.validate_every."
            )
        return self.folder / CLEAN
