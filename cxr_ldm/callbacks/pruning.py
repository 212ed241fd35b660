"""What a trial of a search is told at each validation, and its early end."""

from dataclasses import dataclass, field
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback


@dataclass
class Watched:
    """The trial that this process is running.

    Attributes:
        trial: of Optuna; None where it is not to end early.
        metric: what it is judged by, as in metrics.json.
        values: by name, what its run came to.
    """

    trial: Any
    metric: str
    values: dict[str, float] = field(default_factory=dict)


RUNNING: list[Watched] = []  # one at most


class Pruning(Callback):
    """Reports the metric of the trial at each validation; raises optuna.TrialPruned where the study gives it up."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        named = {name.replace("/", "_"): value for name, value in trainer.callback_metrics.items()}
        if self.watched.metric not in named:
            return
        from optuna import TrialPruned

        self.watched.trial.report(float(named[self.watched.metric]), trainer.global_step)
        if self.watched.trial.should_prune():
            raise TrialPruned


def pruning() -> list[Callback]:
    """The callback of the trial that runs; none where there is no trial, or it is not to end early."""
    return [Pruning(watched) for watched in RUNNING if watched.trial is not None]
