"""Where in a text its findings stand, for a reader's eye."""

from dataclasses import dataclass

from cxr_ldm.data.findings.cues import BOTH_SIDES, SENTENCE_END
from cxr_ldm.data.findings.headings import only_seen
from cxr_ldm.data.findings.reading import Certainty, Side, read_sentence
from cxr_ldm.data.findings.words import OTHER


@dataclass(frozen=True)
class Highlight:
    """Characters `start` to `end` of a text name a finding.

    Attributes:
        name, certainty, side: as `cxr_ldm.data.findings.reading.read_findings` gives them.
    """

    start: int
    end: int
    name: str
    certainty: Certainty
    side: Side | None


def highlights(text: str) -> list[Highlight]:
    """Mentions of findings in order; where two overlap, the first and then the longest stands.

    >>> [(text[h.start : h.end], h.certainty) for text in ["Heart normal. Right effusion, no pneumothorax."]
    ...     for h in highlights(text) if h.name != "cardiomegaly"]
    [('effusion', 'present'), ('pneumothorax', 'absent')]
    """
    found = []
    for start, sentence in pieces(only_seen(text)):
        # as `findings.sentences` reads them, but with every character in its place
        same_length = BOTH_SIDES.sub(lambda sides: "bilateral".ljust(len(sides[0])), sentence.lower())
        start += len(sentence) - len(sentence.lstrip(" ."))
        found += [
            Highlight(start + mention.start, start + mention.end, mention.name, mention.certainty, mention.side)
            for mention in read_sentence(same_length.strip(" ."))
            if mention.name != OTHER
        ]
    kept: list[Highlight] = []
    for each in sorted(found, key=lambda h: (h.start, -h.end)):
        if not kept or each.start >= kept[-1].end:
            kept.append(each)
    return kept


def pieces(text: str) -> list[tuple[int, str]]:
    """Sentences with the place of their first character.

    >>> pieces("Normal. No effusion.")
    [(0, 'Normal.'), (8, 'No effusion.')]
    """
    ends = [(match.start(), match.end()) for match in SENTENCE_END.finditer(text)]
    starts = [0, *(end for _, end in ends)]
    stops = [*(start for start, _ in ends), len(text)]
    return [(start, text[start:stop]) for start, stop in zip(starts, stops, strict=True) if text[start:stop].strip()]
