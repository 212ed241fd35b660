"""The top layers of a pretrained transformer, which stay frozen at first and train later."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Positive, Whole

# Transformers whose layers stand under `encoder.layer` and need nothing but the states and one mask.
SPLITTABLE = ("bert", "camembert", "electra", "roberta", "xlm-roberta")


@dataclass(frozen=True)
class Unfreezing:
    """When the top layers of an encoder begin to train, and how fast: the config's `text_encoder.unfreeze`.

    Args:
        layers: how many of the topmost; 0 keeps the whole transformer frozen.
        at_step: optimiser steps that are taken before.
        lr_scale: factor on the learning rate of these layers.

    Raises:
        UserError: a value that cannot be meant.
    """

    layers: Whole
    at_step: Whole
    lr_scale: Positive

    def __post_init__(self) -> None:
        for key in ("layers", "at_step"):
            value = getattr(self, key)
            if type(value) is not int or value < 0:
                raise UserError(f"text_encoder.unfreeze.{key}={value} must be a whole number of 0 or more.")
        if type(self.lr_scale) not in (int, float) or not 0 < self.lr_scale < float("inf"):
            raise UserError(f"text_encoder.unfreeze.lr_scale={self.lr_scale} must be a number above 0.")


def split(transformer: Any, layers: int) -> nn.ModuleList:
    """Take the top `layers` layers off a transformer, which from then on ends below them; returns those.

    Raises:
        UserError: it has fewer layers, or is not of BERT's build.
    """
    if layers == 0:
        return nn.ModuleList()
    config = transformer.config
    if config.model_type not in SPLITTABLE:
        raise UserError(
            f"text_encoder.unfreeze.layers={layers} needs an encoder of BERT's build ({', '.join(SPLITTABLE)}), "
            f"and this one is {config.model_type}; set text_encoder.unfreeze.layers=0."
        )
    if layers > config.num_hidden_layers:
        raise UserError(
            f"text_encoder.unfreeze.layers={layers} is more than the {config.num_hidden_layers} layers of the encoder."
        )
    every = transformer.encoder.layer
    lower = len(every) - layers
    transformer.encoder.layer = every[:lower]
    return every[lower:]


def run(layers: Iterable[Any], states: Tensor, mask: Tensor) -> Tensor:
    """States `[U,L,D]` through layers of BERT's build, one after the other; padding (False in `[U,L]`) is not seen."""
    added = torch.zeros(mask.shape, dtype=states.dtype, device=mask.device)
    added = added.masked_fill(~mask, torch.finfo(states.dtype).min)[:, None, None]
    for layer in layers:
        found = layer(states, attention_mask=added)
        states = found[0] if isinstance(found, tuple) else found  # transformers 4 gives a tuple, 5 the states
    return states


def linked(states: Tensor, weights: Iterable[nn.Parameter]) -> Tensor:
    """The same states, with `weights` in their graph at a gradient of zero.

    DistributedDataParallel waits for a gradient of every weight that it was given at the start, those that are to
    train later included. This gives it one without a backward pass through their layers.
    """
    return states + 0.0 * sum(weight.flatten()[0] for weight in weights)
