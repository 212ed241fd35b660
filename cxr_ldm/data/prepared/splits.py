"""Which split a patient belongs to, decided by the patient's id alone."""

import hashlib
from typing import Literal

import numpy as np

from cxr_ldm.errors import UserError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def split_of(patient_id: str, seed: int, val: float, test: float) -> Split:
    """Split of a patient: a hash of the id, read as a uniform number u in [0, 1), against the shares.

    The splits are disjoint by patient by construction, do not depend on the order or the number of the images, and
    a collection that grows keeps every earlier patient where it was. Shares hold in expectation.
    A published split is not used: some cross patients (725 patient ids of the Kermany set do).

    Args:
        patient_id: the person; images of one id share a split.
        seed: another seed gives an independent split.
        val: expected share of patients for validation, in [0, 1).
        test: expected share of patients for test, in [0, 1); val + test < 1.

    Raises:
        UserError: the shares leave nothing to train on.

    >>> split_of("person1", seed=0, val=0.1, test=0.1)
    'train'
    """
    if val < 0 or test < 0 or val + test >= 1:
        raise UserError(f"data.splits has val={val} and test={test}; both must be at least 0, with a sum below 1.")
    digest = hashlib.sha256(f"{seed}:{patient_id}".encode()).digest()
    uniform = int.from_bytes(digest[:8]) / 2**64
    if uniform < test:
        return "test"
    return "val" if uniform < test + val else "train"


def evenly(rows: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` rows at equal distances, so that a picture shows every source of a joined collection.

    >>> evenly(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]
