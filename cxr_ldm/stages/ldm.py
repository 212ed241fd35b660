"""The latent-diffusion stage: whitened latents and their text to a denoiser."""

import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from cxr_ldm.callbacks.unfreeze import Unfreeze
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.networks.autoencoder import sample_posterior
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.stages.optimisation import MakeOptimizer, batch_number, clip, finite, generator_of, optimisation
from cxr_ldm.text.attributes import PatientAttributes, with_tokens
from cxr_ldm.text.encoders import TextEncoder
from cxr_ldm.text.unfreezing import Unfreezing

GOLDEN = 0.618033988749895
SMALLEST_SPREAD = 0.02  # an encoder that collapsed in a run had 4e-5, those that steer had 0.4 and 0.6


class LatentDiffusionStage(lightning.LightningModule):
    """Trains a denoiser on cached VAE moments and cached text.

    A batch holds `moments [B,2C,h,w]`, the distinct texts it needs as `cached [U,L(,D)]` and `mask [U,L]`
    with the empty text always first, and `text [B]`, which of them belongs to which image; with `attributes` in the
    model also `attributes [B,K]`, NaN where not known.

    Args:
        condition_dropout: probability, sample by sample, that the text is replaced by the empty text and all
            attributes by not known, and for each attribute, besides, that it alone is.
        attributes: view, age and sex as further tokens; None for the text alone.
        unfreezing: when the top layers of the text encoder begin to train; None: at once, if it has such.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        text_encoder: TextEncoder,
        whitening: Whitening,
        loss: DiffusionLoss,
        optimizer: MakeOptimizer,
        condition_dropout: float,
        warmup_steps: int,
        last_rate: float,
        seed: int,
        attributes: PatientAttributes | None = None,
        unfreezing: Unfreezing | None = None,
    ) -> None:
        super().__init__()
        self.denoiser, self.text_encoder, self.whitening, self.loss = denoiser, text_encoder, whitening, loss
        self.attributes = attributes
        self.optimizer, self.condition_dropout, self.seed = optimizer, condition_dropout, seed
        self.warmup_steps, self.last_rate, self.unfreezing = warmup_steps, last_rate, unfreezing

    def networks(self) -> list[nn.Module]:
        """What is worth compiling."""
        return [self.denoiser.network]

    def condition(
        self, batch: dict[str, Tensor], text: Tensor, attributes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode each distinct text once; states `[B,L,D]` and mask `[B,L]` for the text numbers `text [B]`.

        The tokens of `attributes [B,K]` stand before those of the text.
        """
        states, mask = self.text_encoder(batch["cached"], batch["mask"])[text], batch["mask"][text]
        if self.attributes is None or attributes is None:
            return states, mask
        return with_tokens(self.attributes(attributes), states, mask)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        random = generator_of(self, 1, batch_number(self, batch_index))
        latents = self.whitening.whiten(sample_posterior(batch["moments"].float(), random))
        dropped = (torch.rand(len(latents), generator=random) < self.condition_dropout).to(latents.device)
        text = torch.where(dropped, torch.zeros_like(batch["text"]), batch["text"])
        attributes = self.dropped_attributes(batch, dropped, random)
        loss = self.loss(self.denoiser, latents, *self.condition(batch, text, attributes), random)
        self.log("train/loss", loss, prog_bar=True)
        return finite(loss, self, batch["row"])

    def dropped_attributes(self, batch: dict[str, Tensor], dropped: Tensor, random: torch.Generator) -> Tensor | None:
        """Attributes `[B,K]` with NaN where they are dropped: with the text, and each on its own besides."""
        if self.attributes is None:
            return None
        alone = torch.rand(batch["attributes"].shape, generator=random) < self.condition_dropout
        return batch["attributes"].masked_fill(alone.to(dropped.device) | dropped[:, None], torch.nan)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        random = generator_of(self, 2, batch_index)
        moments = batch["moments"].float()
        latents = self.whitening.whiten(sample_posterior(moments, random))
        # the same image meets the same noise and level at every validation, so that two of them compare
        t = self.loss.noise_levels.at((batch["row"].cpu() * GOLDEN) % 1.0, self.denoiser.schedule).to(latents)
        noise = torch.randn(latents.shape, generator=random).to(latents)
        losses = self.loss.at(
            self.denoiser, latents, noise, t, *self.condition(batch, batch["text"], batch.get("attributes"))
        )
        self.log("val/loss", finite(losses.mean(), self, batch["row"]), prog_bar=True, batch_size=len(latents))
        if batch_index == 0 and len(batch["mask"]) > 1:
            spread = text_spread(self.text_encoder(batch["cached"], batch["mask"]), batch["mask"])
            self.log("val/text_spread", spread, batch_size=len(latents))
            if spread < SMALLEST_SPREAD:
                warnings.warn(
                    f"all texts have nearly the same states (val/text_spread {spread.item():.1e}), so the model cannot "
                    "follow them; train again with larger batches or a lower learning rate.",
                    stacklevel=2,
                )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        total = int(self.trainer.estimated_stepping_batches)
        encoder = self.text_encoder
        slower: list[tuple[list[nn.Parameter], float]] = []
        if encoder.from_ids and encoder.lr_scale != 1.0:
            slower.append((list(encoder.transformer.parameters()), encoder.lr_scale))
        elif self.unfreezing and encoder.top:
            slower.append((list(encoder.top.parameters()), self.unfreezing.lr_scale))
        apart = {weight for weights, _ in slower for weight in weights}
        groups = [([weight for weight in self.parameters() if weight not in apart], 1.0), *slower]
        return optimisation(groups, self.optimizer, self.warmup_steps, total, self.last_rate)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By the norm of all gradients, which must be finite."""
        clip(self, [self.parameters()], gradient_clip_val)

    def configure_callbacks(self) -> list[lightning.Callback]:
        """With layers that train later comes what keeps them until then; the Trainer adds it to its own."""
        return [Unfreeze(self.unfreezing)] if self.unfreezing and self.text_encoder.top else []


def text_spread(states: Tensor, mask: Tensor) -> Tensor:
    """How far apart the texts of a batch are for the model: 0 where all have the same states.

    Standard deviation over texts of their mean states, over the root mean square of these.

    Shapes: states `[U,L,D]`, mask bool `[U,L]` -> scalar.

    >>> text_spread(torch.ones(3, 2, 4), torch.ones(3, 2, dtype=torch.bool)).item()
    0.0
    """
    kept = mask[:, :, None].float()
    means = (states.float() * kept).sum(1) / kept.sum(1)
    return means.std(dim=0).square().mean().sqrt() / means.square().mean().sqrt()
