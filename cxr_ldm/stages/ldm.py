"""The latent-diffusion stage: whitened latents and their text to a denoiser."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from cxr_ldm import artifacts, lineage, ranks
from cxr_ldm.bundle import Bundle
from cxr_ldm.callbacks.copies import Copies
from cxr_ldm.callbacks.graphs import Graphs
from cxr_ldm.callbacks.grids import ImageGrid
from cxr_ldm.content import Verify
from cxr_ldm.data.batches.captions import Wording
from cxr_ldm.data.batches.latents import LatentDataModule
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.splits import evenly
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.noise_levels import draw
from cxr_ldm.dtypes import wide
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder, sample_posterior
from cxr_ldm.networks.blocks import channels_last, parameter_count
from cxr_ldm.networks.low_rank import merged
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.randomness import normal
from cxr_ldm.stages.caches import moments_of, text_table
from cxr_ldm.stages.holes import filling
from cxr_ldm.stages.latents import batches, drawing, whitening_of
from cxr_ldm.stages.optimisation import MakeOptimizer, clip, finite, optimisation, training_noise, validation_noise
from cxr_ldm.stages.plan import Contents, Plan
from cxr_ldm.stages.recipe import Recipe
from cxr_ldm.stages.unfreeze import Unfreeze
from cxr_ldm.text.attributes import PatientAttributes
from cxr_ldm.text.conditioner import Conditioner
from cxr_ldm.text.encoders import TextEncoder, counts
from cxr_ldm.text.reading import nameable
from cxr_ldm.text.unfreezing import Unfreezing

TOKENIZER = "tokenizer.json"
SMALLEST_SPREAD = 0.02  # an encoder that collapsed in a run had 4e-5, those that steer had 0.4 and 0.6


class LatentDiffusionStage(lightning.LightningModule):
    """Trains a denoiser on cached VAE moments and cached text.

    A batch holds `moments [B,2C,h,w]`, the distinct texts it needs as `cached [U,L(,D)]` and `mask [U,L]`
    with the empty text always first, `text [B]`, which of them belongs to which image, and the patients' `attributes
    [B,K]`, NaN where not known.

    Args:
        condition_dropout: probability, sample by sample, that the text is replaced by the empty text and all
            attributes by not known, and for each attribute, besides, that it alone is.
        unfreezing: when the top layers of the text encoder begin to train; None: at once, if it has such.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        conditioner: Conditioner,
        whitening: Whitening,
        loss: DiffusionLoss,
        optimizer: MakeOptimizer,
        condition_dropout: float,
        warmup_steps: int,
        last_rate: float,
        seed: int,
        unfreezing: Unfreezing | None = None,
    ) -> None:
        super().__init__()
        self.denoiser, self.conditioner, self.whitening, self.loss = denoiser, conditioner, whitening, loss
        # by these names their weights stand in checkpoints
        self.text_encoder, self.attributes = conditioner.text_encoder, conditioner.attributes
        self.optimizer, self.condition_dropout, self.seed = optimizer, condition_dropout, seed
        self.warmup_steps, self.last_rate, self.unfreezing = warmup_steps, last_rate, unfreezing

    def networks(self) -> list[nn.Module]:
        """What is worth compiling."""
        return [self.denoiser.network]

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        random = training_noise(self, 1, batch, batch_index)
        latents = self.whitening.whiten(sample_posterior(wide(batch["moments"]), random))
        text, attributes = self.conditioner.dropped(batch["text"], batch["attributes"], self.condition_dropout, random)
        denoiser = filling(self.denoiser, latents, random)
        loss = self.loss(denoiser, latents, *self.conditioner.of_batch(batch, text, attributes), random)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return finite(loss, self, batch["row"])

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        random = validation_noise(self, 2, batch)
        latents = self.whitening.whiten(sample_posterior(wide(batch["moments"]), random))
        t = draw(self.loss.noise_levels, len(latents), self.denoiser.schedule, random).to(latents)
        noise = normal(latents.shape, random).to(latents)
        condition = self.conditioner.of_batch(batch, batch["text"], batch["attributes"])
        losses = self.loss.at(filling(self.denoiser, latents, random), latents, noise, t, *condition)
        loss = finite(losses.mean(), self, batch["row"])
        self.log("val/loss", loss, prog_bar=True, batch_size=len(latents), sync_dist=True)
        if batch_index == 0 and len(batch["mask"]) > 1:
            spread = text_spread(self.text_encoder(batch["cached"], batch["mask"]), batch["mask"])
            self.log("val/text_spread", spread, batch_size=len(latents), rank_zero_only=True)
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

    Of several processes the first one logs that of its part of the first batch.

    Standard deviation over texts of their mean states, over the root mean square of these.

    Shapes: states `[U,L,D]`, mask bool `[U,L]` -> scalar.

    >>> text_spread(torch.ones(3, 2, 4), torch.ones(3, 2, dtype=torch.bool)).item()
    0.0
    """
    kept = mask[:, :, None].float()
    means = (states.float() * kept).sum(1) / kept.sum(1)
    return means.std(dim=0).square().mean().sqrt() / means.square().mean().sqrt()


@dataclass(frozen=True)
class LDMParts:
    """What a diffusion model is made of, as functions that make a part with fresh weights.

    Attributes:
        text_encoder: texts that a vocabulary may be learnt from, and a definition of it that was learnt before or None.
        denoiser: latent channels and the width of the context.
        attributes: the width of the context; returns None for a model of the text alone.
        diffusion: a network with its schedule, scaling and loss.
        unfreezing: when the top layers of the text encoder begin to train.
        specs: what a bundle says that denoiser, schedule and scaling are built from.
        whitening: of the latents; None measures it.
        info: facts for the bundle; its `findings` are those that a model knew before.
    """

    text_encoder: Callable[[Sequence[str], str | None], TextEncoder]
    denoiser: Callable[[int, int], nn.Module]
    attributes: Callable[[int], PatientAttributes | None]
    diffusion: Callable[[nn.Module], tuple[Denoiser, DiffusionLoss]]
    unfreezing: Unfreezing | None
    specs: Mapping[str, Mapping[str, Any]]
    whitening: Whitening | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


class LDMPlan(Plan):
    """A run of stage=ldm.

    Args:
        vae: the autoencoder whose latents are learnt.
        parts: of the model.
        wording: other words for each report.
        condition_dropout: as of `LatentDiffusionStage`.
        live_signal: part of the best channel's signal below which a latent channel is not diffused.
        cache: folder of moments and texts.
        device: where they are computed.
        stated_guidance: of the pictures at each validation.
        noise_levels: of the loss, for the settings of its metrics.
        copies: makes the callback that looks for copies, from the autoencoder and the run's folder; None: no looks.
        graphs: whether the denoiser runs as CUDA graphs.
        verify: how caches are checked.

    Raises:
        UserError: the VAE was trained at another size.
    """

    kind, monitor = "ldm", ("val/loss", "min")

    def __init__(
        self,
        prepared: Prepared,
        recipe: Recipe,
        seed: int,
        vae: Bundle,
        parts: LDMParts,
        wording: Wording,
        condition_dropout: float,
        live_signal: float,
        cache: Path,
        device: torch.device,
        stated_guidance: Guidance,
        noise_levels: Mapping[str, Any],
        copies: Callable[[Path], Copies] | None = None,
        graphs: bool = False,
        verify: Verify = "stat",
    ) -> None:
        super().__init__(prepared, recipe, seed)
        if vae.info["size"] not in (None, prepared.size):  # a published one is of no size
            raise UserError(
                f"{vae.folder} was trained at {vae.info['size']} pixels and {prepared.folder} has {prepared.size}; "
                "train a VAE at this size or prepare the data at that one."
            )
        self.vae, self.parts, self.device, self.cache, self.verify = vae, parts, device, cache, verify
        self.condition_dropout, self.live_signal = condition_dropout, live_signal
        self.guidance, self.noise_levels, self.copies, self.graphs = stated_guidance, noise_levels, copies, graphs
        rows = np.arange(len(prepared))
        self.worded = wording.of_all(prepared.texts(rows), prepared.ids(rows))

    @property
    def autoencoder(self) -> Autoencoder:
        """Of the VAE."""
        return self.vae.parts["autoencoder"]  # type: ignore[no-any-return]

    @property
    def reports(self) -> list[str]:
        """Every wording of a training text."""
        return [text for row in self.prepared.rows("train") for text in dict.fromkeys(self.worded[row])]

    def check(self, folder: Path) -> None:
        """Learn or read the vocabulary, build the denoiser, and call it once.

        Two learnings of a vocabulary differ in ties, so a resumed run goes on with its own, and processes that share a
        run with that of the first.
        """
        torch.manual_seed(self.seed)
        learnt = folder / TOKENIZER
        definition = learnt.read_text(encoding="utf-8") if learnt.exists() else None
        encoder = self.parts.text_encoder(self.reports, definition)
        if ranks.count() > 1:
            torch.manual_seed(self.seed)
            encoder = self.parts.text_encoder(self.reports, ranks.of_first(encoder.tokenizer.definition))
        self.text_encoder = encoder
        side, known = self.prepared.size // self.autoencoder.factor, self.parts.whitening
        channels = self.autoencoder.latent_channels if known is None else known.channels  # live ones may not be known
        denoiser, _ = self.objective(channels)
        self.parts.attributes(encoder.width)
        with torch.no_grad():
            states, mask = encoder.encode([""])
            denoiser.network(torch.zeros(1, channels, side, side), torch.zeros(1), states, mask)

    def objective(self, channels: int) -> tuple[Denoiser, DiffusionLoss]:
        """The denoiser of latent `channels`, and its loss; raises UserError where the two cannot work together."""
        network = channels_last(self.parts.denoiser(channels, self.text_encoder.width))
        denoiser, loss = self.parts.diffusion(network)
        loss.check(denoiser)
        return denoiser, loss

    def module(self, folder: Path) -> LatentDiffusionStage:
        """Fills the caches and measures the latents' scale."""
        encoder, unfreezing = self.text_encoder, self.parts.unfreezing
        if ranks.number() == 0:
            artifacts.write_text(folder / TOKENIZER, encoder.tokenizer.definition)
        made_by: dict[str, Any] = {"data": self.prepared.identity, "vae": self.vae.sha256}
        self.moments = moments_of(self.autoencoder, self.prepared, self.cache, made_by, self.device, self.verify)
        # not the config: when layers are freed, and how fast they train, changes nothing that is cached
        made_by = {"text_encoder": encoder.arguments, "weights": encoder.frozen_sha256()}
        self.table = text_table(encoder, self.worded, self.cache, made_by, self.device, self.verify)
        self.table.whole = self.graphs
        whitening = self.parts.whitening
        if whitening is None:
            whitening = whitening_of(self.moments, self.prepared.rows("train"), self.live_signal)
        denoiser, loss = self.objective(whitening.channels)
        self.conditioner = Conditioner(encoder, self.parts.attributes(encoder.width))
        texts = [text for text, *_ in self.worded]
        print(
            f"denoiser: {parameter_count(denoiser) / 1e6:.2f}M parameters; text encoder: "
            f"{counts(encoder, unfreezing)}; {encoder.tokenizer.cut(texts)} of {len(texts)} texts are longer than "
            f"{encoder.tokenizer.length} tokens and were cut at the end of a sentence"
        )
        return LatentDiffusionStage(
            denoiser,
            self.conditioner,
            whitening,
            loss,
            self.recipe.optimizer,
            self.condition_dropout,
            self.recipe.warmup_steps,
            self.recipe.last_rate,
            self.seed,
            unfreezing,
        )

    def data(self) -> LatentDataModule:
        return batches(self, self.moments, self.table, self.conditioner)

    def callbacks(self, folder: Path) -> list[lightning.Callback]:
        """The same validation texts and seeds at each validation, and looks for copies."""
        rows = evenly(self.prepared.rows("val"), 8)
        draw = drawing(self.autoencoder, self.prepared, rows, list(range(len(rows))), self.guidance)
        found: list[lightning.Callback] = [ImageGrid(draw, folder / "samples", 4, self.prepared.texts(rows))]
        if self.copies is not None:
            found.append(self.copies(folder))
        return found + ([Graphs()] if self.graphs else [])

    def heaviest(self, module: LatentDiffusionStage) -> tuple[nn.Module, Callable[[nn.Module, int], Any]]:
        encoder, side = module.text_encoder, self.prepared.size // self.autoencoder.factor

        def step(network: nn.Module, count: int) -> Tensor:
            device = next(network.parameters()).device
            length, channels = encoder.tokenizer.length, module.whitening.channels
            states = torch.zeros(count, length, encoder.width, device=device, requires_grad=True)
            mask = torch.ones(count, length, dtype=torch.bool, device=device)
            x = torch.zeros(count, channels, side, side, device=device)
            return network(x, torch.zeros(count, device=device), states, mask)  # type: ignore[no-any-return]

        return module.denoiser.network, step

    def contents(self, module: LatentDiffusionStage) -> Contents:
        """With what prompts can name, and the guidance of the plain model."""
        encoder, attributes = module.text_encoder, module.attributes
        shapes = {"latent_channels": module.whitening.channels, "context_width": encoder.width}
        specs: dict[str, Any] = {
            "autoencoder": self.vae.spec["autoencoder"],
            **self.parts.specs,
            "network": {**self.parts.specs["network"], **shapes},
            "text_encoder": {"part": type(encoder).__name__, **encoder.arguments},
            "whitening": {"part": "Whitening", **module.whitening.arguments},
        }
        parts = {
            "autoencoder": self.autoencoder,
            "network": merged(module.denoiser.network),
            "schedule": module.denoiser.schedule,
            "scaling": module.denoiser.scaling,
            "text_encoder": encoder,
            "whitening": module.whitening,
        }
        if attributes is not None:
            specs["attributes"] = {"part": "PatientAttributes", **attributes.arguments}
            parts["attributes"] = attributes
        info = {
            "guidance": Guidance().settings() | {"chosen": "default"},
            "vae_data": self.vae.info["data"],
        } | dict(self.parts.info)
        earlier = lineage.each_once([*info.get("init_data", []), *self.vae.info.get("init_data", [])])
        info |= {"init_data": earlier} if earlier else {}
        named = nameable(self.reports, self.prepared.labels("train"))
        info["findings"] = list(dict.fromkeys([*info.get("findings", []), *named]))
        return Contents(specs, parts, info)

    def stated(self) -> dict[str, Any]:
        return {"split": "val", "noise_levels": self.noise_levels, "noise": "fixed for each image"}
