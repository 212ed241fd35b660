"""Which parts of a text say what was seen: not those headed as history, question, comparison or technique."""

import re

from cxr_ldm.data.findings.cues import SENTENCE_END
from cxr_ldm.data.findings.words import words

EXAM = r"(?:the |this )?(?:exam\w*|study|studies|visit|request|referral|films?|radiographs?|x-?rays?)"
# Headings of what was asked, known before or done.
ASKED = words(
    r"(?:(?:past|clinical|medical|surgical|relevant|patient|brief) ){0,4}history(?: of present illness)?",
    r"clinical (?:information|data|details?|question|context|notes?|diagnosis|indications?)",
    rf"indications?(?: for {EXAM})?",
    rf"reasons? for {EXAM}",
    rf"comparisons?(?: {EXAM})?",
    rf"(?:prior|previous) {EXAM}",
    r"techniques?",
    r"procedures?",
    r"exam(?:ination)?",
    r"(?:(?:presenting|chief) )?(?:complaints?|symptoms?)",
    r"(?:admitting|provisional) diagnosis",
    r"pmh",
    r"hpi",
)
BODY = words(r"findings?", r"reports?", r"results?", r"observations?")
END = words(r"impressions?", r"conclusions?", r"interpretations?", r"opinion", r"summary", r"assessment")
PART = words(r"lungs?", r"heart", r"pleura\w*", r"mediastin\w*", r"bones?", r"airways?", r"chest", r"lines?", r"tubes?")
HEADING = re.compile(
    rf"\b(?:(?P<asked>{ASKED})|(?P<body>{BODY})|(?P<end>{END})|(?P<part>{PART}))"
    r"(?P<mark>[ \t]*:|[ \t]+[-–](?=\s)|[ \t]*$)",
    re.IGNORECASE | re.MULTILINE,
)
WORD = re.compile(r"\S")


def only_seen(text: str) -> str:
    """The text with what was not seen blanked, so that every character keeps its place.

    A section that is asked reaches to the findings or to another such; where neither follows, its first sentence
    is all that is sure to be of it.

    >>> only_seen("History: effusion. Clear lungs.").split()
    ['Clear', 'lungs.']
    >>> only_seen("COMPARISON: Film of May. Old effusion. FINDINGS: Clear lungs.").split()
    ['FINDINGS:', 'Clear', 'lungs.']
    """
    headings = [match for match in HEADING.finditer(text) if heads(match, text)]
    kept = list(text)
    for number, heading in enumerate(headings):
        if not heading["asked"]:
            continue
        following = headings[number + 1] if number + 1 < len(headings) else None
        stop = following.start() if following else len(text)
        if not (following and (following["asked"] or following["body"])):
            said = WORD.search(text, heading.end(), stop)
            first = said and SENTENCE_END.search(text, said.start(), stop)
            stop = first.start() if first else stop
        kept[heading.start() : stop] = "\n".ljust(stop - heading.start())
    return "".join(kept)


def heads(match: re.Match[str], text: str) -> bool:
    """Whether words stand as a heading: at the start of a sentence, or in capitals before a colon; alone on a line."""
    start = match.start()
    before = text[max(0, start - 80) : start].rstrip(" \t")[-1:]
    if not match["mark"].strip():
        return before in ("", "\n")
    capitals = match["mark"].endswith(":") and match[0].isupper()
    return capitals or before in ("", "\n", ".", ";", "!", "?", ":")
