"""The VAE stage: pixels to latents and back."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from cxr_ldm import ranks
from cxr_ldm.bundle import Bundle
from cxr_ldm.callbacks.grids import ImageGrid
from cxr_ldm.checkpoints import read_checkpoint
from cxr_ldm.data.batches.images import Crop, ImageDataModule
from cxr_ldm.data.batches.transforms import Augment
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.splits import evenly
from cxr_ldm.dtypes import wide
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder, kl_divergence, sample_posterior
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.randomness import Random, normal, uniform
from cxr_ldm.stages.adversary import Adversary
from cxr_ldm.stages.optimisation import MakeOptimizer, clip, finite, optimisation, training_noise
from cxr_ldm.stages.plan import Contents, Plan, ancestry
from cxr_ldm.stages.recipe import Recipe

DATA_RANGE = 2.0  # pixels lie in [-1, 1]
# Of the learning rate, for a fitted shortcut: it is right from the start, and some of its weights are smaller than a
# step of the others.
SHORTCUT_RATE = 0.05
SHORTCUT_IMAGES = 1000  # training images whose principal components a VAE with a shortcut starts from


class VAEStage(lightning.LightningModule):
    """Trains an autoencoder by reconstruction + kl_weight * KL, both means over elements, pixels in [-1, 1].

    `reconstruction` maps reconstruction and pixels to their mean error; with an `adversary` its two terms are added.
    Validation reconstructs from the posterior's mean and reports SSIM and PSNR with a data range of 2.0 on
    reconstructions clamped to [-1, 1]; no training opens the test split.

    Args:
        latent_noise: the decoder learns from latents with noise of a size between 0 and this, drawn for each image, in
            standard deviations of each latent channel: what a diffusion model hands it is never exact
            (Zheng et al. 2025, RAE, section 4.3).
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        optimizer: MakeOptimizer,
        reconstruction: Callable[[Tensor, Tensor], Tensor],
        kl_weight: float,
        adversary: Adversary | None,
        warmup_steps: int,
        last_rate: float,
        seed: int,
        latent_noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.latent_noise = latent_noise
        self.autoencoder, self.optimizer, self.adversary = autoencoder, optimizer, adversary
        self.reconstruction, self.kl_weight = reconstruction, kl_weight
        self.warmup_steps, self.last_rate, self.seed = warmup_steps, last_rate, seed
        metrics = MetricCollection(
            {
                "ssim": StructuralSimilarityIndexMeasure(data_range=DATA_RANGE),
                "psnr": PeakSignalNoiseRatio(data_range=DATA_RANGE),
            }
        )
        self.val_metrics = metrics.clone(prefix="val/")

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        pixels = batch["pixels"]
        moments = self.autoencoder.encode(pixels)
        noise = training_noise(self, 0, batch, batch_index)
        latents = sample_posterior(moments, noise)
        if self.latent_noise:
            latents = latents + roughness(latents, self.latent_noise, noise)
        reconstruction = wide(self.autoencoder.decode(latents))
        error = self.reconstruction(reconstruction, pixels)
        divergence = kl_divergence(wide(moments))
        loss = error + self.kl_weight * divergence
        logged = {"train/reconstruction": error, "train/kl": divergence}
        if self.adversary is not None and self.progress() >= self.adversary.start:
            terms = self.adversary(pixels, reconstruction, error)
            loss = loss + terms["adversary"] + terms["discriminator"]
            logged |= {f"train/{name}": value for name, value in terms.items()}
        self.log_dict(logged, sync_dist=True)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return finite(loss, self, batch["row"])

    def networks(self) -> list[nn.Module]:
        """What is worth compiling."""
        return [self.autoencoder.encoder, self.autoencoder.decoder]

    def progress(self) -> float:
        """Share of the run's optimiser steps that are done."""
        return self.global_step / int(self.trainer.estimated_stepping_batches)

    def reconstruct(self, pixels: Tensor) -> Tensor:
        """Pixels `[N,1,H,W]` in [-1, 1] -> reconstruction from the posterior's mean, clamped to [-1, 1]."""
        mean, _ = self.autoencoder.encode(pixels).chunk(2, dim=1)
        return wide(self.autoencoder.decode(mean)).clamp(-1.0, 1.0)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self.val_metrics.update(self.reconstruct(batch["pixels"]), batch["pixels"])
        self.log_dict(self.val_metrics, prog_bar=True, batch_size=len(batch["pixels"]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        total = int(self.trainer.estimated_stepping_batches)
        linear = self.autoencoder.shortcut
        fitted = [] if linear is None else list(linear.parameters())
        others = [weight for weight in self.autoencoder.parameters() if all(weight is not one for one in fitted)]
        groups: list[tuple[list[nn.Parameter], float]] = [(others, 1.0)]
        if fitted:
            groups.append((fitted, SHORTCUT_RATE))
        if self.adversary is not None:
            groups.append((list(self.adversary.parameters()), 1.0))
        return optimisation(groups, self.optimizer, self.warmup_steps, total, self.last_rate)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By the norm of each group's gradients: the discriminator's must not shrink the autoencoder's."""
        clip(self, [group["params"] for group in optimizer.param_groups], gradient_clip_val)


def roughness(latents: Tensor, largest: float, random: Random) -> Tensor:
    """Noise `[N,C,h,w]` for latents of this shape: u_n · std_c · eps with u_n uniform in [0, largest], no gradient.

    std is that of the batch, of which several processes have parts.
    """
    size = uniform((len(latents), 1, 1, 1), random) * largest
    noise = size * normal(latents.shape, random)
    return noise.to(latents) * ranks.gathered(latents.detach()).std(dim=(0, 2, 3), keepdim=True)


class VAEPlan(Plan):
    """A run of stage=vae.

    Args:
        network: makes an autoencoder with fresh weights.
        spec: what its bundle says that it is built from.
        adversary: makes the discriminator's term; returns None where there is none.
        reconstruction, kl_weight, latent_noise: as of `VAEStage`.
        crop: side in pixels of random squares that are trained on, and the share of the images, the last, that are
            seen whole; None: whole images.
        augment: changes training images.
        source: a VAE whose weights are taken over.
        encoder_too: whether all of it learns on, and not its decoder alone.

    Raises:
        UserError: the crop is larger than the images.
    """

    kind, monitor = "vae", ("val/ssim", "max")

    def __init__(
        self,
        prepared: Prepared,
        recipe: Recipe,
        seed: int,
        network: Callable[[], Autoencoder],
        spec: Mapping[str, Any],
        adversary: Callable[[], Adversary | None],
        reconstruction: Callable[[Tensor, Tensor], Tensor],
        kl_weight: float,
        latent_noise: float = 0.0,
        crop: tuple[int, float] | None = None,
        augment: Augment | None = None,
        source: Bundle | None = None,
        encoder_too: bool = False,
    ) -> None:
        super().__init__(prepared, recipe, seed)
        self.network, self.spec, self.adversary, self.source = network, spec, adversary, source
        self.encoder_too = encoder_too
        self.reconstruction, self.kl_weight, self.latent_noise = reconstruction, kl_weight, latent_noise
        self.augment, self.crop = augment, None
        if crop is not None:
            side, whole = crop
            if not 0 < side <= prepared.size:
                raise UserError(
                    f"training.vae.crop.side={side} must be at most {prepared.size}, the side of the images."
                )
            self.crop = Crop(side, round(recipe.images * (1 - whole)), seed)

    def check(self, folder: Path) -> None:
        """Refuses a size that the levels do not divide."""
        self.network().encode(self.prepared.pixels(self.prepared.rows("val")[:1]))

    def module(self, folder: Path) -> VAEStage:
        """With the shortcut fitted, or with the weights of the source."""
        torch.manual_seed(self.seed)
        autoencoder, adversary = self.network(), self.adversary()
        print(f"VAE: {parameter_count(autoencoder) / 1e6:.2f}M parameters, {autoencoder.factor} times smaller")
        autoencoder.fit_shortcut(self.prepared.pixels(evenly(self.prepared.rows("train"), SHORTCUT_IMAGES)))
        if self.source is not None:
            go_on_from(self.source, autoencoder, adversary, self.encoder_too)
        return VAEStage(
            autoencoder,
            self.recipe.optimizer,
            self.reconstruction,
            self.kl_weight,
            adversary,
            self.recipe.warmup_steps,
            self.recipe.last_rate,
            self.seed,
            self.latent_noise,
        )

    def data(self) -> ImageDataModule:
        recipe = self.recipe
        stretch = recipe.periods().images
        return ImageDataModule(
            self.prepared, recipe.batch_size, stretch, self.seed, recipe.workers, self.augment, crop=self.crop
        )

    def callbacks(self, folder: Path) -> list[lightning.Callback]:
        """Validation images above their reconstructions."""
        pixels = self.prepared.pixels(evenly(self.prepared.rows("val"), 8))

        def draw(module: Any) -> Tensor:
            return torch.cat([pixels, module.reconstruct(pixels.to(module.device)).cpu()])

        captions = ["radiograph"] * len(pixels) + ["reconstruction"] * len(pixels)
        return [ImageGrid(draw, folder / "samples", len(pixels), captions)]

    def heaviest(self, module: VAEStage) -> tuple[nn.Module, Callable[[nn.Module, int], Any]]:
        side = self.prepared.size  # whole images, which those of a crop become at the end

        def step(network: Any, count: int) -> Tensor:
            device = next(network.parameters()).device
            mean, _ = network.encode(torch.zeros(count, 1, side, side, device=device)).chunk(2, dim=1)
            return network.decode(mean)  # type: ignore[no-any-return]

        return module.autoencoder, step

    def contents(self, module: VAEStage) -> Contents:
        info = {} if self.source is None else ancestry(self.source)
        return Contents({"autoencoder": self.spec}, {"autoencoder": module.autoencoder}, info)

    def stated(self) -> dict[str, Any]:
        return {"data_range": DATA_RANGE, "split": "val", "reconstruction": "from the posterior's mean, clamped"}


def go_on_from(source: Bundle, autoencoder: Autoencoder, adversary: nn.Module | None, encoder_too: bool) -> None:
    """Take over the weights of a VAE; only its decoder trains from here on, unless its encoder shall, too.

    Its discriminator is taken over from the checkpoint of its run, where that still lies beside the bundle: beside a
    trained decoder a new one would know nothing and spoil it first.
    """
    autoencoder.load_state_dict(source.parts["autoencoder"].state_dict())
    if not encoder_too:
        autoencoder.encoding().requires_grad_(False)
    checkpoint = source.folder.parent / "checkpoints" / "last.ckpt"
    if adversary is None or not checkpoint.exists():
        return
    weights = read_checkpoint(checkpoint)["state_dict"]
    learnt = {name.removeprefix("adversary."): w for name, w in weights.items() if name.startswith("adversary.")}
    if {name: w.shape for name, w in learnt.items()} == {n: w.shape for n, w in adversary.state_dict().items()}:
        adversary.load_state_dict(learnt)
        print(f"goes on from the decoder in {source.folder}, and from its discriminator")
