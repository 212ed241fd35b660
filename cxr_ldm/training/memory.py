"""How many images of a batch a device can train on at once, counted before anything is computed."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn
from torch._subclasses import FakeTensorMode

from cxr_ldm import ranks
from cxr_ldm.errors import UserError
from cxr_ldm.networks.checkpointing import checkpointed, kept_bytes
from cxr_ldm.stages.recipe import Recipe

COPIES = 5  # of the weights: themselves, gradients, two moments of Adam, their average
USABLE = 0.85  # share of the memory; the rest is for the libraries, their workspaces, and gaps between tensors
FEW = 4  # images at once, below which recomputing pays more than smaller parts
Step = Callable[[nn.Module, int], Any]


@dataclass(frozen=True)
class Need:
    """Bytes of a training in float32.

    Attributes:
        fixed: whatever the batch.
        image: for each image of it.
    """

    fixed: int
    image: int

    def images(self, gigabytes: float) -> int:
        """Most images at once."""
        return int((USABLE * gigabytes * 1e9 - self.fixed) // self.image)


def need(whole: nn.Module, network: nn.Module, step: Step, checkpointing: bool) -> Need:
    """What training takes, counted on fake tensors, of which no number is computed.

    Args:
        whole: everything that trains.
        network: the part of it whose activations count.
        step: calls that network with a number of images.
        checkpointing: whether its blocks compute again what they do not keep.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        copied = copy.deepcopy(network).train()
        if checkpointing:
            checkpointed(copied)
        one, two = (kept_bytes(partial(step, copied, count), copied) for count in (1, 2))
    weights = sum(value.nbytes for value in whole.parameters())
    return Need(COPIES * weights + max(0, 2 * one - two), two - one)


def fitted(plan: Any, module: nn.Module, gigabytes: float) -> tuple[Recipe, bool]:
    """The recipe of a plan in parts of a batch that fit, and whether blocks compute again what they do not keep.

    The batch of a step stays as large; what is said says how it is divided.

    Raises:
        UserError: not one image fits, or the stage cannot say what it needs.
    """
    recipe: Recipe = plan.recipe
    network, step = plan.heaviest(module)
    share = recipe.batch_size // ranks.count()
    for again in (False, True):
        found = need(module, network, step, again)
        most = found.images(gigabytes)
        if most >= min(FEW, share):
            break
    if most < 1:
        least = (found.fixed + found.image) / USABLE / 1e9
        raise UserError(
            f"trainer.memory_gb={gigabytes} does not hold one image of this training, which needs some {least:.1f} GB; "
            "take a smaller network or smaller images."
        )
    size = max(part for part in range(1, share + 1) if share % part == 0 and part <= most)
    print(
        f"trainer.memory_gb={gigabytes}: {size} of {share} images at once"
        + (", blocks computed again for the backward pass" if again else "")
        + f" ({(found.fixed + size * found.image) / 1e9:.1f} GB counted)"
    )
    return replace(recipe, batch_size=size * ranks.count(), accumulate=recipe.accumulate * (share // size)), again
