"""What is said of a finding that a report names: whether it is there, on which side and how severe."""

import re

from cxr_ldm.data.findings.words import words

# Cues by kind; where two match at one place, the first wins.
DEGREE = r"(?:significant |interval |acute |large |obvious |appreciable )*"
EXCLUDED = r"(?:excluded?|ruled? out)"
SEEN = words(
    "seen",
    "identified",
    "present",
    "evident",
    "appreciated",
    "visible",
    "apparent",
    "demonstrated",
    "noted",
    "detected",
    "found",
    "observed",
    "visuali[sz]ed",
    "recogni[sz]ed",
    "there",
)
PARTLY = words("partial(?:ly)?", "partly", "incomplete(?:ly)?", "near(?:ly)?", "almost", "largely", "mostly")
GONE = words("resolved", "cleared", "disappeared", "gone", "removed", "taken out")
WHOLLY = r"(?:(?:yet|been|fully|completely|entirely|now|since) )*"
STATE = words("is", "are", "was", "were", "has", "have", "had")
CANNOT = words("cannot", "can not", "could not", "can't", "couldn't")
# Where a phrase ends.
END = r"(?=[ )\]]*(?:[.,;!/]|$|and\b|since\b|in the interval\b))"
# What stands between a finding and a word that answers for it: "effusion: none", "effusion (absent)".
ASKED = r" ?[:=?,(\[–-]*[ (\[]*"
CUES = {
    # looks like a negation, and denies only a change
    "pseudo": words(
        rf"no {DEGREE}(?:change|increase|worsening|improvement|decrease)",
        rf"without {DEGREE}(?:change|increase)",
        r"not (?:significantly |appreciably )?(?:changed|increased)",
        r"not only",
        r"no further",
        r"no (?:more|larger|greater|other|less) than",
        # what has not gone, or not wholly, is there
        rf"(?:{STATE} )?(?:(?:been|only|yet) )*(?:not|{PARTLY}) {WHOLLY}{GONE}",
        rf"{STATE}n't {WHOLLY}{GONE}",
        rf"(?:no|without|some|beginning|ongoing|{PARTLY})[ -](?:complete |total )?{DEGREE}(?:resolution|clearing) of",
        rf"(?:yet|remains?|still) to (?:be )?{GONE}",
    ),
    # of two findings that are weighed against each other neither is sure
    "weighed": words(
        r"(?:(?:is|are|seems?|appears?) )?(?:(?:felt|thought|considered) )?(?:to be )?(?:less|more) likely than",
        r"(?:is |are )?(?:dis)?favou?red over",
    ),
    # "Pneumonia versus atelectasis" alone; after a side or a size, coders take the first for sure
    "versus": r"(?:versus|vs)\b",
    "maybe_after": words(
        r"(?:may|might|could) be (?:present|seen)",
        r"(?:would|should|could) be (?:a )?consider(?:ed|ation)",
        r"(?:is|are) (?:(?!not\b)\w+ ){0,2}likely",
        rf"{ASKED}(?:(?:much|far|somewhat) )?(?:(?:less|more|most|very|quite) )?likely{END}",
        rf"{ASKED}(?:is |are )?(?:possible|probable|doubtful|questionable|equivocal|suspected|in doubt){END}",
        rf"(?:should|must|to|would) be (?:\w+ )?{EXCLUDED}",
        r"(?:is|are|be) (?:also )?(?:suspected|possible|likely|questioned|considered|a possibility|not excluded)",
        rf"(?:{STATE} not|{STATE}n't|{CANNOT} be|not) (?:been )?(?:\w+ly )?(?:excluded|ruled out)",
    ),
    "maybe": words(
        rf"(?:{CANNOT}|not|difficult to) (?:entirely |completely |definitely )?{EXCLUDED}",
        r"may\b",
        r"might\b",
        r"could\b",
        r"possib\w+",
        r"probabl\w+",
        r"likely",
        r"differential",
        r"rule-? ?out",
        r"r/o\b",
        # what is to be excluded is not yet so
        r"(?:to|please|(?<!.))(?: \w+ly)? ?exclude\b",
        r"exclusion of",
        r"equivocal",
        r"doubtful",
        r"query",
        r"whether",
        r"presum\w+",
        r"(?:probability|likelihood|chance|risk) (?:of|for)",
        r"perhaps",
        # what is asked for, or known of before, is not seen
        r"(?:evaluat|assess|correlat)\w*(?: \w+)? (?:for|of|with)",
        r"history of",
        r"if\b(?! present| any)",
    ),
    # Under a negation these change nothing: "no suspicious nodule".
    "hint": words(
        r"suspect\w*",
        r"suspici\w+",
        r"concern\w*",
        r"question\w*",
        r"suggest\w*",
        r"potential\w*",
        r"worrisome",
        r"consider\w*",
    ),
    "not_after": words(
        rf"{STATE} (?:\w+ )?(?:been )?(?:\w+ )?(?:not (?:[\w-]+ )?{SEEN}|absent|excluded|ruled out|{GONE})",
        rf"(?:may |might |{STATE} )?not (?:be |been )?(?:[\w-]+ )?{SEEN}",
        rf"(?:{CANNOT} be|{STATE}n't(?: been)?) (?:[\w-]+ )?{SEEN}",
        rf"(?:is |are )?(?:no longer|no more)(?= {SEEN}|$|[,;:])",
        rf"{ASKED}(?:none|no|nil|absent|negative|{EXCLUDED}|{WHOLLY}{GONE}|not (?:[\w-]+ )?{SEEN}){END}",
        r" ?[:=-] ?no (?:signs?|evidence)\b(?: of (?:it|this|that|any))?(?= *(?:[.,;]|$))",
        rf"(?:can|could|may) be (?:\w+ )?{EXCLUDED}",
        r" ?[:=]? ?(?:[(\[] ?)?[-–−](?: ?[)\]])?(?= *(?:[.,;]|$))",
        # a column of answers, its lines folded: "effusion: no edema: no"
        r" ?: ?(?:none|no)(?= [\w ]{1,40}:)",
        r"absent (?=(?:on|in|at|bilaterally)\b)",
        r"(?:is|are|appears?|remains?) (?:within (?:the )?(?:limits|normal)|normal|unremarkable)",
        rf"{ASKED}(?:very |highly |most |quite )*unlikely{END}",
        rf"{STATE} (?:\w+ )?unlikely",
        rf"(?:{STATE} not|{STATE}n't|not) (?:\w+ )?(?:likely|suspected|suggested|favou?red|felt|thought|believed)",
    ),
    "not": words(
        r"no\b",
        r"not\b",
        r"\w+n't\b",
        r"nothing",
        r"never",
        r"nil\b",
        r"zero\b",
        r"without",
        r"w/o\b",
        r"negative",
        r"(?:free|clear|devoid) (?:of|from)",
        r"absen(?:ce of|t)",
        r"lack(?:s|ing)?(?: of)?\b",
        r"fail(?:s|ed)? to",
        r"neither",
        r"nor\b",
        r"(?:resolution|clearing|disappearance|removal) of",
        r"resolved",
        r"rather than",
        r"in(?:consistent|compatible) with",
        r"(?:argues?|speaks?) against",
        r"unlikely",
        r"excludes?\b",
        r"rules out",
    ),
    # where a scope ends
    "stop": words(
        r"but\b",
        r"however",
        r"although",
        r"though\b",
        r"except",
        r"aside from",
        r"apart from",
        r"other than",
        r"which\b",
        r"whereas",
        r"while\b",
        r"yet\b",
        r"there (?:is|are)\b(?!n't)",
        r"(?<!compatible )(?<!consistent )with\b",
    ),
}
NEW_CLAUSE = words("there", "mild", "minimal", "stable", "unchanged", "borderline", r"the\b", "heart", r"lungs?\b")
CUE = re.compile(
    "|".join(rf"(?P<{kind}>\b{pattern})" for kind, pattern in CUES.items())
    + rf"|(?P<mark>[;:]|(?:,| and) (?=(?:and |with )?{NEW_CLAUSE}))"
    + r"|(?P<ask>(?<![\w)])\?+ ?(?=\w))|(?P<doubt>\?(?! yes))"
)
# Under a negation these deny: "no pneumonia is suspected".
DENIABLE = re.compile(r"(?:suspected|likely|possible|probable)$")
# A verb between a mention and a cue after it: the cue then speaks of something else.
VERB = re.compile(r"\b(?:is|are|was|were|has|have|had|remains?|persists?|(?<!if )present|seen|yes)\b|\+")
# A sentence of its own after a comma, in spite of the stop that it lacks: "…, effusion is present".
OWN_SENTENCE = re.compile(r",(?: (?!and\b|or\b|nor\b)[\w-]+){0,3} ")
STATED = re.compile(rf" (?:is|are|was|were|remains?|persists?) (?:again |also |now |still )*{SEEN}\b")

SIDES = re.compile(
    r"(?P<bilateral>bilat(?:eral)?\w*|\bb/l\b|\bboth(?! on\b| the (?:pa|frontal))|bi-?basilar|bi-?basal|bi-?apical)"
    r"|(?P<right>\bright\w*|\bmiddle lobe|\br[ulm]l\b|\brt?\b(?![/'-]))"
    r"|(?P<left>\bleft\w*|\blingula\w*|\bl[ul]l\b|\blt?\b(?![/'-]))"
)
BOTH_SIDES = re.compile(r"\bright and left\b|\bleft and right\b")
SEVERITIES = {
    "borderline": r"borderline",
    "minimal": r"minimal\w*|trace|tiny",
    "small": r"small",
    "mild": r"mild\w*|slight\w*|subtle",
    "moderate": r"moderate\w*",
    "large": r"large\b|massive|extensive",
    "severe": r"severe\w*|marked\w*|gross\b",
}
SEVERITY = re.compile("|".join(rf"(?P<{name}>\b(?:{pattern}))" for name, pattern in SEVERITIES.items()))
# What the other side is said to have: "left effusion, none on the right", "… but a small one on the left".
ECHO = re.compile(
    rf"(?:,|;| but| and| while| yet)(?: but| and)? (?P<said>(?P<no>(?:(?:is|are) )?(?:none|absent|not(?: {SEEN})?|no))"
    rf"|(?:(?:is|are) )?{SEEN}|(?:an? )?(?:(?:{'|'.join(SEVERITIES.values())})(?: one)?|one))"
    r" (?:on|in|at) (?:the )?(?P<side>right|left)\b"
)
# "…, moderate in size"
SEVERITY_AFTER = re.compile(rf",? (?:is |are )?(?:{'|'.join(SEVERITIES.values())}) in (?:size|degree)")
# One mention after another, without a word that makes them a list.
LISTED = re.compile(r"\b(?:and|or|nor)\b|/")
# A cue that speaks of all that a list names: "effusion, pneumothorax: none".
OF_ALL = re.compile(r" ?:|(?:are|were|have) ")
# What may stand between two mentions of one phrase: "atelectasis and/or small effusion".
JOINED = re.compile(r"[ ,/]*(?:and|or|/|,|versus|vs)(?: and/or)?[ ,]*(?:[\w-]+ ){0,2}")
# The stop of a short form ends nothing; a question and its answer are one: "Effusion? No."
ANSWER = r"(?i:(?:no|none|negative|absent|yes|not [a-z]+)\s*(?:[.;,!]|$))"
SHORT = r"(?i:(?<!\bvs\.)(?<!\brt\.)(?<!\blt\.)(?<!\bdr\.))"
SENTENCE_END = re.compile(rf"(?<=[.!;]){SHORT}\s+|(?<=[\w)]\?)\s+(?!{ANSWER})|(?<=[a-z])\.(?=[A-Z])|\n")
