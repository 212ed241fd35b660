"""Structured findings from a report's text, by rules: what is named, where, how much, and how sure.

A sentence is read in three steps. Its mentions are found by one expression for each finding. Cues (negation,
uncertainty) reach forward or backward over a list of mentions until something ends their scope: a new clause, a
conjunction that contrasts, another cue. Side and severity come from the words around a mention, and the mentions that
are joined to it share its side ("right effusion and atelectasis").

Cues with scopes are NegEx (Chapman et al., J Biomed Inform 2001; 34:301-310, section 3.2); the classes are those of
CheXpert (Irvin et al., AAAI 2019, table 1). How well this agrees with expert codes: docs/results/findings.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from cxr_ldm.data.findings.cues import (
    BOTH_SIDES,
    CUE,
    DENIABLE,
    ECHO,
    JOINED,
    LISTED,
    OF_ALL,
    OWN_SENTENCE,
    SENTENCE_END,
    SEVERITY,
    SEVERITY_AFTER,
    SIDES,
    STATED,
    VERB,
)
from cxr_ldm.data.findings.headings import only_seen
from cxr_ldm.data.findings.language import in_english
from cxr_ldm.data.findings.normal import says_normal
from cxr_ldm.data.findings.words import BY_NORMAL, DEVICE, MENTIONS, NO_FINDING, OTHER, OWN_SIDE, WITHOUT_SIDE

Side = Literal["right", "left", "bilateral"]
Certainty = Literal["present", "absent", "uncertain"]
# No sentence is longer; what has no stop at all is read in pieces, since some steps take the square of a length.
LONGEST = 1000
STRENGTH: dict[Certainty, int] = {"absent": 0, "uncertain": 1, "present": 2}
BEFORE: dict[str, Certainty] = {
    "maybe": "uncertain",
    "hint": "uncertain",
    "ask": "uncertain",
    "not": "absent",
    "weighed": "uncertain",
    "versus": "uncertain",
}
AFTER: dict[str, Certainty] = {
    "maybe_after": "uncertain",
    "doubt": "uncertain",
    "not_after": "absent",
    "weighed": "uncertain",
    "versus": "uncertain",
}


@dataclass
class Mention:
    """One finding named in a sentence, from character `start` to `end`."""

    name: str
    start: int
    end: int
    certainty: Certainty = "present"
    side: Side | None = None
    severity: str | None = None


def read_findings(text: str) -> list[dict[str, Any]]:
    """Findings of a report's findings and impression, in the order in which they are named.

    What stands under a heading of history, question, comparison or technique is left aside. Nothing is read in another
    language than English, whose words of denial are not known.

    Args:
        text: cleaned text, see `cxr_ldm.data.findings.reports.clean`.

    Returns:
        dicts of name (a key of CHEXPERT), side (right, left, bilateral or None), severity (a key of SEVERITIES or
        None) and certainty (present, absent or uncertain); one for each finding and side. "no finding" is present
        where the text says that the chest is normal and nothing of it is a finding or another abnormality; devices do
        not count.

    >>> read_findings("Small right pleural effusion. No pneumothorax.")[0]
    {'name': 'pleural effusion', 'side': 'right', 'severity': 'small', 'certainty': 'present'}
    >>> [(each["name"], each["certainty"]) for each in read_findings("No effusion. Cannot exclude pneumonia.")]
    [('pleural effusion', 'absent'), ('pneumonia', 'uncertain')]
    >>> [each["name"] for each in read_findings("Normal chest.")]
    ['no finding']
    """
    if not in_english(text):
        return []
    text = only_seen(text)
    read = [(sentence, read_sentence(sentence)) for sentence in sentences(text)]
    mentions = [mention for _, named in read for mention in named]
    abnormal = any(mention.certainty != "absent" and mention.name != DEVICE for mention in mentions)
    found = merged([mention for mention in mentions if mention.name != OTHER])
    if not abnormal and says_normal([(sentence, spans(sentence, named)) for sentence, named in read]):
        found.append({"name": NO_FINDING, "side": None, "severity": None, "certainty": "present"})
    return found


def spans(sentence: str, named: Sequence[Mention]) -> list[tuple[int, int]]:
    """Where a sentence is understood: its mentions, or all of it where a device's course is told."""
    if any(each.name == DEVICE and each.certainty == "present" for each in named):
        return [(0, len(sentence))]
    return [(each.start, each.end) for each in named]


def sentences(text: str) -> list[str]:
    """Sentences in lower case, without their stop; two sides as one word, since "and" ends a phrase.

    >>> sentences("A 1.5 cm nodule. Heart normal.No effusion")
    ['a 1.5 cm nodule', 'heart normal', 'no effusion']
    >>> sentences("Right and left effusions.")
    ['bilateral effusions']
    """
    parts = [part.strip(" .").lower() for part in SENTENCE_END.split(text)]
    cut = [part[start : start + LONGEST] for part in parts for start in range(0, len(part), LONGEST)]
    return [BOTH_SIDES.sub("bilateral", part) for part in cut]


@lru_cache(maxsize=4096)  # reports repeat each other's sentences
def read_sentence(sentence: str) -> tuple[Mention, ...]:
    """Mentions of one sentence in lower case, in order."""
    mentions = with_echoes(find_mentions(sentence), sentence)
    cues = [
        cue
        for cue in CUE.finditer(sentence)
        if not any(mention.start <= cue.start() < mention.end for mention in mentions)
    ]
    for number, mention in enumerate(mentions):
        if mention.side:
            continue
        start = own_sentence(mention, mentions[:number], sentence)
        later = mentions[number + 1].start if number + 1 < len(mentions) else None
        mention.certainty = certainty(mention, [cue for cue in cues if cue.start() >= start], sentence, later)
    place(mentions, sentence, [cue.start() for cue in cues if cue.lastgroup in ("stop", "mark")])
    absent = [
        Mention(name, *match.span(), "absent")
        for name, expression in BY_NORMAL.items()
        for match in expression.finditer(sentence)
    ]
    return (*mentions, *absent)


def find_mentions(sentence: str) -> list[Mention]:
    """What is named, in order; another abnormality only where no finding covers it or follows at once.

    "Ground-glass opacity" is one mention: two would part the opacity from its side.
    """
    found = [Mention(name, *match.span()) for name in MENTIONS for match in MENTIONS[name].finditer(sentence)]
    named = [mention for mention in found if mention.name != OTHER]
    kept = [
        m
        for m in found
        if m.name != OTHER
        or not any(n.start < m.end + (2 if n.name != DEVICE else 0) and m.start < n.end for n in named)
    ]
    return sorted(kept, key=lambda mention: (mention.start, mention.end))


def with_echoes(mentions: list[Mention], sentence: str) -> list[Mention]:
    """The mentions, and one more of the same finding where a sentence goes on to the other side, with that side."""
    echoes = []
    for match in ECHO.finditer(sentence):
        named = [mention for mention in mentions if mention.end <= match.start()]
        inside = any(mention.start < match.end() and match.start() < mention.end for mention in mentions)
        if named and not inside and named[-1].name not in WITHOUT_SIDE:
            said: Certainty = "absent" if match["no"] else "present"
            size = None if match["no"] else severity_of(sentence, match["said"], named[-1])
            side: Side = "left" if match["side"] == "left" else "right"
            echoes.append(Mention(named[-1].name, match.start("said"), match.end(), said, side, size))
    return sorted([*mentions, *echoes], key=lambda mention: (mention.start, mention.end))


def certainty(mention: Mention, cues: Sequence[re.Match[str]], sentence: str, later: int | None = None) -> Certainty:
    """What the nearest cue after a mention says of it, or else the nearest before it whose scope reaches it.

    Args:
        later: where the next mention starts.
    """
    after = next((cue for cue in cues if cue.start() >= mention.end), None)
    before = [cue for cue in cues if cue.end() <= mention.start]
    if after and after.lastgroup in AFTER and reaches_back(after, mention, sentence, later):
        denied = before and before[-1].lastgroup == "not" and "," not in sentence[before[-1].end() : mention.start]
        return "absent" if denied and DENIABLE.search(after[0]) else AFTER[after.lastgroup]
    result: Certainty = "present"
    for cue in reversed(before):
        result = BEFORE.get(cue.lastgroup or "", result)
        if cue.lastgroup != "hint":  # "no nodule to suggest a mass" is a negation of both
            break
    return result


def reaches_back(cue: re.Match[str], mention: Mention, sentence: str, later: int | None) -> bool:
    """Whether a cue after a mention speaks of it: no verb is between, and where another mention is, the two are listed.

    "Effusion and pneumothorax are not seen" denies both, "left effusion, pneumothorax is not seen" one.
    """
    if VERB.search(sentence, mention.start, cue.start()):
        return False
    if cue.lastgroup == "versus":
        return not mention.start and (later is None or later >= cue.start())
    if later is None or later >= cue.start() or OF_ALL.match(cue[0]):
        return True
    return "," not in sentence[mention.end : later] or bool(LISTED.search(sentence, mention.end, cue.start()))


def own_sentence(mention: Mention, earlier: Sequence[Mention], sentence: str) -> int:
    """Where the mention's own sentence starts: at the comma after an `earlier` one, where it has a verb of its own;
    else at 0. "No nodule, effusion is seen" is two sentences; "no acute, displaced fracture is seen" is one.
    """
    comma = sentence.rfind(",", 0, mention.start)
    listed = comma < 0 or not OWN_SENTENCE.fullmatch(sentence, comma, mention.start)
    if listed or not any(other.end <= comma for other in earlier):
        return 0
    return comma if STATED.match(sentence, mention.end) else 0


def place(mentions: Sequence[Mention], sentence: str, stops: Sequence[int]) -> None:
    """Set side and severity of each mention from the words around it; joined mentions share a side."""
    joined = [False] * len(mentions)
    for number, mention in enumerate(mentions):
        if mention.side:
            continue
        before = mentions[number - 1].end if number else 0
        next_start = mentions[number + 1].start if number + 1 < len(mentions) else len(sentence)
        own = sentence[max([before, *(stop for stop in stops if stop <= mention.start)]) : mention.start]
        after = sentence[mention.end : max(next_start, mention.end)]
        if number:
            alone = mention.name in OWN_SIDE or mentions[number - 1].name in OWN_SIDE
            one_word = mention.start < before  # a hydropneumothorax is two findings
            joined[number] = not alone and (one_word or bool(JOINED.fullmatch(own)))
            own = re.split(r",| and | or ", own)[-1]  # what stands before belongs to the mention before
        if mention.name not in WITHOUT_SIDE:
            mention.side = side_of(own) or side_of(re.split(r"[,;]| and | or | with |\bno\b", after, maxsplit=1)[0])
            if mention.side is None and joined[number]:
                mention.side = mentions[number - 1].side
        if mention.certainty != "absent":  # "no large effusion" has no size
            mention.severity = severity_of(sentence, own, mention)
    for number in reversed(range(1, len(mentions))):  # "effusion and atelectasis on the right"
        if joined[number] and mentions[number - 1].side is None:
            mentions[number - 1].side = mentions[number].side


def side_of(phrase: str) -> Side | None:
    """The side that some words name; both sides are bilateral.

    >>> side_of("right greater than left"), side_of("in the lingula"), side_of("small")
    ('bilateral', 'left', None)
    """
    named = {match.lastgroup for match in SIDES.finditer(phrase)}
    if "bilateral" in named or {"right", "left"} <= named:
        return "bilateral"
    return "right" if "right" in named else "left" if "left" in named else None


def severity_of(sentence: str, own: str, mention: Mention) -> str | None:
    """The last severity among the words of the mention's own phrase: before it, in it, or "… in size" after it."""
    before = re.split(r",| and | or ", own)[-1]
    after = SEVERITY_AFTER.match(sentence, mention.end)
    phrase = f"{before} {sentence[mention.start : mention.end]}{after[0] if after else ''}"
    return next((match.lastgroup for match in reversed(list(SEVERITY.finditer(phrase)))), None)


def rank(mention: Mention) -> tuple[int, bool]:
    """The surer mention says more; of two alike, the one that states a severity."""
    return STRENGTH[mention.certainty], mention.severity is not None


def merged(mentions: Sequence[Mention]) -> list[dict[str, Any]]:
    """One entry for each finding and side: its surest mention, with the first severity that this states."""
    entries: dict[tuple[str, Side | None], Mention] = {}
    for mention in mentions:
        old = entries.get((mention.name, mention.side))
        if old is None or rank(mention) > rank(old):
            entries[mention.name, mention.side] = mention
    # "Effusion" beside "right effusion" says nothing new, unless it is the surer of the two.
    sided: dict[str, int] = {}
    for mention in entries.values():
        if mention.side:
            sided[mention.name] = max(sided.get(mention.name, 0), STRENGTH[mention.certainty])
    kept = [m for m in entries.values() if m.side or STRENGTH[m.certainty] > sided.get(m.name, -1)]
    return [{key: getattr(m, key) for key in ("name", "side", "severity", "certainty")} for m in kept]
