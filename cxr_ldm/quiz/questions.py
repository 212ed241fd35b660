"""What a quiz asks, of which images, in which order; all of it a function of a seed.

Two kinds: a pair, of which one is real (two-alternative forced choice: chance is one half whatever a reader prefers),
and a single image, of which it is asked whether it is real, what it shows and on which side.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from cxr_ldm.data.findings.words import NO_FINDING
from cxr_ldm.errors import UserError

Kind = Literal["pair", "single"]
Asked = Literal["which", "real", "finding", "side"]
WHICH: tuple[str, str] = ("first", "second")
REAL: tuple[str, str] = ("real", "synthetic")
SIDES: tuple[str, str] = ("right", "left")
NONE = NO_FINDING
MOST_FINDINGS = 8  # to choose between; a longer list is read and not judged
T = TypeVar("T")


@dataclass(frozen=True)
class Shown:
    """One image and its truth.

    Attributes:
        levels: uint8 `[H,W]`, standard display.
        real: whether it is a radiograph of somebody; None where that is not asked, as of phantoms.
        finding: what it shows, or what it was asked for; NONE for none.
        side: of the patient; None where it has none.
        mask: bool `[H,W]`, where it is; None where nobody knows.
    """

    levels: np.ndarray
    real: bool | None
    finding: str
    side: str | None = None
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Question:
    """One or two images, and the right answer to each thing that is asked of them, in the order of asking."""

    images: tuple[Shown, ...]
    answers: Mapping[Asked, str]


@dataclass(frozen=True)
class Quiz:
    """Questions in their order.

    Attributes:
        choices: of each thing that is asked.
        teach: whether the page says after each answer what is right, and asks again what was wrong; the answers of any
            other quiz are in its key alone.
        title: on the page.
        facts: where the images come from, for the key.
    """

    kind: Kind
    questions: Sequence[Question]
    choices: Mapping[Asked, Sequence[str]]
    teach: bool
    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """12 hex digits of the images in their order; answers belong to the quiz that has the same."""
        digest = hashlib.sha256()
        for question in self.questions:
            for image in question.images:
                digest.update(np.ascontiguousarray(image.levels).tobytes())
        return digest.hexdigest()[:12]

    def key(self) -> dict[str, Any]:
        """The right answers, as JSON values."""
        return {
            "quiz": self.identity,
            "kind": self.kind,
            "choices": {asked: list(words) for asked, words in self.choices.items()},
            "questions": [
                dict(question.answers) | {"shows": [image.finding for image in question.images]}
                for question in self.questions
            ],
            **self.facts,
        }


@dataclass(frozen=True)
class Candidate:
    """An image that may be asked about: its place in its collection, its patient, and its one finding or none."""

    place: int
    patient: str
    finding: str
    side: str | None


def one_finding(findings: Sequence[Mapping[str, Any]] | None) -> tuple[str, str | None] | None:
    """The finding and side of an image that has one answer; None where there are several, or where the text is unsure.

    >>> one_finding([{"name": "mass", "side": "left", "certainty": "present"}])
    ('mass', 'left')
    >>> one_finding([{"name": "mass", "side": None, "certainty": "uncertain"}]) is None, one_finding([])
    (True, ('no finding', None))
    """
    stated = [entry for entry in findings or [] if entry["name"] != NONE and entry["certainty"] != "absent"]
    if findings is None or len(stated) > 1 or any(entry["certainty"] != "present" for entry in stated):
        return None
    return (stated[0]["name"], stated[0]["side"]) if stated else (NONE, None)


def balanced(candidates: Sequence[Candidate], n: int, seed: int) -> list[Candidate]:
    """`n` of them, each of another patient, findings and then their sides as equal in number as there are enough.

    Only the most frequent findings take part, so that a reader has few to choose between.

    Raises:
        UserError: there are fewer.
    """
    random, kept = np.random.default_rng(seed), frequent(candidates)
    # by finding, then by side: turns of findings, within which sides take turns
    groups = {name: shuffled([each for each in candidates if each.finding == name], random) for name in kept}
    queues = {name: turns_of_sides(group) for name, group in groups.items()}
    chosen: list[Candidate] = []
    seen: set[str] = set()
    while len(chosen) < n and any(queues.values()):
        for name in shuffled(kept, random):
            while queues[name]:
                each = queues[name].pop(0)
                if each.patient not in seen:
                    seen.add(each.patient)
                    chosen.append(each)
                    break
    if len(chosen) < n:
        raise UserError(f"n={n} questions need as many patients with one finding or none; there are {len(chosen)}.")
    return chosen[:n]


def frequent(candidates: Sequence[Candidate]) -> list[str]:
    """The findings that take part, the most frequent first."""
    counts = Counter(each.finding for each in candidates)
    return sorted(counts, key=lambda name: (-counts[name], name))[:MOST_FINDINGS]


def turns_of_sides(group: Sequence[Candidate]) -> list[Candidate]:
    """The same with sides in turns as long as there are such."""
    by_side = [[each for each in group if each.side == side] for side in (*SIDES, None)]
    by_side += [[each for each in group if each.side not in (*SIDES, None)]]
    found = []
    for place in range(max(map(len, by_side), default=0)):
        found += [side[place] for side in by_side if place < len(side)]
    return found


def shuffled(things: Sequence[T], random: np.random.Generator) -> list[T]:
    """The same in another order."""
    return [things[place] for place in random.permutation(len(things))]


def halves(n: int, random: np.random.Generator) -> list[bool]:
    """As many true as false, or one more or fewer, in random order.

    >>> sum(halves(10, np.random.default_rng(0)))
    5
    """
    first = bool(random.integers(2))
    return shuffled([bool((place + first) % 2) for place in range(n)], random)


def pairs(real: Sequence[Shown], made: Sequence[Shown], seed: int) -> list[Question]:
    """Each real image beside a synthetic one, the real one first as often as second."""
    random = np.random.default_rng(seed)
    found = []
    for (one, other), first in zip(zip(real, made, strict=True), halves(len(real), random), strict=True):
        images, answer = ((one, other), WHICH[0]) if first else ((other, one), WHICH[1])
        found.append(Question(images, {"which": answer}))
    return shuffled(found, random)


def singles(images: Sequence[Shown], ask: Sequence[Asked], seed: int) -> list[Question]:
    """One question for each image; a side is asked of those that have one."""
    found = [Question((image,), {asked: truth for asked in ask if (truth := answer(image, asked))}) for image in images]
    return shuffled(found, np.random.default_rng(seed))


def answer(image: Shown, asked: Asked) -> str | None:
    """What is right of an image; None where it is not asked of it."""
    if asked == "real":
        return None if image.real is None else REAL[not image.real]
    if asked == "finding":
        return image.finding
    return image.side if image.side in SIDES else None  # both sides are no answer


def choices(findings: Sequence[str], ask: Sequence[Asked]) -> dict[Asked, Sequence[str]]:
    """What can be chosen for each thing that is asked; of findings none first, and all that might have been shown."""
    names = set(findings)
    known: dict[Asked, Sequence[str]] = {
        "which": WHICH,
        "real": REAL,
        "finding": [*([NONE] if NONE in names else []), *sorted(names - {NONE})],
        "side": SIDES,
    }
    return {asked: known[asked] for asked in ask}
