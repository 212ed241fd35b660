"""A judge of all real images, none of which it was trained on: K classifiers, each for the patients of one fold.

The trained classifier may judge only the split that it never saw, where a rare finding has a dozen images.
Cross-fitting (Chernozhukov et al. 2018, definition 3.1; cross-validation, Stone 1974) gives every image a score by a
classifier that saw neither it nor another image of its patient. Scores of different folds are of different classifiers
and compared all the same, which can only take from AUROC what their calibrations differ by.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.fitting import Pixels, Recipe, fit, scores

Keep = Callable[[int, Callable[[], Tensor]], Tensor]
Score = Callable[[int, np.ndarray, np.ndarray], Tensor]


def compute_anew(number: int, compute: Callable[[], Tensor]) -> Tensor:
    """What nothing keeps."""
    return compute()


KEEP: Keep = compute_anew


def folds(patients: Sequence[str], count: int) -> np.ndarray:
    """Fold of each image by the hash of its patient, int64 [N]: the same whatever other patients there are.

    >>> folds(["a", "b", "a"], 5).tolist()
    [0, 1, 0]
    """
    numbers = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % count for name in patients]
    return np.array(numbers, dtype=np.int64)


def crossfit(
    recipe: Recipe,
    pixels: Pixels,
    targets: np.ndarray,
    classes: Sequence[str],
    patients: Sequence[str],
    count: int = 5,
    seed: int = 0,
    keep: Keep = KEEP,
) -> np.ndarray:
    """Probability of each class in every image, by the classifier that saw no image of its patient, float32 [N,C].

    Args:
        pixels: places among the N images -> `[B,1,H,W]` in [-1, 1].
        targets: float [N,C]: 1 shown, 0 not shown, NaN unknown.
        patients: of each image.
        count: K, folds.
        keep: the scores of a fold, from where an earlier run left them or by computing them.

    Raises:
        UserError: there are fewer than 2 folds, or one of them holds no image.
    """

    def score(number: int, inside: np.ndarray, outside: np.ndarray) -> Tensor:
        network = fit(recipe, lambda rows: pixels(outside[rows]), targets[outside], classes, seed + number)
        return scores(recipe, network, pixels, inside)

    return out_of_fold(patients, count, len(classes), score, keep)


def out_of_fold(
    patients: Sequence[str], count: int, width: int, score: Score, keep: Keep = KEEP, key: str = "metrics.folds"
) -> np.ndarray:
    """The scores of each fold's images by what was made of all other images, float32 [N,C].

    Args:
        patients: of each image, N.
        count: K, folds.
        width: C.
        score: number of the fold, its images and all others -> float32 [n,C].
        keep: as of `crossfit`.
        key: of the setting of `count`.

    Raises:
        UserError: there are fewer than 2 folds, or one of them holds no image.
    """
    if count < 2:
        raise UserError(f"{key}={count} must be 2 or more.")
    fold = folds(patients, count)
    empty = sorted(set(range(count)) - set(fold.tolist()))
    if empty:
        raise UserError(f"{len(set(patients))} patients leave {len(empty)} of {count} folds empty; lower {key}.")
    result = torch.empty((len(fold), width), dtype=torch.float32)
    for number in range(count):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        result[torch.from_numpy(inside)] = keep(number, partial(score, number, inside, outside))
    return result.numpy()
