"""Image grids at each validation: in the run folder, and where the logger shows pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from cxr_ldm.imaging.grids import animate, save_grid
from cxr_ldm.loggers import log_picture

Draw = Callable[[lightning.LightningModule], Tensor]


class ImageGrid(Callback):
    """After each validation, draw the same images again and keep the picture; at the end, join all into training.gif.

    Stands before EMA in the list of callbacks, so that it sees the averaged weights.

    Args:
        draw: the module -> images `[N,1,H,W]` in [-1, 1].
        folder: receives step_00001234.png.
        columns: images a row.
        captions: one for each image.
    """

    def __init__(self, draw: Draw, folder: Path, columns: int, captions: Sequence[str] | None = None) -> None:
        self.draw, self.folder, self.columns, self.captions = draw, folder, columns, captions

    @torch.inference_mode()
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        path = self.folder / f"step_{trainer.global_step:08d}.png"
        save_grid(path, self.draw(pl_module), self.columns, self.captions)
        log_picture(trainer.loggers, "samples", path, trainer.global_step)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        frames = sorted(self.folder.glob("step_*.png"))
        if not trainer.is_global_zero or not frames:
            return
        path = animate(frames, self.folder / "training.gif")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_video("training", [str(path)], format=["gif"])
