"""The curves of a run as a table in its folder, whatever logger is chosen, and however often the run was resumed."""

import csv
import os
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

FIELDS = ("step", "name", "value")
HISTORY = "history.csv"


class History(Callback):
    """Appends what the stage logs, every `every` steps and at each validation, as rows of step, name, value.

    A resumed run takes back the rows behind its checkpoint, so each step stands there once.

    Args:
        folder: of the run; receives history.csv.
        every: steps between two rows of the training: loss, learning rates, and what else `train/` names.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.path, self.every = folder / HISTORY, every
        self.written = -1

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        kept = [row for row in read_history(self.path) if row["step"] <= trainer.global_step]
        partial = self.path.with_name(f".{self.path.name}.partial")
        with open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(partial, self.path)
        self.written = trainer.global_step

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % self.every == 0 and step > self.written:  # accumulation ends several batches at one step
            self._append(trainer, ("train/", "lr-"))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._append(trainer, ("val/",))

    def _append(self, trainer: lightning.Trainer, starts: tuple[str, ...]) -> None:
        if not trainer.is_global_zero:
            return
        step = self.written = trainer.global_step
        found = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(starts)}
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, FIELDS).writerows(
                {"step": step, "name": name, "value": value} for name, value in found.items()
            )


def read_history(path: Path) -> list[dict[str, Any]]:
    """Rows of a history.csv with step as int and value as float; none where there is no file.

    A last row that was cut by a kill is left out.
    """
    if not path.is_file():
        return []
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                rows.append({"step": int(row["step"]), "name": row["name"], "value": float(row["value"])})
            except (TypeError, ValueError):
                break
    return rows
