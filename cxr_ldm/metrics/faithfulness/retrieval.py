"""Which prompt, of a hundred, does an image look like? Answered by a classifier's probabilities.

Prompts are ranked by how much the image speaks for each, the sum over classes of log P(t | x) / P(t): what a prompt
says that the image shows counts for it, and what is rare counts for more (Bayes' rule with equal odds for all prompts
and classes that are independent given the prompt). A class that a prompt leaves unknown says nothing.

Two things make the rate honest. Identical texts are one prompt, and each prompt of a group counts alike however many
images it has, so that a generator that ignores its prompts gets exactly k of D right in expectation, D the different
texts of a group. Prompts that the classifier cannot tell apart, since they name the same findings, share their rank: a
hit is counted by its expectation over random orders of the tied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GROUP = 100
TOP = (1, 5)
LEAST = 1e-6  # probabilities are kept this far from 0 and 1


@dataclass(frozen=True)
class Ranks:
    """Place of each image's own prompt among the different prompts of its group.

    Attributes:
        rows: int64 [M], images that took part: groups are full unless there is only one.
        better: int64 [M], prompts that the image speaks for more.
        tied: int64 [M], prompts that it speaks for as much, its own included.
        prompts: int64 [M], different prompts of its group.
        weights: float64 [M], 1 / images of the same prompt in the group.
        group: images of a group.
    """

    rows: np.ndarray
    better: np.ndarray
    tied: np.ndarray
    prompts: np.ndarray
    weights: np.ndarray
    group: int

    def hits(self, top: int) -> np.ndarray:
        """Probability that the own prompt is among the first `top`, float64 [M]."""
        return np.clip((top - self.better) / self.tied, 0.0, 1.0)

    def ranks(self) -> np.ndarray:
        """Expected rank of the own prompt, float64 [M]; 1 is the first."""
        return self.better + (self.tied + 1) / 2

    def chance(self, top: int) -> float:
        """Rate of hits of a generator that ignores its prompts."""
        return float(np.average(np.minimum(top / self.prompts, 1.0), weights=self.weights))


def evidence(probabilities: np.ndarray, prompts: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """Σ log P(t | x) / P(t) over the classes that a prompt knows, in nats, float64 [N,M].

    Args:
        probabilities: of each class in each image, [N,C].
        prompts: what each prompt says, [M,C]: 1 shown, 0 not shown, NaN unknown.
        prevalence: P(t = 1) for each class where the classifier was trained, [C].

    >>> evidence(np.array([[0.8]]), np.array([[1.0], [0.0], [np.nan]]), np.array([0.4])).round(3).tolist()
    [[0.693, -1.099, 0.0]]
    """
    p, prior = (np.clip(part.astype(np.float64), LEAST, 1 - LEAST) for part in (probabilities, prevalence))
    shown, absent = np.log(p / prior), np.log((1 - p) / (1 - prior))
    return shown @ (prompts == 1).T.astype(np.float64) + absent @ (prompts == 0).T.astype(np.float64)


def rank_prompts(
    probabilities: np.ndarray, targets: np.ndarray, texts: Sequence[str], prevalence: np.ndarray, seed: int = 0
) -> Ranks:
    """Rank every image's own text among those of its random group of 100 images, or of all where there are fewer.

    Args:
        probabilities: of the images, [N,C].
        targets: what the text of each says, [N,C].
        texts: of each image, N.
        prevalence: as in `evidence`.
        seed: of the groups.
    """
    order = np.random.default_rng(seed).permutation(len(texts))
    size = min(GROUP, len(order))
    groups = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    parts = [_ranked(probabilities[rows], targets[rows], [texts[row] for row in rows], prevalence) for rows in groups]
    better, tied, prompts, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Ranks(np.concatenate(groups), better, tied, prompts, weights, size)


def _ranked(
    probabilities: np.ndarray, targets: np.ndarray, texts: list[str], prevalence: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """better, tied, prompts and weights of one group."""
    _, first, own, counts = np.unique(texts, return_index=True, return_inverse=True, return_counts=True)
    speaks = evidence(probabilities, targets[first], prevalence).round(9)  # sums in another order must still tie
    mine = speaks[np.arange(len(own)), own][:, None]
    prompts = np.full(len(own), len(first))
    return (speaks > mine).sum(axis=1), (speaks == mine).sum(axis=1), prompts, 1 / counts[own]
