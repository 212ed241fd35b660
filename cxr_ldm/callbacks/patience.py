"""Early stopping that a resumed run remembers."""

import lightning
from lightning.pytorch.callbacks import EarlyStopping


class Patience(EarlyStopping):
    """Stops after `patience` validations without improvement; a run that was killed afterwards trains no more.

    Args:
        monitor: metric and mode ("min" or "max").
    """

    def __init__(self, monitor: tuple[str, str], patience: int) -> None:
        # at validation ends whatever the number of checkpoints between two of them
        super().__init__(monitor[0], mode=monitor[1], patience=patience, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True
