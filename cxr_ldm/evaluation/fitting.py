"""A plain fit of the finding classifier, for measurements that need several: the stage's network and loss in one loop.

No augmentation, average of weights or early stopping: what is compared is what the images teach, all else equal.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from cxr_ldm.errors import UserError
from cxr_ldm.networks.classifier import Classifier
from cxr_ldm.stages.classifier import masked_cross_entropy
from cxr_ldm.stages.optimisation import MakeOptimizer, optimisation

Pixels = Callable[[np.ndarray], Tensor]
AT_ONCE = 64  # images that are scored at once
LAST_RATE = 0.05  # share of the learning rate at the end of its cosine


@dataclass(frozen=True)
class Recipe:
    """How a classifier is fitted.

    Attributes:
        network: makes one with fresh weights, for these classes.
        optimizer: makes the optimiser of parameter groups.
        epochs: passes over the images.
        batch_size: images a step.
        size: side in pixels to which larger images are averaged down; None takes them as they are.
        device: where it is fitted.
    """

    network: Callable[[Sequence[str]], Classifier]
    optimizer: MakeOptimizer
    epochs: int
    batch_size: int
    size: int | None = None
    device: str = "cpu"

    def shown(self, pixels: Tensor) -> Tensor:
        """Pixels `[B,1,H,W]` as the network gets them."""
        if self.size is not None and pixels.shape[-1] > self.size:
            pixels = functional.adaptive_avg_pool2d(pixels, self.size)
        return pixels.to(self.device)


def fit(
    recipe: Recipe,
    pixels: Pixels,
    targets: np.ndarray,
    classes: Sequence[str],
    seed: int = 0,
    steps: int | None = None,
) -> Classifier:
    """A classifier fitted to images; the same seed and images give the same weights on one device.

    Args:
        pixels: places among the N images -> `[B,1,H,W]` in [-1, 1].
        targets: float [N,C]: 1 shown, 0 not shown, NaN unknown.
        classes: C names.
        steps: of the optimiser, in place of the recipe's epochs: as many for sets of whatever size.

    Raises:
        UserError: nothing is known of any image, or the loss is not finite.
    """
    known = np.flatnonzero(~np.isnan(targets).all(axis=1))
    if len(known) == 0:
        raise UserError("a classifier cannot be fitted: no image is known to show a finding or not.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = recipe.network(classes).to(recipe.device).train()
    order = np.random.default_rng([seed, 5])
    total = steps or -(-len(known) // recipe.batch_size) * recipe.epochs
    made: Any = optimisation([(network.parameters(), 1.0)], recipe.optimizer, min(50, total // 10), total, LAST_RATE)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    with tqdm(total=total, desc="fitting a classifier", unit="step") as bar, torch.enable_grad():
        for rows in batches(known, recipe, order, steps):
            loss = masked_cross_entropy(
                network(recipe.shown(pixels(rows))), torch.from_numpy(targets[rows]).float().to(recipe.device)
            )
            if not torch.isfinite(loss):
                raise UserError(f"the loss is {loss.item()} while a classifier is fitted; lower its learning rate.")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update()
    return network.eval()


def batches(known: np.ndarray, recipe: Recipe, order: np.random.Generator, steps: int | None) -> Iterator[np.ndarray]:
    """Rows of each step: parts of alike size of each pass, or `steps` whole batches, which may span two passes."""
    if steps is None:
        for _ in range(recipe.epochs):
            yield from np.array_split(order.permutation(known), -(-len(known) // recipe.batch_size))
        return
    left = known[:0]
    for _ in range(steps):
        while len(left) < recipe.batch_size:
            left = np.concatenate([left, order.permutation(known)])
        yield left[: recipe.batch_size]
        left = left[recipe.batch_size :]


def scores(recipe: Recipe, network: Classifier, pixels: Pixels, rows: np.ndarray) -> Tensor:
    """Probability of each class in the images at `rows`, float32 [N,C], on the CPU."""
    parts = np.array_split(rows, -(-len(rows) // AT_ONCE))
    return torch.cat([network.probabilities(recipe.shown(pixels(part))).cpu() for part in parts])
