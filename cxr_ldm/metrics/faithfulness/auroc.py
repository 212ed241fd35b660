"""Area under the ROC curve of each class, with unknown truths left out and weights for the bootstrap over patients."""

from collections.abc import Sequence

import numpy as np

BOOTSTRAP = 1000


def auroc(
    scores: np.ndarray, truth: np.ndarray, groups: np.ndarray | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """Share of pairs (positive, negative) whose positive scores higher, ties as one half (Hanley & McNeil 1982, eq. 1).

    With `groups` only pairs of one group count. Where a finding is more frequent in one collection than in another,
    telling the collections apart would else pass for seeing the finding.

    Args:
        scores: float [N].
        truth: bool [N].
        groups: int or str [N]; None: all images are of one.
        weights: float [B,N], how often each image counts; None: once.

    Returns:
        float64 [B], or [] without weights; NaN where there is no pair.

    >>> auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])).item()
    0.875
    """
    many = np.ones((1, len(scores))) if weights is None else weights
    won, total = np.zeros(len(many)), np.zeros(len(many))
    for group in [slice(None)] if groups is None else [groups == name for name in np.unique(groups)]:
        for whole, part in zip((won, total), _pairs(scores[group], truth[group], many[:, group]), strict=True):
            whole += part
    result = np.divide(won, total, out=np.full(len(many), np.nan), where=total > 0)
    return result[0] if weights is None else result


def _pairs(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs won and all pairs, float64 [B] each."""
    _, level = np.unique(scores, return_inverse=True)
    order = np.argsort(level, kind="stable")
    starts = np.flatnonzero(np.diff(level[order], prepend=-1))
    positive, negative = (
        np.add.reduceat(weights[:, order] * chosen[order], starts, axis=1) for chosen in (truth, ~truth)
    )
    below = negative.cumsum(axis=1) - negative / 2
    return (positive * below).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1)


def patient_weights(patients: Sequence[str], seed: int = 0, draws: int = BOOTSTRAP) -> np.ndarray:
    """Bootstrap over patients (Efron 1979): how often each image counts in each draw, float64 [draws,N].

    A patient is drawn with all of its images.
    """
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    count = owner.max() + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    return drawn[:, owner].astype(np.float64)
