"""Whether a text says that a chest is normal: of the whole chest, or in every sentence, each word of it understood.

One "normal" or "no" is not enough: "Heart size normal" beside a sentence in words that nobody here knows says nothing
of the rest.
"""

import re
from collections.abc import Iterable, Sequence

from cxr_ldm.data.findings.cues import CUE, SEEN
from cxr_ldm.data.findings.words import words

NORMAL = words("normal", "negative", "unremarkable", "clear", r"within (?:\w+ ){0,2}limits")
EXAM = words(r"chests?", r"stud(?:y|ies)", r"exam\w*", r"radiographs?", r"(?:chest )?x-?rays?", r"films?", r"cxr")
VIEWED = words(r"pa|ap|and|lateral|frontal|portable|two|2|views?|adult|for|of|the|a|chest")
DEGREE = words("acute", "active", "significant", "definite", "specific", "visible", "convincing", "apparent", "obvious")
ANY = words(DEGREE, r"evidence|signs?|of|for|any|other|focal|radio(?:graph|log)\w*|preoperative|or|and")
WITHIN = words(r"(?:cardio-?)?(?:pulmonary|thoracic|respiratory)", "intra-?thoracic", "chest", "lungs?")
BESIDE = words("cardiac", "pleural", "cardiovascular", "mediastinal")
ILLNESS = words(r"abnormalit\w+", r"diseases?", r"process\w*", r"findings?", r"patholog\w+", r"illness")
# "no acute cardiopulmonary abnormality", "normal chest x-ray", "the study is negative", "unremarkable"
OF_ALL = re.compile(
    rf"\b(?:no|without|negative for)[ ,/]+(?:{ANY}[ ,/]+)*"
    rf"(?:(?:(?:{BESIDE}|or|and)[ ,/]+)*{WITHIN}(?:[ ,/]+(?:{BESIDE}|or|and|{WITHIN}))*[ ,/]+)?{ILLNESS}"
    rf"(?! (?:of|in|within|involving) (?:the )?(?!{WITHIN}|thorax))"
    rf"|\b{NORMAL} (?:{VIEWED}[ -])*{EXAM}\b(?! wall)"
    rf"|\b{EXAM}(?: (?:is|are|was|appears?|remains?|be|to|(?!not\b)\w+ly))* {NORMAL}"
    rf"|^(?:(?:stable|otherwise|\w+ly) )*{NORMAL}$"
)
# Words of sentences that name nothing ill; a sentence of these alone is understood.
PLAIN = words(
    # grammar
    r"the|a|an|and|or|of|in|on|at|to|for|with|without|by|from|as|is|are|was|were|be|been|has|have|there(?:'s)?",
    r"this|that|these|it|its|which|but|no|not|none|nor|neither|both|all|other|otherwise|again|also|now|any|each",
    r"some|than|over|\d+(?:st|nd|rd|th)?|one|two|three|first|(?!\w*(?:megaly|anomaly))\w+ly|appear(?:s|ing|ance)?",
    rf"yes|note|{SEEN}|show(?:s|n)?|demonstrates?|evidence|obtained|submitted|available|reveals?|remains?|please",
    r"given|allowing",
    # the chest
    r"chest|lungs?|pulmonary|heart|cardiac|cardio-?(?:pulmonary|mediastin\w+|vascular|thoracic|phrenic)",
    r"mediastin(?:um|al)|hil(?:a|ar|um)|trachea(?:l)?|airways?|bronch(?:i|us|ial)|aort(?:a|ic)|pleural?|spaces?",
    r"costophrenic|angles?|sulc(?:i|us)|(?:hemi)?diaphragms?|bon(?:es?|y)|osseous|skelet(?:al|on)|ribs?|spine",
    r"cervical|lumbar|vertebra[el]?|disc|joints?|alignment|thora(?:x|cic)|cage|soft|tissues?",
    r"vascul(?:ar|ature|arity)|vessels?|silhouettes?|contours?|structures?|fields?|zones?|bas(?:es?|ilar)",
    r"ap(?:ex|ices|ical)|fissures?|interstitium|parenchymal?|body|bodies|shapes?|sizes?|volumes?|configuration",
    r"position|distribution|abdomen|upper|lower|mid|middle|right|left|lobes?|bilateral|clavicles?|shoulders?",
    r"sternum|wall|caliber|great|central|anterior|posterior|hemithora(?:x|ces)|borders?|margins?|outlines?|arch",
    r"knob|carina|ribcage|dorsal|portions?|parts?|sides?|scapulae?|humer(?:us|i)|retro(?:cardiac|sternal)|main",
    r"skin|musculoskeletal|elements?",
    # normal
    r"normal|clear|unremarkable|remarkable|negative|intact|midline|sharp|limits?|within|free|average|adequate|good",
    r"(?:well-)?(?:aerated|expanded|inflated|defined)|well|aeration|expansion|symmetric(?:al)?|stable|unchanged",
    r"preserved|patent|age|expected|satisfactory|overall|general|quality|regular|smooth|crisp|maintained|symmetry",
    # the pictures
    r"x-?rays?|cxr|films?|views?|images?|radiographs?|radiographic|exam(?:ination)?s?|stud(?:y|ies)|evaluation|pa",
    r"ap|frontal|lateral|portable|upright|erect|supine|single|projection|comparisons?|compared|prior|previous",
    r"earlier|interval|recent|date|today|consists?|review|limited|technique|inspiration|findings?|impression",
    r"habitus|shielded|imaged|included|inspiratory|effort|rotation|degree|since|when|months?|days?|dated|bedside",
    r"digital|routine|screening|adult|child|patient|years?|old|male|female|man|woman|men|women",
)
# Words that a negation may begin with: "no acute …" is understood whatever follows.
MAY_BE_DENIED = words(
    DEGREE,
    ILLNESS,
    r"focal|lobar|alveolar|parenchymal|typical|gross|discrete|displaced|suspicious|new|large|small|injur\w+|signs?",
)
UNDERSTOOD, DENIED = re.compile(PLAIN), re.compile(MAY_BE_DENIED)
REASSURING = re.compile(r"\b(?:normal|clear|unremarkable|no|without|negative|limits|intact)\b")
WORD = re.compile(r"[^\W_](?:[\w'-]*\w)?")


def says_normal(read: Sequence[tuple[str, Iterable[tuple[int, int]]]]) -> bool:
    """Whether sentences without anything abnormal say that the chest is normal.

    Args:
        read: sentences in lower case, each with where in it denied findings and devices are named.

    >>> says_normal([("tuberculosis", []), ("heart size normal", [])])
    False
    >>> says_normal([("lungs are clear", []), ("heart size normal", [])])
    True
    """
    said = [(sentence, list(spans)) for sentence, spans in read if WORD.search(sentence)]
    if any(OF_ALL.search(sentence) for sentence, _ in said):
        return True
    reassured = any(spans or REASSURING.search(sentence) for sentence, spans in said)
    return reassured and all(understood(sentence, spans) for sentence, spans in said)


def understood(sentence: str, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether every word is plain, within a span, or denied: by "no" before a plain word or a finding.

    >>> understood("no free subdiaphragmatic air", []), understood("no hay derrame", [])
    (True, False)
    """
    cues = [cue for cue in CUE.finditer(sentence) if cue.lastgroup not in ("mark", "hint")]
    spans = [*spans, *(cue.span() for cue in cues)]
    ends = [*(cue.start() for cue in cues), len(sentence)][1:]
    denied = [
        (cue.end(), end)
        for cue, end in zip(cues, ends, strict=True)
        if cue.lastgroup == "not"
        and (word := WORD.search(sentence, cue.end()))
        and (plain(word, spans) or DENIED.fullmatch(word[0]) or any(cue.end() <= start < end for start, _ in spans))
    ]
    return all(plain(word, [*spans, *denied]) for word in WORD.finditer(sentence))


def plain(word: re.Match[str], spans: Iterable[tuple[int, int]]) -> bool:
    """Whether a word is plain or stands in a span."""
    return bool(UNDERSTOOD.fullmatch(word[0])) or any(start <= word.start() < end for start, end in spans)
