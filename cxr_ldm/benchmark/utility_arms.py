"""The arms of suite=utility: what each classifier is trained on, and its scores on patients whom it never saw."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.evaluation.crossfit import out_of_fold
from cxr_ldm.evaluation.feature_sets import kept
from cxr_ldm.evaluation.fitting import Pixels, Recipe, fit, scores

REAL_IMAGE = -1  # in place of the number of a synthetic replica
REAL, CONTROL, PRIMARY, SYNTHETIC = "real_once", "real_twice", "plus_1", "synthetic"


@dataclass(frozen=True)
class Source:
    """Real images, and synthetic ones of their texts.

    Attributes:
        classes: C names.
        targets: of the real images, float [N,C]: 1 shown, 0 not shown, NaN unknown.
        patients: of each image, N.
        collections: name of the collection of each image, str [N].
        real: places among the N images -> `[B,1,H,W]` in [-1, 1].
        synthetic: places, and the number of a replica from 0 on -> images of the texts there, `[B,1,H,W]`.
        synthetic_targets: of the synthetic images, [N,C], the same for all replicas.
        groups: subgroups of the real images, each bool [N].
        made_by: what decides the real images, as JSON values, by which their scores are kept.
        drawn_by: likewise, the synthetic ones.
    """

    classes: Sequence[str]
    targets: np.ndarray
    patients: Sequence[str]
    collections: np.ndarray
    real: Pixels
    synthetic: Callable[[np.ndarray, int], Tensor]
    synthetic_targets: np.ndarray
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)
    drawn_by: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """What a classifier is trained on.

    Attributes:
        name: in metrics.
        copies: of each real image.
        ratio: synthetic images for each real one.
    """

    name: str
    copies: int
    ratio: float = 0.0

    def items(self, places: np.ndarray, replicas: int, seed: int) -> np.ndarray:
        """Place and replica of each training image, int64 [M,2]; REAL_IMAGE for a real one.

        Seeds begin with different replicas, and a ratio that is no whole number takes a part of them at random.

        >>> Arm("plus_0.5", 1, 0.5).items(np.array([4, 7]), 2, 0).tolist()
        [[4, -1], [7, -1], [4, 0]]
        """
        parts = [numbered(places, REAL_IMAGE)] * self.copies
        left, order = round(self.ratio * len(places)), np.random.default_rng([seed, 7]).permutation(places)
        number = seed
        while left > 0:
            parts.append(numbered(order[:left], number % replicas))
            left, number = left - len(places), number + 1
        return np.concatenate(parts)


def numbered(places: np.ndarray, replica: int) -> np.ndarray:
    """Places beside the number of one replica, int64 [M,2]."""
    return np.stack([places, np.full_like(places, replica)], axis=1)


def arms(ratios: Sequence[float]) -> list[Arm]:
    """Every arm; the control holds each real image twice, as many as real and synthetic ones at ratio 1.

    >>> [arm.name for arm in arms([0.5, 1])]
    ['real_once', 'real_twice', 'plus_0.5', 'plus_1', 'synthetic']
    """
    mixed = [Arm(f"plus_{ratio:g}", 1, float(ratio)) for ratio in ratios]
    return [Arm(REAL, 1), Arm(CONTROL, 2), *mixed, Arm(SYNTHETIC, 0, 1.0)]


@dataclass(frozen=True)
class Design:
    """How the arms are compared.

    Attributes:
        arms: all of them.
        seeds: of weights, order, folds and replicas.
        folds: K, of patients.
        recipe: of every classifier; its epochs are passes over twice the real images.
        settings: all of the recipe as JSON values, by which scores are kept.
        replicas: synthetic images of each text.
    """

    arms: Sequence[Arm]
    seeds: Sequence[int]
    folds: int
    recipe: Recipe
    settings: Mapping[str, Any]
    replicas: int

    def steps(self, real: int) -> int:
        """Optimiser steps of every arm for so many real training images."""
        return self.recipe.epochs * -(-2 * real // self.recipe.batch_size)


def people(source: Source, seed: int) -> list[str]:
    """Names by which the folds of a seed are drawn: each seed has others, so that the spread of seeds has theirs."""
    return [f"{seed}/{name}" for name in source.patients]


def all_scores(source: Source, design: Design, cache: Path) -> dict[tuple[str, int], np.ndarray]:
    """Scores float32 [N,C] of the real images by each arm and seed; what an earlier run finished is taken from `cache`.

    Raises:
        UserError: a fold would be empty, or as `fit`.
    """
    return {
        (arm.name, seed): arm_scores(source, design, arm, seed, cache) for seed in design.seeds for arm in design.arms
    }


def arm_scores(source: Source, design: Design, arm: Arm, seed: int, cache: Path) -> np.ndarray:
    """Scores of every image by classifiers of one arm that saw neither its patient nor an image of that one's texts."""
    facts = dict(source.made_by) | {"utility": {"copies": arm.copies, "ratio": arm.ratio}}
    facts |= {"seed": seed, "folds": design.folds}
    facts |= {"classes": list(source.classes), "fitted": dict(design.settings)}
    if arm.ratio:
        facts |= {"replicas": design.replicas, "drawn_by": dict(source.drawn_by)}

    def score(number: int, inside: np.ndarray, outside: np.ndarray) -> Tensor:
        items = arm.items(outside, design.replicas, seed)
        network = fit(
            design.recipe,
            partial(mixed, source, design.recipe, items),
            targets_of(source, items),
            source.classes,
            seed_of(seed, number),
            design.steps(len(outside)),
        )
        return scores(design.recipe, network, source.real, inside)

    def keep(number: int, compute: Callable[[], Tensor]) -> Tensor:
        return kept(cache, facts | {"fold": number}, compute, "scores")

    width, key = len(source.classes), "suite.run.folds"
    return out_of_fold(people(source, seed), design.folds, width, score, keep, key)


def seed_of(seed: int, fold: int) -> int:
    """Of the weights and the order of one classifier; no two seeds share one, as their sum with the fold would.

    >>> len({seed_of(seed, fold) for seed in range(5) for fold in range(5)})
    25
    """
    return int(np.random.SeedSequence([seed, fold]).generate_state(1)[0])


def targets_of(source: Source, items: np.ndarray) -> np.ndarray:
    """What training images show, float [M,C]."""
    places = items[:, 0]
    real = (items[:, 1] == REAL_IMAGE)[:, None]
    return np.where(real, source.targets[places], source.synthetic_targets[places])


def mixed(source: Source, recipe: Recipe, items: np.ndarray, rows: np.ndarray) -> Tensor:
    """Training images at `rows` of `items`, real and synthetic ones, as the network gets them, `[B,1,H,W]`."""
    chosen, parts, order = items[rows], [], []
    for replica in np.unique(chosen[:, 1]):
        at = np.flatnonzero(chosen[:, 1] == replica)
        places = chosen[at, 0]
        found = source.real(places) if replica == REAL_IMAGE else source.synthetic(places, int(replica))
        parts.append(recipe.shown(found))
        order.append(at)
    return torch.cat(parts)[torch.from_numpy(np.argsort(np.concatenate(order)))]
