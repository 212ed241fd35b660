"""The VAE stage: pixels to latents and back."""

from collections.abc import Callable
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Generator, Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from cxr_ldm.networks.autoencoder import Autoencoder, kl_divergence, sample_posterior
from cxr_ldm.stages.adversary import Adversary
from cxr_ldm.stages.optimisation import MakeOptimizer, batch_number, clip, finite, generator_of, optimisation

DATA_RANGE = 2.0  # pixels lie in [-1, 1]
# Of the learning rate, for a fitted shortcut: it is right from the start, and some of its weights are smaller than a
# step of the others.
SHORTCUT_RATE = 0.05


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
        noise = generator_of(self, 0, batch_number(self, batch_index))
        latents = sample_posterior(moments, noise)
        if self.latent_noise:
            latents = latents + roughness(latents, self.latent_noise, noise)
        reconstruction = self.autoencoder.decode(latents).float()
        error = self.reconstruction(reconstruction, pixels)
        divergence = kl_divergence(moments.float())
        loss = error + self.kl_weight * divergence
        logged = {"train/reconstruction": error, "train/kl": divergence}
        if self.adversary is not None and self.progress() >= self.adversary.start:
            terms = self.adversary(pixels, reconstruction, error)
            loss = loss + terms["adversary"] + terms["discriminator"]
            logged |= {f"train/{name}": value for name, value in terms.items()}
        self.log_dict(logged)
        self.log("train/loss", loss, prog_bar=True)
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
        return self.autoencoder.decode(mean).float().clamp(-1.0, 1.0)

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


def roughness(latents: Tensor, largest: float, generator: Generator) -> Tensor:
    """Noise `[N,C,h,w]` for latents of this shape: u_n · std_c · eps with u_n uniform in [0, largest], no gradient."""
    size = torch.rand(len(latents), 1, 1, 1, generator=generator) * largest
    noise = size * torch.randn(latents.shape, generator=generator)
    return noise.to(latents) * latents.detach().std(dim=(0, 2, 3), keepdim=True)
