"""The upscaling stage: real pictures, averaged down, to the detail that is lost by that."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from cxr_ldm.callbacks.grids import ImageGrid
from cxr_ldm.data.batches.images import Crop, ImageDataModule
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.splits import evenly
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.enlarging import STEPS, enlarged, where_a_lung_is, without_model
from cxr_ldm.networks.blocks import channels_last, parameter_count
from cxr_ldm.networks.upscaler import Strength, Upscaler, strength_of
from cxr_ldm.randomness import Random
from cxr_ldm.stages.optimisation import MakeOptimizer, clip, finite, optimisation, training_noise, validation_noise
from cxr_ldm.stages.plan import Contents, Plan
from cxr_ldm.stages.recipe import Recipe

MEASURED = 100  # training images whose detail says how large it is
UNKNOWN = Strength(1.0, 0.0)
SHOWN = 128  # pixels a side of the pictures of a validation


class UpscalerStage(lightning.LightningModule):
    """Trains the flow of detail, from pixels in [-1, 1].

    Validation reports the loss of whole images at noise and times that each image's row decides.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        loss: DiffusionLoss,
        optimizer: MakeOptimizer,
        warmup_steps: int,
        last_rate: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.denoiser, self.loss, self.optimizer = denoiser, loss, optimizer
        self.warmup_steps, self.last_rate, self.seed = warmup_steps, last_rate, seed

    @property
    def upscaler(self) -> Upscaler:
        return self.denoiser.network  # type: ignore[return-value]

    def error(self, pixels: Tensor, random: Random) -> Tensor:
        """The loss of a batch; no network can bring it to 0, as the means of the noise are no detail."""
        small, detail = self.upscaler.detail_of(pixels)
        unused = torch.ones(len(pixels), 1, device=pixels.device)
        return self.loss(self.denoiser, detail, small, unused, random)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        loss = self.error(batch["pixels"], training_noise(self, 0, batch, batch_index))
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return finite(loss, self, batch["row"])

    def networks(self) -> list[nn.Module]:
        """What is worth compiling."""
        return [self.upscaler]

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        loss = self.error(batch["pixels"], validation_noise(self, 1, batch))
        self.log("val/loss", loss, prog_bar=True, batch_size=len(batch["pixels"]), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        total = int(self.trainer.estimated_stepping_batches)
        weights = [*self.denoiser.parameters(), *self.loss.parameters()]
        return optimisation([(weights, 1.0)], self.optimizer, self.warmup_steps, total, self.last_rate)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By the norm of all gradients."""
        clip(self, [group["params"] for group in optimizer.param_groups], gradient_clip_val)


class UpscalerPlan(Plan):
    """A run of stage=upscaler.

    Args:
        network: makes an upscaler with fresh weights, for detail of a strength.
        diffusion: a network with its schedule, scaling and loss.
        specs: what a bundle says that upscaler, schedule and scaling are built from.
        side: in pixels of the random squares that are trained on.
    """

    kind, monitor = "upscaler", ("val/loss", "min")

    def __init__(
        self,
        prepared: Prepared,
        recipe: Recipe,
        seed: int,
        network: Callable[[Strength], Upscaler],
        diffusion: Callable[[nn.Module], tuple[Denoiser, DiffusionLoss]],
        specs: Mapping[str, Mapping[str, Any]],
        side: int,
    ) -> None:
        super().__init__(prepared, recipe, seed)
        self.network, self.diffusion, self.specs, self.side = network, diffusion, specs, side

    def check(self, folder: Path) -> None:
        """Refuses squares and pictures that the factor does not divide, or squares larger than the pictures."""
        factor, size = self.network(UNKNOWN).factor, self.prepared.size
        for key, side in (("data.size", size), ("training.upscaler.side", self.side)):
            if side % factor:
                raise UserError(f"{key}={side} must be a multiple of {factor}, by which the upscaler enlarges.")
        if self.side > size:
            raise UserError(f"training.upscaler.side={self.side} must be at most {size}, the side of the images.")

    def module(self, folder: Path) -> UpscalerStage:
        """Measures the detail of training images."""
        torch.manual_seed(self.seed)
        pictures = self.prepared.pixels(evenly(self.prepared.rows("train"), MEASURED))
        strength = strength_of(pictures, self.network(UNKNOWN).factor)
        upscaler = channels_last(self.network(strength))
        denoiser, loss = self.diffusion(upscaler)
        loss.check(denoiser)
        print(
            f"upscaler: {parameter_count(upscaler) / 1e6:.2f}M parameters, {upscaler.factor} times larger; grain is "
            f"{strength.grain / 2:.2%} of the grey range, texture {strength.texture:.2f} of the contrast"
        )
        recipe = self.recipe
        return UpscalerStage(denoiser, loss, recipe.optimizer, recipe.warmup_steps, recipe.last_rate, self.seed)

    def data(self) -> ImageDataModule:
        """Squares of images."""
        recipe, crop = self.recipe, Crop(self.side, self.recipe.images, self.seed)
        stretch = recipe.periods().images
        return ImageDataModule(self.prepared, recipe.batch_size, stretch, self.seed, recipe.workers, crop=crop)

    def callbacks(self, folder: Path) -> list[lightning.Callback]:
        """A part of validation images, as they were, interpolated, and enlarged."""
        rows = evenly(self.prepared.rows("val"), 8)
        original = where_a_lung_is(self.prepared.pixels(rows), min(SHOWN, self.side))

        def draw(module: Any) -> Tensor:
            small, _ = module.upscaler.detail_of(original)
            made = enlarged(module.denoiser, small.to(module.device), rows.tolist(), Sampling(STEPS)).cpu()
            return torch.cat([original, without_model(small, module.upscaler.factor), made])

        captions = [word for word in ("radiograph", "interpolated", "enlarged") for _ in rows]
        return [ImageGrid(draw, folder / "samples", len(rows), captions)]

    def contents(self, module: UpscalerStage) -> Contents:
        parts = {
            "upscaler": module.upscaler,
            "schedule": module.denoiser.schedule,
            "scaling": module.denoiser.scaling,
        }
        specs = {**self.specs, "upscaler": {**self.specs["upscaler"], **module.upscaler.strength._asdict()}}
        return Contents(specs, parts, {})

    def stated(self) -> dict[str, Any]:
        return {"split": "val", "noise": "fixed for each image"}
