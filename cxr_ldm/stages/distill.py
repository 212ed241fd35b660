"""The distilling stage: a diffusion model's guided paths to a student that walks them in a few steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from cxr_ldm import lineage
from cxr_ldm.bundle import Bundle
from cxr_ldm.callbacks.grids import ImageGrid
from cxr_ldm.content import Verify
from cxr_ldm.data.batches.captions import Wording
from cxr_ldm.data.batches.latents import LatentDataModule
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.splits import evenly
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.flow_map import Condition, FlowMap, FlowMapLoss, Teacher, noisy
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.dtypes import wide
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import sample_posterior
from cxr_ldm.networks.blocks import channels_last, parameter_count
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.randomness import normal, strata
from cxr_ldm.stages.caches import moments_of, text_table
from cxr_ldm.stages.latents import batches, drawing
from cxr_ldm.stages.optimisation import MakeOptimizer, clip, finite, optimisation, training_noise, validation_noise
from cxr_ldm.stages.plan import Contents, Plan
from cxr_ldm.stages.recipe import Recipe
from cxr_ldm.text.conditioner import Conditioner

STEPS = 4  # what a student is sampled with, and measured at in training
SAMPLER = "flow_map"
OWN = ("findings", "vae_data", "decoder_from")  # facts of a teacher that hold for its student


class DistillStage(lightning.LightningModule):
    """Trains a student on cached VAE moments and cached text, which are those of its teacher's training.

    Batches are as those of `LatentDiffusionStage`. Everything but the student's network stays as it is.

    Args:
        condition_dropout: probability, sample by sample, that the student learns the teacher's empty text.
    """

    def __init__(
        self,
        student: FlowMap,
        teacher: Denoiser,
        conditioner: Conditioner,
        whitening: Whitening,
        loss: FlowMapLoss,
        optimizer: MakeOptimizer,
        condition_dropout: float,
        warmup_steps: int,
        last_rate: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.denoiser, self.whitening, self.loss = student, whitening, loss
        # in a list, so that checkpoints do not hold what never changes
        self.fixed: list[Any] = [teacher, conditioner]
        self.optimizer, self.condition_dropout, self.seed = optimizer, condition_dropout, seed
        self.warmup_steps, self.last_rate = warmup_steps, last_rate

    @property
    def teacher(self) -> Denoiser:
        return self.fixed[0]  # type: ignore[no-any-return]

    @property
    def conditioner(self) -> Conditioner:
        return self.fixed[1]  # type: ignore[no-any-return]

    def networks(self) -> list[nn.Module]:
        """What is worth compiling."""
        return [self.denoiser.network]

    def setup(self, stage: str) -> None:
        """What is no part of the module goes to its device."""
        for part in (self.teacher, self.conditioner.text_encoder, self.conditioner.attributes):
            if part is not None:
                part.to(self.device).eval().requires_grad_(False)

    @torch.no_grad()
    def conditions(self, batch: dict[str, Tensor], text: Tensor, attributes: Tensor) -> tuple[Condition, Condition]:
        """Context and mask of the texts of a batch, and of the empty text with nothing known of the patient."""
        unknown = torch.full_like(attributes, torch.nan)
        return (
            self.conditioner.of_batch(batch, text, attributes),
            self.conditioner.of_batch(batch, torch.zeros_like(text), unknown),
        )

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        random = training_noise(self, 1, batch, batch_index)
        latents = self.whitening.whiten(sample_posterior(wide(batch["moments"]), random))
        text, attributes = self.conditioner.dropped(batch["text"], batch["attributes"], self.condition_dropout, random)
        conditions = self.conditions(batch, text, attributes)
        loss = self.loss(self.denoiser, self.teacher, latents, *conditions, random)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return finite(loss, self, batch["row"])

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Logs the squared error of the mean velocity in one of the steps of STEPS, over its own mean square.

        The same image meets the same noise, step and guidance scale at every validation.
        """
        random = validation_noise(self, 2, batch)
        latents = self.whitening.whiten(sample_posterior(wide(batch["moments"]), random))
        turn = strata(len(latents), random).to(latents.device)
        t = (1.0 - (turn * STEPS).floor() / STEPS).to(latents)
        low, high = self.loss.scales
        scale = (low + (high - low) * (turn * STEPS % 1.0)).to(latents)
        x = noisy(latents, normal(latents.shape, random).to(latents), t)
        text, null = self.conditions(batch, batch["text"], batch["attributes"])
        wanted = Teacher(self.teacher, text, null, scale).mean(x, t, t - 1.0 / STEPS, self.loss.longest)
        found = self.denoiser.velocity(x, t, t - 1.0 / STEPS, *text, scale)
        loss = (found - wanted).square().mean() / wanted.square().mean()
        loss = finite(loss, self, batch["row"])
        self.log("val/loss", loss, prog_bar=True, batch_size=len(latents), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        total = int(self.trainer.estimated_stepping_batches)
        groups = [(self.denoiser.parameters(), 1.0)]
        return optimisation(groups, self.optimizer, self.warmup_steps, total, self.last_rate)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By the norm of all gradients, which must be finite."""
        clip(self, [self.parameters()], gradient_clip_val)


class DistillPlan(Plan):
    """A run of stage=distill.

    Args:
        teacher: a bundle of kind "ldm".
        loss: of the student.
        wording: other words for each report.
        condition_dropout: as of `DistillStage`.
        cache: folder of moments and texts.
        device: where they are computed.
        verify: how caches are checked.

    Raises:
        UserError: the teacher is of another size, a student itself, or not one that a student can be made of.
    """

    kind, monitor = "ldm", ("val/loss", "min")

    def __init__(
        self,
        prepared: Prepared,
        recipe: Recipe,
        seed: int,
        teacher: Bundle,
        loss: FlowMapLoss,
        wording: Wording,
        condition_dropout: float,
        cache: Path,
        device: torch.device,
        verify: Verify = "stat",
    ) -> None:
        super().__init__(prepared, recipe, seed)
        if teacher.info["size"] != prepared.size:
            raise UserError(
                f"{teacher.folder} makes images of {teacher.info['size']} pixels and {prepared.folder} has "
                f"{prepared.size}; name the teacher of these data, or its data by prepared=FOLDER."
            )
        made_of = teacher.spec["network"]["part"]
        if made_of != "UNet":
            raise UserError(f"teacher={teacher.folder}: a student is made of a UNet, and this is {made_of}.")
        self.teacher, self.loss, self.cache, self.device, self.verify = teacher, loss, cache, device, verify
        self.condition_dropout = condition_dropout
        parts = teacher.parts
        self.conditioner = Conditioner(parts["text_encoder"], parts.get("attributes"))
        rows = np.arange(len(prepared))
        self.worded = wording.of_all(prepared.texts(rows), prepared.ids(rows))

    @property
    def arguments(self) -> dict[str, Any]:
        """What the student's network is built from."""
        own = {key: value for key, value in self.teacher.spec["network"].items() if key != "part"}
        return own | {"scales": list(self.loss.scales)}

    @property
    def guidance(self) -> Guidance:
        """The teacher's, within what the student learns."""
        low, high = self.loss.scales
        return Guidance(min(max(Guidance.of_bundle(self.teacher.info).scale, low), high))

    def student(self) -> FlowMap:
        """With the teacher's weights; it is the teacher where a step has no length and guidance is plain."""
        network = channels_last(StudentUNet(**self.arguments))
        weights = network.state_dict() | self.teacher.parts["network"].state_dict()
        network.load_state_dict(weights)
        return FlowMap(network, self.teacher.parts["schedule"], self.teacher.parts["scaling"])

    def check(self, folder: Path) -> None:
        """Build the student once."""
        self.student()

    def module(self, folder: Path) -> DistillStage:
        """Fills the caches."""
        torch.manual_seed(self.seed)
        parts, encoder = self.teacher.parts, self.conditioner.text_encoder
        made_by: dict[str, Any] = {"data": self.prepared.identity, "vae": self.teacher.sha256}
        self.moments = moments_of(parts["autoencoder"], self.prepared, self.cache, made_by, self.device, self.verify)
        made_by = {"text_encoder": encoder.arguments, "weights": encoder.frozen_sha256()}
        self.table = text_table(encoder, self.worded, self.cache, made_by, self.device, self.verify)
        student = self.student()
        print(f"student: {parameter_count(student) / 1e6:.2f}M parameters, of the teacher {self.teacher.folder}")
        return DistillStage(
            student,
            Denoiser(parts["network"], parts["schedule"], parts["scaling"]),
            self.conditioner,
            parts["whitening"],
            self.loss,
            self.recipe.optimizer,
            self.condition_dropout,
            self.recipe.warmup_steps,
            self.recipe.last_rate,
            self.seed,
        )

    def data(self) -> LatentDataModule:
        return batches(self, self.moments, self.table, self.conditioner)

    def callbacks(self, folder: Path) -> Sequence[lightning.Callback]:  # type: ignore[override]
        """The same validation texts and seeds at each validation, in STEPS steps."""
        rows = evenly(self.prepared.rows("val"), 8)
        sampling = Sampling.preset(SAMPLER, STEPS)
        seeds = list(range(len(rows)))
        draw = drawing(self.teacher.parts["autoencoder"], self.prepared, rows, seeds, self.guidance, sampling)
        return [ImageGrid(draw, folder / "samples", 4, self.prepared.texts(rows))]

    def contents(self, module: DistillStage) -> Contents:
        """The teacher's parts with the student's network, and how it is sampled."""
        specs = self.teacher.spec | {"network": {"part": "StudentUNet", **self.arguments}}
        parts = self.teacher.parts | {"network": module.denoiser.network}
        info = {key: self.teacher.info[key] for key in OWN if key in self.teacher.info}
        info |= {
            "guidance": self.guidance.settings() | {"chosen": "the teacher's"},
            "sampling": {"sampler": SAMPLER, "steps": STEPS},
            "teacher": self.teacher.sha256,
        }
        info |= lineage.before(self.teacher.info, own=self.prepared.fingerprint)
        return Contents(specs, parts, info)

    def stated(self) -> dict[str, Any]:
        return {"split": "val", "steps": STEPS, "teacher_step": self.loss.longest, "noise": "fixed for each image"}
