"""The VAE stage: pixels to latents and back."""

import lightning
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from cxr_ldm.networks.autoencoder import Autoencoder, kl_divergence, sample_posterior
from cxr_ldm.stages.optimisation import MakeOptimizer, batch_number, finite, generator_at, optimisation

DATA_RANGE = 2.0  # pixels lie in [-1, 1]


class VAEStage(lightning.LightningModule):
    """Trains an autoencoder by MSE + kl_weight * KL, both means over elements, pixels in [-1, 1].

    Validation and test reconstruct from the posterior's mean and report SSIM and PSNR with a data
    range of 2.0 on reconstructions clamped to [-1, 1].
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        optimizer: MakeOptimizer,
        kl_weight: float,
        warmup_steps: int,
        last_rate: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.autoencoder, self.optimizer, self.kl_weight = autoencoder, optimizer, kl_weight
        self.warmup_steps, self.last_rate, self.seed = warmup_steps, last_rate, seed
        metrics = MetricCollection(
            {
                "ssim": StructuralSimilarityIndexMeasure(data_range=DATA_RANGE),
                "psnr": PeakSignalNoiseRatio(data_range=DATA_RANGE),
            }
        )
        self.val_metrics, self.test_metrics = metrics.clone(prefix="val/"), metrics.clone(prefix="test/")

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        pixels = batch["pixels"]
        moments = self.autoencoder.encode(pixels)
        noise = generator_at(self.seed, 0, batch_number(self, batch_index))
        reconstruction = self.autoencoder.decode(sample_posterior(moments, noise))
        error = (reconstruction.float() - pixels).square().mean()
        divergence = kl_divergence(moments.float())
        loss = error + self.kl_weight * divergence
        self.log_dict({"train/mse": error, "train/kl": divergence})
        self.log("train/loss", loss, prog_bar=True)
        return finite(loss, self, batch["row"])

    def reconstruct(self, pixels: Tensor) -> Tensor:
        """Pixels `[N,1,H,W]` in [-1, 1] -> reconstruction from the posterior's mean, clamped to [-1, 1]."""
        mean, _ = self.autoencoder.encode(pixels).chunk(2, dim=1)
        return self.autoencoder.decode(mean).float().clamp(-1.0, 1.0)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self.val_metrics.update(self.reconstruct(batch["pixels"]), batch["pixels"])
        self.log_dict(self.val_metrics, prog_bar=True, batch_size=len(batch["pixels"]))

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self.test_metrics.update(self.reconstruct(batch["pixels"]), batch["pixels"])
        self.log_dict(self.test_metrics, batch_size=len(batch["pixels"]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        total = int(self.trainer.estimated_stepping_batches)
        return optimisation(self.parameters(), self.optimizer, self.warmup_steps, total, self.last_rate)
