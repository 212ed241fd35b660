"""A stage of one's own: the grey that is nearest to all images."""

from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from cxr_ldm.bundle import Bundle
from cxr_ldm.commands.measuring import collection_of, measures_of
from cxr_ldm.commands.stages import Built, built, recipe_of
from cxr_ldm.data.batches.images import ImageDataModule
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.metrics.results import Metric
from cxr_ldm.stages.plan import Contents, Plan


class Grey(nn.Module):
    """One number for all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))


class GreyStage(lightning.LightningModule):
    """Its loss is the mean squared error."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__()
        self.grey, self.optimizer, self.gradient_norm = Grey(), optimizer, 0.0

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        return (batch["pixels"] - self.grey.level).square().mean()

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self.log("val/loss", self.training_step(batch, batch_index), batch_size=len(batch["pixels"]))

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.parameters())


class GreyPlan(Plan):
    """A run of stage=toy."""

    kind, monitor, files = "toy", ("val/loss", "min"), ("bundle", "metrics.json")

    def check(self, folder: Path) -> None:
        pass

    def module(self, folder: Path) -> GreyStage:
        return GreyStage(self.recipe.optimizer)

    def data(self) -> ImageDataModule:
        return ImageDataModule(self.prepared, self.recipe.batch_size, self.recipe.periods().images, self.seed)

    def contents(self, module: GreyStage) -> Contents:
        return Contents({"grey": {"part": f"{__name__}.Grey"}}, {"grey": module.grey}, {})

    def stated(self) -> dict[str, Any]:
        return {"split": "val"}


def plan(cfg: Any, prepared: Prepared) -> Built:
    """From a config to a run."""
    recipe = cfg.training.vae
    return built(cfg, GreyPlan(prepared, recipe_of(recipe), cfg.seed), "grey", recipe, {})


def measure(cfg: Any, bundle: Bundle, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """The mean error, and whatever measures of their own a config has."""
    data = collection_of(cfg, prepared)
    real = prepared.pixels(data.rows)
    images = bundle.parts["grey"].level.detach().expand_as(real)
    error = (images - real).abs().mean().item()
    found = {"mae": Metric(error, len(real), False, settings={"split": cfg.split}, reason="a toy")}
    return found | measures_of(cfg).own(images, real)
