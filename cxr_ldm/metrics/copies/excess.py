"""Is a generator nearer to its training images than to as many images that it never saw?

The comparison needs no model of how near two radiographs come. A generator that memorised nothing does not know which
patients were held out, so that any other division of the same patients into training and held-out ones could have been
the true one: what is observed is compared with all these divisions (a permutation test of the labels, Fisher 1935).
Patients are divided and not images, and the samples stay as they are, so that a reference which many samples resemble
(a hub), or several images of one patient, count once; a sign test over samples alarms too often there.

Distances are d = 1 - s with the cosine s of two rows, half the squared distance of these unit vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import NORMAL, Interval, owners

# A sample leads at one patient where all others are more than twice as far. Among real radiographs of three collections
# (NIH, Open-i, Kermany; 10,191 images at 32 × 32 pixels) 16 do; of copies after a blur of 1.5 pixels over 98 in 100.
RATIO = 0.5
CROWD = 8  # patients at most that share a lead: an image of which a collection holds duplicates
FINEST = 1e-4  # smaller distances are equal: what float32 and a file's grey levels leave of an identical picture
DIVISIONS = 999  # drawn at random; the smallest p is 0.001
BLOCK = 256  # samples compared at once
NOTHING = -2.0  # likeness of what is not compared; cosines end at -1


@dataclass(frozen=True)
class Neighbours:
    """The nearest patients of each sample, both sides together.

    Attributes:
        distance: float32 [N, L], to the nearest image of each of the L nearest patients, rising.
        patient: int64 [N, L], which patients these are.
        trained: bool [P], which patients the generator was trained on.
        training, held_out: float32 [N], similarity with the nearest image of each side.
        index: int64 [N], which training image that is.
    """

    distance: Tensor
    patient: Tensor
    trained: np.ndarray
    training: Tensor
    held_out: Tensor
    index: Tensor

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of patients of the training, and of those held out."""
        return int(self.trained.sum()), int((~self.trained).sum())


def find(
    samples: Tensor,
    training: Tensor,
    held_out: Tensor,
    people: tuple[Sequence[str], Sequence[str]] | None = None,
    asked: Sequence[str] | None = None,
) -> Neighbours:
    """Search both sides for the nearest patients of each sample.

    Args:
        samples, training, held_out: rows of length 1, float32 [N, D], [T, D], [M, D].
        people: patient of each training and of each held-out row; None: each row is of another patient.
        asked: patient whose text each sample was made from. It is left out for this sample: that a picture resembles
            the one that its text describes is no memory, and without it all others have the same chance to be nearest.

    Raises:
        UserError: a side is empty, or a patient is on both.

    >>> at = find(torch.eye(2)[:1], torch.eye(2)[:1], torch.eye(2)[1:])
    >>> at.index.item(), at.training.item(), at.held_out.item()
    (0, 1.0, 0.0)
    """
    if min(len(samples), len(training), len(held_out)) == 0:
        raise UserError(
            f"memorisation: {len(samples)} generated, {len(training)} training and {len(held_out)} held-out images; "
            "all three are needed."
        )
    if people is None:
        people = [f"t{i}" for i in range(len(training))], [f"h{i}" for i in range(len(held_out))]
    one, two = owners(*people)
    if set(one) & set(two):
        raise UserError("memorisation: a patient has training and held-out images, so the held-out ones were seen.")
    numbers = dict(zip([*people[0], *people[1]], np.concatenate([one, two]).tolist(), strict=True))
    own = torch.tensor([numbers.get(name, -1) for name in asked] if asked is not None else [-1] * len(samples))
    place = torch.from_numpy(np.concatenate([one, two]))
    trained = np.isin(np.arange(len(set(numbers.values()))), one)
    length = min(len(trained), max(CROWD + 1, -(-8 * len(trained) // int((~trained).sum()))))
    references, parts = torch.cat([training, held_out]), []
    for part, self in zip(samples.split(BLOCK), own.split(BLOCK), strict=True):
        likeness = (part @ references.T).masked_fill_(self[:, None] == place, NOTHING)
        seen = likeness[:, : len(training)].max(1)
        unseen = likeness[:, len(training) :].amax(1)
        parts.append((*_nearest_patients(likeness, place, len(trained), length), seen.values, unseen, seen.indices))
    near, patient, seen_near, unseen_near, index = (torch.cat(each) for each in zip(*parts, strict=True))
    return Neighbours((1 - near).clamp_min(FINEST), patient, trained, seen_near, unseen_near, index)


def _nearest_patients(likeness: Tensor, place: Tensor, people: int, length: int) -> tuple[Tensor, Tensor]:
    """Likeness of the `length` nearest patients, and these, from that of each reference; `place` [R] is its patient."""
    nearest = torch.full((len(likeness), people), NOTHING)
    values, patient = nearest.scatter_reduce_(1, place.expand(len(likeness), -1), likeness, "amax").topk(length, dim=1)
    return values, patient


def divisions(trained: np.ndarray, seed: int, count: int) -> np.ndarray:
    """Random divisions of the patients, as many trained on in each as in truth, bool [count, P]."""
    return np.random.default_rng(seed).permuted(np.tile(trained, (count, 1)), axis=1)


def at_random(more: int, fewer: int, length: int) -> np.ndarray:
    """Probability that `fewer` of `more` patients, drawn at random, hold one of the j nearest, for j = 0 to `length`.

    1 - C(more - j, fewer) / C(more, fewer).

    >>> at_random(4, 2, 3).round(3).tolist()  # 1 - C(3, 2) / C(4, 2) = 1 - 3 / 6
    [0.0, 0.5, 0.833, 1.0]
    """
    left = np.maximum(more - np.arange(length + 1), 0)
    inside = left >= fewer
    left = np.where(inside, left, fewer)
    logs = gammaln(left + 1) - gammaln(left - fewer + 1) - gammaln(more + 1) + gammaln(more - fewer + 1)
    return np.where(inside, 1 - np.exp(logs), 1.0)


def nearer_share(found: Neighbours, trained: np.ndarray, table: np.ndarray) -> float:
    """Share of samples that are nearer to the training than to as many patients held out, under a division.

    Of the larger side all parts as large as the smaller one count alike, so that every image does.

    Args:
        trained: bool [P], the division.
        table: `at_random` of the two sides, for the width of `found.patient`.
    """
    larger = trained if 2 * trained.sum() >= len(trained) else ~trained
    smaller = ~larger[found.patient.numpy()]
    before = np.where(smaller.any(1), smaller.argmax(1), smaller.shape[1])
    share = float(table[before].mean())
    return share if larger is trained else 1 - share


def nearer_metric(found: Neighbours, facts: dict[str, object], seed: int = 0, divided: int = DIVISIONS) -> Metric:
    """Share of samples nearer to the training than to as many patients held out: 0.5 where nothing is remembered.

    Its spread is that of the share over the divisions: given the samples and all references, these are what is random
    where nothing is remembered. p is one-sided, exact under exchangeable patients.
    """
    t, m = found.sizes
    table = at_random(max(t, m), min(t, m), found.patient.shape[1])
    value = nearer_share(found, found.trained, table)
    drawn = np.array([nearer_share(found, each, table) for each in divisions(found.trained, seed, divided)])
    stated = {**facts, **_patients(found, divided), "expected": 0.5, "p_value": p_value(value, drawn)}
    n, error = len(found.index), float(drawn.std())
    if error == 0:
        return Metric(value, n, False, settings=stated, reason="all divisions of the patients give the same share")
    ends = max(value - NORMAL * error, 0.0), min(value + NORMAL * error, 1.0)
    stated["interval"] = "normal, the spread over divisions of the patients"
    return Metric(value, n, False, ends, stated, over="divisions of the patients, the samples held fixed")


@dataclass(frozen=True)
class Leads:
    """Samples that lead at one patient, or at a crowd of near duplicates.

    Attributes:
        crowd: int64 [K, CROWD], the patients of each lead; a place that is not filled repeats the nearest.
        chance: float64 [K], probability that all of them were trained on, were the patients divided at random.
        n: samples, those that lead and those that do not.
    """

    crowd: np.ndarray
    chance: np.ndarray
    n: int

    def trained(self, trained: np.ndarray) -> np.ndarray:
        """Whether a lead is the training's under a division, bool [K]."""
        return trained[self.crowd].all(1)

    def excess(self, trained: np.ndarray) -> float:
        """Mean over samples: 1 for a lead of the training, less what as many patients held out would give."""
        ours = self.trained(trained)
        return float((ours - ~ours * self.chance / (1 - self.chance)).sum() / self.n)


def leads(found: Neighbours) -> Leads:
    """The samples whose nearest patients, CROWD at most, are nearer than RATIO times the distance of all others.

    Whether a sample leads does not depend on who was trained on, so the test stays exact.
    """
    t, m = found.sizes
    distance, patient = found.distance.numpy(), found.patient.numpy()
    near = distance * RATIO <= distance[:, :1]
    count = near.sum(1)
    some = (count <= CROWD) & (count < distance.shape[1])
    near, patient, count = near[some, :CROWD], patient[some, :CROWD], count[some]
    table = 1 - at_random(t + m, m, CROWD)  # none of the crowd held out
    crowd = np.where(near, patient, patient[:, :1])
    return Leads(crowd, np.minimum(table[count], 1 - 1e-12), len(distance))


def excess_metric(found: Neighbours, facts: dict[str, object], seed: int = 0, divided: int = DIVISIONS) -> Metric:
    """Share of samples that lead at training images, above what held-out ones explain: 0 where nothing is remembered.

    A copy counts 1, a lead at a held-out patient - T / M, since as many would be of the training by chance. The
    interval is Wilson's for either part, joined as by Zou & Donner 2008; samples at one patient are one event (Bohm &
    Zech 2014), so that what a memorised image adds is not counted as many independent finds.
    """
    at = leads(found)
    ours = at.trained(found.trained)
    value = at.excess(found.trained)
    drawn = np.array([at.excess(each) for each in divisions(found.trained, seed, divided)])
    event = at.crowd.min(1)  # one for all samples of a crowd
    t, m = found.sizes
    plus = share_interval(np.ones(int(ours.sum())), event[ours], at.n, 1.0)
    minus = share_interval((at.chance / (1 - at.chance))[~ours], event[~ours], at.n, t / m)
    stated = {**facts, **_patients(found, divided), "ratio": RATIO, "crowd": CROWD}
    stated |= {"leads": len(ours), "training_leads": int(ours.sum()), "expected": 0.0}
    stated |= {"p_value": p_value(value, drawn), "interval": "Wilson of both parts, joined; a patient is one event"}
    return Metric(value, at.n, False, joined(plus, minus), stated, over="samples, those at one patient as one")


def p_value(value: float, drawn: np.ndarray) -> float:
    """One-sided p of a permutation test, the true division among the drawn (Phipson & Smyth 2010).

    >>> p_value(3.0, np.array([1.0, 2.0, 3.0]))
    0.5
    """
    return float((1 + (drawn >= value - 1e-12).sum()) / (1 + len(drawn)))


def share_interval(weights: np.ndarray, patients: np.ndarray, n: int, unit: float) -> tuple[float, float, float]:
    """Sum of event weights over n trials, and its 95 % interval (Wilson 1927), events of one patient taken together.

    In units of `unit` the sum V is spread as that of V / s events of weight s = Σ v² / V would be (Bohm & Zech 2014), v
    the sum at each patient.

    Args:
        weights, patients: of each event.
        unit: weight of a single event.

    >>> [round(end, 3) for end in share_interval(np.ones(9), np.arange(9), 10, 1.0)]
    [0.9, 0.596, 0.982]
    """
    together = np.bincount(patients, weights=weights / unit) if len(patients) else np.zeros(1)
    total = float(together.sum())
    trials = n / max(float((together**2).sum() / total), 1.0) if total else float(n)
    share, z2 = min(total / n, 1.0), NORMAL**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = NORMAL / (1 + z2 / trials) * (share * (1 - share) / trials + z2 / (4 * trials**2)) ** 0.5
    return total / n * unit, max(middle - half, 0.0) * unit, (middle + half) * unit


def joined(plus: tuple[float, float, float], minus: tuple[float, float, float]) -> Interval:
    """95 % interval of a difference from those of its parts, each as value, low, high (Zou & Donner 2008).

    >>> [round(end, 2) for end in joined((0.5, 0.4, 0.6), (0.2, 0.1, 0.3))]
    [0.16, 0.44]
    """
    (one, one_low, one_high), (two, two_low, two_high) = plus, minus
    low = one - two - ((one - one_low) ** 2 + (two_high - two) ** 2) ** 0.5
    return low, one - two + ((one_high - one) ** 2 + (two - two_low) ** 2) ** 0.5


def _patients(found: Neighbours, divided: int) -> dict[str, object]:
    t, m = found.sizes
    return {"training_patients": t, "held_out_patients": m, "divisions": divided}
