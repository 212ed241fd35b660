"""Fine-tuning: a stage that starts from a bundle in place of fresh weights."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from cxr_ldm.bundle import Bundle
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.errors import UserError
from cxr_ldm.networks.classifier import Classifier
from cxr_ldm.networks.low_rank import add_low_rank
from cxr_ldm.ranges import Count, Positive, Whole
from cxr_ldm.stages.holes import learning
from cxr_ldm.stages.ldm import LDMParts
from cxr_ldm.stages.plan import ancestry
from cxr_ldm.stages.recipe import Recipe
from cxr_ldm.text.attributes import PatientAttributes
from cxr_ldm.text.encoders import TextEncoder
from cxr_ldm.text.growing import grown

KEPT = ("vae_data", "decoder_from")  # facts of an ancestor that hold for what starts from it


@dataclass(frozen=True)
class Tuning:
    """What differs from training from scratch, see conf/tune.

    Attributes:
        rate: of the stage's learning rate.
        warmup_steps: in place of the stage's.
        rank: of low-rank changes to the denoiser's attention; None: every weight trains.
        words: at most, that are new to a learnt vocabulary.
        text_rate: of the rate, for a text encoder that trains as a whole.
    """

    rate: Positive
    warmup_steps: Whole
    rank: Count | None
    words: Whole
    text_rate: Positive

    def recipe(self, recipe: Recipe) -> Recipe:
        """A stage's recipe at the lower rate."""
        make = recipe.optimizer

        def slower(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            optimizer = make(groups)
            for group in optimizer.param_groups:
                group["lr"] *= self.rate
            return optimizer

        return replace(recipe, optimizer=slower, warmup_steps=self.warmup_steps)


def check_size(ancestor: Bundle, prepared: Prepared) -> None:
    """Raises UserError where a bundle is of images of another size."""
    if ancestor.info["size"] not in (None, prepared.size):
        raise UserError(
            f"init={ancestor.folder} is of images of {ancestor.info['size']} pixels and {prepared.folder} has "
            f"{prepared.size}; prepare the data at that size."
        )


def ldm_parts(
    ancestor: Bundle, tuning: Tuning, loss: Callable[[], DiffusionLoss], patients: bool, inpaint: bool = False
) -> LDMParts:
    """The parts of a model as functions that give them with its weights.

    Args:
        loss: makes a new one; its own weights, where it learns the loss of each noise level, are fresh.
        patients: whether view, age and sex are asked for.
        inpaint: whether it learns to fill holes.

    Raises:
        UserError: the model is a student, takes no patients where they are asked for, or cannot learn to fill holes.
    """
    parts = ancestor.parts
    if hasattr(parts["network"], "learnt_scales"):
        raise UserError(
            f"init={ancestor.folder} is a student, whose steps are not those of training; start from its teacher and "
            "distil that."
        )
    if inpaint and tuning.rank is not None:
        raise UserError("training.ldm.inpaint=true needs tune=full; what sees the hole is no part of the attention.")
    network = parts["network"]
    arguments = {key: value for key, value in ancestor.spec["network"].items() if key != "part"}
    if inpaint:
        network = learning(network, arguments)
    own = parts.get("attributes")
    if patients and own is None:
        raise UserError(f"init={ancestor.folder} was trained without view, age and sex; leave attributes= out.")

    def text_encoder(texts: Sequence[str], definition: str | None) -> TextEncoder:
        encoder = grown(parts["text_encoder"], texts, tuning.words, definition)
        encoder.lr_scale = tuning.text_rate
        return encoder

    def denoiser(channels: int, width: int) -> nn.Module:
        found: nn.Module = copy.deepcopy(network).train()
        if tuning.rank is not None and not add_low_rank(found, tuning.rank):
            raise UserError(f"tune=lora changes attention of ours, and the denoiser of {ancestor.folder} has none.")
        return found

    def attributes(width: int) -> PatientAttributes | None:
        return copy.deepcopy(own)

    def diffusion(network: nn.Module) -> tuple[Denoiser, DiffusionLoss]:
        return Denoiser(network, parts["schedule"], parts["scaling"]), loss()

    info = {key: ancestor.info[key] for key in (*KEPT, "findings") if ancestor.info.get(key) is not None}
    info |= ancestry(ancestor)
    info["guidance"] = Guidance.of_bundle(ancestor.info).settings() | {"chosen": "of the model that it started from"}
    specs = {name: ancestor.spec[name] for name in ("network", "schedule", "scaling")}
    if inpaint:
        specs["network"] = {"part": "InpaintUNet", **arguments}
    whitening = copy.deepcopy(parts["whitening"])
    return LDMParts(text_encoder, denoiser, attributes, diffusion, None, specs, whitening, info)


def classifier(ancestor: Bundle, classes: Sequence[str]) -> Classifier:
    """A classifier of these classes with a trained one's weights; what it did not know starts fresh.

    Raises:
        UserError: its network is of another kind, whose classes cannot be exchanged.
    """
    known = ancestor.parts["classifier"]
    if not isinstance(known, Classifier):
        raise UserError(f"init={ancestor.folder} is a {type(known).__name__}; only a Classifier can learn on.")
    arguments = {key: value for key, value in ancestor.spec["classifier"].items() if key not in ("part", "classes")}
    network = Classifier(classes, **arguments)
    weights = network.state_dict() | {name: w for name, w in known.state_dict().items() if not name.startswith("head.")}
    for place, name in enumerate(classes):
        if name in known.classes:
            for key in ("head.weight", "head.bias"):
                weights[key][place] = known.state_dict()[key][known.classes.index(name)]
    network.load_state_dict(weights, strict=True)
    return network
