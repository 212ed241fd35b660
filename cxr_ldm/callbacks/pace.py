"""How fast a run goes and how large its gradients are, for every logger and the history."""

import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from cxr_ldm.metrics.results import peak_bytes


class Pace(Callback):
    """Logs `train/images_per_second`, `train/gradient_norm` (before clipping), `train/memory_gb` every `every` steps.

    Memory is the most so far: what torch took on the GPU, or on a CPU the whole process.

    The clock stands still while a validation runs. A stage with several groups of gradients gives the largest norm.

    Args:
        every: steps between two values, as of the loggers.
    """

    def __init__(self, every: int) -> None:
        self.every, self.images, self.since, self.written = every, 0, 0.0, -1

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._restart()
        self.written = trainer.global_step

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._restart()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch["row"]) * trainer.world_size
        step = trainer.global_step
        if step % self.every or step == self.written:  # accumulation ends several batches at one step
            return
        self.written = step
        pl_module.log("train/images_per_second", self.images / (time.monotonic() - self.since), batch_size=1)
        norm: Any = pl_module.gradient_norm
        pl_module.log("train/gradient_norm", norm, batch_size=1)
        pl_module.log("train/memory_gb", memory(pl_module.device) / 1e9, batch_size=1)
        self._restart()

    def _restart(self) -> None:
        self.images, self.since = 0, time.monotonic()


def memory(device: torch.device) -> int:
    """Most bytes that this process has held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_bytes()
