"""What a copier, an autoencoder, shuffled prompts and the empty prompt get by the measures of the generated set.

A number means something between these: a perfect copier has the best distances and remembers everything, the
autoencoder's reconstructions are the best that its decoder can do, shuffled prompts are images that say nothing of
their prompts, and the empty prompt is the model without text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances.floors import Floors, distances_from
from cxr_ldm.metrics.faithfulness.judged import Judged, faithfulness
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import PATIENTS

MARK = "_reference_"
# Name in metrics.json, and what it is.
REFERENCES = {
    "copier": "training images, as a perfect copier gives them",
    "reconstruction": "reconstructions of these images by the bundle's autoencoder",
    "shuffled": "the generated images beside the texts of others",
    "empty": "images generated from the empty prompt",
}
KINDS = ("fid", "kid", "precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Reference:
    """Images to be measured in place of the generated ones.

    Attributes:
        name: a key of REFERENCES.
        features: float64 [N, D].
        patients: of the images, or their own names where they are nobody's.
        settings: what else is to be said of them.
        over: what `patients` are.
    """

    name: str
    features: Tensor
    patients: Sequence[str]
    settings: Mapping[str, Any]
    over: str = PATIENTS


def reference_distances(
    real: Tensor,
    patients: Sequence[str],
    reference: Reference,
    floor: Floors,
    facts: dict[str, object],
    *,
    neighbours: int = 5,
    seed: int = 0,
) -> dict[str, Metric]:
    """FID with its ratio to the floor, KID, precision, recall, density and coverage of a reference.

    Args:
        real: features of the images that the generated set is measured against, [N, D].
        patients: of these.
        floor: at the smaller number of the two sets, as for the generated one.
        facts: of the extractor.

    Returns:
        entries named as those of the generated set, with `_reference_NAME` at the end.
    """
    stated = {**facts, **reference.settings, "compared": REFERENCES[reference.name]}
    found = distances_from(
        real,
        reference.features,
        floor,
        stated,
        patients=(patients, reference.patients),
        neighbours=neighbours,
        seed=seed,
        over=reference.over,
    )
    kept = {f"{kind}_{facts['extractor']}" for kind in KINDS} | {f"fid_{facts['extractor']}_ratio"}
    return {f"{name}{MARK}{reference.name}": metric for name, metric in found.items() if name in kept}


def shuffled(judged: Judged, facts: dict[str, Any], seed: int = 0) -> dict[str, Metric]:
    """Every figure of `faithfulness` with image i judged against the text of j, never its own patient's.

    An interval that does not hold 0.5 would show that the measure rewards something else than the prompt.
    """
    order = derangement(judged.patients, seed)
    moved = replace(judged, probabilities=judged.probabilities[order])
    stated = facts | {"images": REFERENCES["shuffled"]}
    return faithfulness(moved, stated, f"{MARK}shuffled", seed)


def derangement(patients: Sequence[str], seed: int = 0) -> np.ndarray:
    """A random order that gives nobody an image of the same patient, int64 [N].

    Images are put in a circle, patient by patient in random order, and all move on by the largest number of images of
    one patient.

    Raises:
        UserError: a patient has more than half of the images.

    >>> patients = ["a", "a", "b", "c"]
    >>> order = derangement(patients)
    >>> sorted(order.tolist()), any(patients[i] == patients[j] for i, j in enumerate(order))
    ([0, 1, 2, 3], False)
    """
    names, owner, counts = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    if 2 * counts.max() > len(owner):
        raise UserError(
            f"{names[counts.argmax()]} has {counts.max()} of {len(owner)} images, so shuffled prompts would be its own."
        )
    random = np.random.default_rng([seed, 3])  # a stream of its own: nothing that it is applied to may share it
    circle = np.lexsort((random.random(len(owner)), random.permutation(len(names))[owner]))
    order = np.empty(len(owner), dtype=np.int64)
    order[circle] = np.roll(circle, counts.max())
    return order
