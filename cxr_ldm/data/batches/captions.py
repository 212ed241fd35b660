"""Several wordings of one report, so that a model learns what it says and not how long it is.

Most sentences of a report deny something, and a prompt is a few words: besides the report itself a model may train on
the report without what it denies, its sentences in another order, and on short captions of its findings alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_ldm.data.findings.cues import SENTENCE_END
from cxr_ldm.data.findings.reading import read_findings, read_sentence
from cxr_ldm.data.findings.words import NO_FINDING
from cxr_ldm.errors import UserError

NORMAL = ("Normal chest.", "No acute cardiopulmonary abnormality.", "Clear lungs, normal heart.")
CERTAIN = {"present": "", "uncertain": "possible "}


@dataclass(frozen=True)
class Wording:
    """Which wordings of each text there are; all are functions of (text, image id).

    Args:
        count: wordings of each text, the text itself first; 1 for it alone.
        short: share of the others that are captions of the findings alone.
        drop_denied: whether the others leave out sentences that only deny findings.

    Raises:
        UserError: a value is out of range.
    """

    count: int = 1
    short: float = 0.0
    drop_denied: bool = False

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 1:
            raise UserError(f"training.ldm.texts.count={self.count} must be a whole number of 1 or more.")
        if not 0 <= self.short <= 1:
            raise UserError(f"training.ldm.texts.short={self.short} must be a number from 0 to 1.")

    def of(self, text: str, image_id: str) -> list[str]:
        """`count` wordings of a text.

        >>> Wording(2, short=1.0).of("Heart size is normal. Small left effusion. No pneumothorax.", "x")[1]
        'Small left pleural effusion.'
        """
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8]))
        return [text, *(self._another(text, random) for _ in range(self.count - 1))]

    def of_all(self, texts: Sequence[str], image_ids: Sequence[str]) -> list[list[str]]:
        """Wordings of each text."""
        return [self.of(text, image_id) for text, image_id in zip(texts, image_ids, strict=True)]

    def _another(self, text: str, random: np.random.Generator) -> str:
        if random.random() < self.short:
            return caption(text, random)
        kept = [part for part in parts(text) if not (self.drop_denied and denies(part))]
        order = random.permutation(len(kept))
        return " ".join(kept[place] for place in order) or str(random.choice(NORMAL))


def parts(text: str) -> list[str]:
    """The sentences of a report as they are written, each with a full stop.

    >>> parts("Clear lungs. A 1.5 cm nodule")
    ['Clear lungs.', 'A 1.5 cm nodule.']
    """
    found = (part.strip(" .") for part in SENTENCE_END.split(text))
    return [f"{part}." for part in found if part]


def denies(sentence: str) -> bool:
    """Whether a sentence names findings and denies them all.

    >>> denies("No effusion or pneumothorax."), denies("Heart size is normal."), denies("Small effusion, no edema.")
    (True, True, False)
    >>> denies("Sternotomy wires.")
    False
    """
    mentions = read_sentence(sentence.strip(" .").lower())
    return bool(mentions) and all(mention.certainty == "absent" for mention in mentions)


def caption(text: str, random: np.random.Generator) -> str:
    """The findings that a report does not deny, in a few words and a random order.

    >>> caption("Possible right lower lobe pneumonia. No effusion.", np.random.default_rng(0))
    'Possible right pneumonia.'
    """
    named = [entry for entry in read_findings(text) if entry["certainty"] != "absent" and entry["name"] != NO_FINDING]
    if not named:
        return str(random.choice(NORMAL))
    said = []
    for place in random.permutation(len(named)):
        entry = named[place]
        words = [entry["severity"], entry["side"], entry["name"]]
        phrase = CERTAIN[entry["certainty"]] + " ".join(word for word in words if word)
        said.append(phrase[0].upper() + phrase[1:])
    return ". ".join(said) + "."
