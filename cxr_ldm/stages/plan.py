"""What a stage contributes to a training run: its network, its data, its bundle. One file is all that a stage takes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import nn

from cxr_ldm import lineage
from cxr_ldm.bundle import Bundle
from cxr_ldm.data.batches.images import StreamDataModule
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.stages.recipe import Recipe


@dataclass(frozen=True)
class Contents:
    """What a run leaves as its bundle.

    Attributes:
        specs: for each part what it is built from again, as `save_bundle` takes it.
        parts: the trained objects.
        info: facts about it beside those of every run.
    """

    specs: dict[str, Any]
    parts: dict[str, Any]
    info: dict[str, Any]


def ancestry(ancestor: Bundle) -> dict[str, Any]:
    """Facts for the bundle of what starts from another: which, and the data of it and of those before it."""
    return {"init": ancestor.sha256, **lineage.before(ancestor.info)}


class Plan(ABC):
    """One training run of a stage.

    Attributes:
        kind: of its bundle.
        monitor: metric and mode ("min" or "max") for early stopping.
        files: in the run's folder that its last lines name.
        made_from: the bundles that it starts from or builds on.
    """

    kind: str
    monitor: tuple[str, str]
    files: Sequence[str] = ("bundle", "samples", "metrics.json")
    made_from: Sequence[Bundle] = ()

    def __init__(self, prepared: Prepared, recipe: Recipe, seed: int) -> None:
        self.prepared, self.recipe, self.seed = prepared, recipe, seed

    @abstractmethod
    def check(self, folder: Path) -> None:
        """Raises UserError where the parts cannot work together, before anything is written to the run's `folder`."""

    @abstractmethod
    def module(self, folder: Path) -> lightning.LightningModule:
        """What is trained, with fresh weights; prints what it is."""

    @abstractmethod
    def data(self) -> StreamDataModule:
        """Its batches; called after `module`."""

    def callbacks(self, folder: Path) -> list[Callback]:
        """Pictures and looks at each validation; called after `module`."""
        return []

    def heaviest(self, module: Any) -> tuple[nn.Module, Callable[[nn.Module, int], Any]]:
        """The network whose activations fill the memory in training, and what calls it with a number of images.

        Raises:
            UserError: the stage does not say.
        """
        raise UserError("trainer.memory_gb= is for stage=vae, ldm and classifier; leave it out for this stage.")

    @abstractmethod
    def contents(self, module: Any) -> Contents:
        """The bundle of the trained module."""

    def measured(self) -> int:
        """Images behind the metrics of the last validation."""
        return len(self.prepared.rows("val"))

    @abstractmethod
    def stated(self) -> dict[str, Any]:
        """How these were measured, for their settings."""
