"""The classifier stage: real radiographs to the findings that they show."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm import ranks
from cxr_ldm.data.batches.images import ImageDataModule
from cxr_ldm.data.batches.transforms import Augment
from cxr_ldm.data.findings.targets import Targets, all_targets, is_sided, learnable
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.dtypes import wide
from cxr_ldm.metrics.modular import FindingAUROC
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.networks.classifier import Classifier
from cxr_ldm.stages.optimisation import MakeOptimizer, clip, finite, optimisation
from cxr_ldm.stages.plan import Contents, Plan
from cxr_ldm.stages.recipe import Recipe


def masked_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy in nats, as the mean over the known targets; NaN is unknown and does not count.

    No class is weighted: rare ones train more slowly, but probabilities stay those of the training set, which the
    retrieval of prompts needs, and AUROC does not depend on a threshold.

    Args:
        logits: float `[N,C]`.
        targets: float `[N,C]`: 1 shown, 0 not shown, NaN unknown; at least one is known.

    >>> round(masked_cross_entropy(torch.zeros(1, 2), torch.tensor([[1.0, torch.nan]])).item(), 4)
    0.6931
    """
    known = ~targets.isnan()
    return functional.binary_cross_entropy_with_logits(wide(logits[known]), targets[known].to(wide(logits)))


class ClassifierStage(lightning.LightningModule):
    """Trains a finding classifier on batches of `pixels [B,1,H,W]`, `targets [B,C]` and `source [B]`.

    Validation reports AUROC of each class, over pairs of one source, and its mean over the findings without their
    sides; no training opens the test split.
    """

    def __init__(
        self, network: Classifier, optimizer: MakeOptimizer, warmup_steps: int, last_rate: float, seed: int
    ) -> None:
        super().__init__()
        self.network, self.optimizer, self.seed = network, optimizer, seed
        self.warmup_steps, self.last_rate = warmup_steps, last_rate
        self.val_auroc = FindingAUROC(network.classes)

    def networks(self) -> list[nn.Module]:
        """What is worth compiling."""
        return [self.network]

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        loss = masked_cross_entropy(self.network(batch["pixels"]), batch["targets"])
        known = (~batch["targets"].isnan()).sum()
        # several processes average their gradients, and each knows another number of targets
        loss = loss * (known * ranks.count() / ranks.summed(known))
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return finite(loss, self, batch["row"])

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Log the loss of one batch and keep what AUROC needs."""
        logits = self.network(batch["pixels"])
        loss = finite(masked_cross_entropy(logits, batch["targets"]), self, batch["row"])
        self.val_auroc.update(logits, batch["targets"], batch["source"])
        self.log("val/loss", loss, prog_bar=True, batch_size=int((~batch["targets"].isnan()).sum()), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log AUROC of each class that can be measured, and the mean of those that are no side."""
        values = self.val_auroc.compute()
        self.val_auroc.reset()
        for name, value in values.items():
            self.log(f"val/auroc_{name.replace(' ', '_')}", value)
        plain = [value for name, value in values.items() if not is_sided(name)]
        if plain:
            self.log("val/auroc_mean", torch.stack(plain).mean(), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        total = int(self.trainer.estimated_stepping_batches)
        return optimisation(
            [(self.network.parameters(), 1.0)], self.optimizer, self.warmup_steps, total, self.last_rate
        )

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By the norm of all gradients, which must be finite."""
        clip(self, [self.parameters()], gradient_clip_val)


class ClassifierPlan(Plan):
    """A run of stage=classifier.

    Args:
        network: makes a classifier of these classes with fresh weights.
        spec: what its bundle says that it is built from, beside the classes.
        min_images: training images that show a class, and that do not; a class with fewer is left out.
        augment: changes training images.
        facts: for its bundle besides.

    Raises:
        UserError: no class is left.
    """

    # AUROC may have no pair in a small validation split
    kind, monitor, files = "classifier", ("val/loss", "min"), ("bundle", "metrics.json")

    def __init__(
        self,
        prepared: Prepared,
        recipe: Recipe,
        seed: int,
        network: Callable[[Sequence[str]], Classifier],
        spec: Mapping[str, Any],
        min_images: int,
        augment: Augment | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(prepared, recipe, seed)
        self.network, self.spec, self.min_images, self.augment = network, spec, min_images, augment
        self.facts = dict(facts or {})
        self.targets = learnable(all_targets(prepared.manifest), prepared.rows("train"), min_images)

    def check(self, folder: Path) -> None:
        """Refuses a size that is too small."""
        self.network(self.targets.classes).features(self.prepared.pixels(self.prepared.rows("val")[:1]))

    def module(self, folder: Path) -> ClassifierStage:
        torch.manual_seed(self.seed)
        network = self.network(self.targets.classes)
        print(described(self.targets, parameter_count(network), self.min_images))
        recipe = self.recipe
        return ClassifierStage(network, recipe.optimizer, recipe.warmup_steps, recipe.last_rate, self.seed)

    def data(self) -> ImageDataModule:
        recipe = self.recipe
        stretch = recipe.periods().images
        return ImageDataModule(
            self.prepared, recipe.batch_size, stretch, self.seed, recipe.workers, self.augment, self.targets
        )

    def heaviest(self, module: ClassifierStage) -> tuple[nn.Module, Callable[[nn.Module, int], Any]]:
        side = self.prepared.size

        def step(network: nn.Module, count: int) -> Tensor:
            device = next(network.parameters()).device
            return network(torch.zeros(count, 1, side, side, device=device))  # type: ignore[no-any-return]

        return module.network, step

    def contents(self, module: ClassifierStage) -> Contents:
        """With the shares of each class in training, which its probabilities mean."""
        targets, train = self.targets, self.prepared.rows("train")
        info = {
            "classes": targets.classes,
            "prevalence": targets.prevalence(train[targets.known[train]]),
            "left_out": targets.left_out,
            **self.facts,
        }
        specs = {"classifier": {**self.spec, "classes": targets.classes}}
        return Contents(specs, {"classifier": module.network}, info)

    def measured(self) -> int:
        return int(self.targets.known[self.prepared.rows("val")].sum())

    def stated(self) -> dict[str, Any]:
        return {"split": "val", "pairs": "of one source", "unknown": "left out", "left_out": self.targets.left_out}


def described(targets: Targets, parameters: int, least: int) -> str:
    """What is trained, and what is left out."""
    text = f"classifier: {parameters / 1e6:.2f}M parameters, {len(targets.classes)} classes: "
    text += ", ".join(targets.classes)
    if targets.left_out:
        few = ", ".join(f"{name} {count}" for name, count in targets.left_out.items())
        text += f"\nleft out, with fewer than {least} training images that show them or that do not: {few}"
    unknown = int(np.sum(~targets.known))
    return text + (f"\n{unknown} images of which none is known take no part" if unknown else "")
