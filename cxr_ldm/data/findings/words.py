"""The words of radiology reports that `cxr_ldm.data.findings.reading` reads by: findings, cues, sides, severities."""

import re


def words(*choices: str) -> str:
    """One group of alternatives.

    >>> words("effusions?", "pleural fluid")
    '(?:effusions?|pleural fluid)'
    """
    return f"(?:{'|'.join(choices)})"


NO_FINDING, DEVICE = "no finding", "support device"
# Our name → CheXpert's class. Nodule and mass stay apart, since expert codes and the phantom keep them apart.
CHEXPERT = {
    NO_FINDING: "No Finding",
    "enlarged cardiomediastinum": "Enlarged Cardiomediastinum",
    "cardiomegaly": "Cardiomegaly",
    "lung opacity": "Lung Opacity",
    "nodule": "Lung Lesion",
    "mass": "Lung Lesion",
    "edema": "Edema",
    "consolidation": "Consolidation",
    "pneumonia": "Pneumonia",
    "atelectasis": "Atelectasis",
    "pneumothorax": "Pneumothorax",
    "pleural effusion": "Pleural Effusion",
    "pleural thickening": "Pleural Other",
    "fracture": "Fracture",
    DEVICE: "Support Devices",
}
# What makes a picture abnormal without being one of the classes; it is read only to tell "no finding".
OTHER = "other"
WITHOUT_SIDE = ("cardiomegaly", "enlarged cardiomediastinum", OTHER)
# Edema is of both lungs unless it says otherwise itself, and a device's side is where it enters.
OWN_SIDE = (*WITHOUT_SIDE, "edema", DEVICE)

SHAPE = r"(?: (?:size|silhouettes?|shadow|contours?))?"
HEART = rf"(?:heart|cardiac|cardio-?pericardial){SHAPE}"
MEDIASTINUM = rf"(?:cardio-? ?mediastin\w+|mediastin\w+){SHAPE}"
# Words between a structure and what is said of it; a negation or a new subject ends them.
GAP = r"(?:[ ,](?!not\b|no\b|normal|without|lungs?\b|mediastin|aort|pulmonary|and\b.*\b(?:lungs?|aort))[\w-]+){0,5}?"
ENLARGED = words("enlarge(?:d|ment)", "prominen(?:t|ce)", "large", "increased", "widen(?:ed|ing)", "dilated", "big")
# Opacities and densities are named of bones and soft parts too; those are no opacity of the lung.
BONE = words(r"ribs?", "spine", r"vertebra\w*", r"clavic\w*", r"stern\w+", "shoulders?", "glenoid", r"humer\w+")
SOFT_PART = words("breasts?", "nipples?", "hernia", r"axilla\w*", r"abdom\w+", "lipoma")
NOT_OF_LUNG = rf"(?![^.;]{{0,60}}\b(?:{BONE}|{SOFT_PART})\b)"
OPACITY = words(r"opaci\w+", r"densit(?:y|ies)", r"infiltrat\w+", r"air-? ?space (?:disease|process|change\w*)")

PATTERNS = {
    "enlarged cardiomediastinum": words(
        rf"{MEDIASTINUM}{GAP} {ENLARGED}", rf"{ENLARGED} (?:of the )?(?:superior )?{MEDIASTINUM}"
    ),
    "cardiomegaly": words(
        r"cardiomegaly",
        r"cardiac enlargement",
        rf"{HEART}{GAP} {ENLARGED}",
        rf"{HEART}{GAP} borderline",
        rf"borderline {HEART}",
        rf"{ENLARGED} (?:of the |appearing )?(?:[\w-]+ )?{HEART}",
    ),
    "lung opacity": rf"(?<!soft tissue )(?<!bone )(?<!bony )(?<!mineral ){OPACITY}{NOT_OF_LUNG}",
    "nodule": r"nodul(?:es?|arity)\b",
    "mass": r"(?<!thyroid )(?<!brain )(?:mass(?:es)?\b(?! effect)|neoplasms?|malignancy|tumou?rs?)",
    "edema": words(
        r"(?<!soft tissue )(?:pulmonary |interstitial |alveolar )*o?edema",
        r"(?:vascular|venous|pulmonary) (?:congestion|prominence|engorgement)",
        r"vascularity is (?:\w+ )?(?:prominent|increased|congested)",
        r"increased (?:lung |pulmonary )?vascularity",
        r"(?:prominent|prominence of the) (?:central )?(?:pulmonary )?vascula\w+",
        r"venous hypertension",
        r"cephali[sz]ation",
        r"congestive",
        r"chf\b",
        r"heart failure",
    ),
    "consolidation": r"consolidat\w+",
    "pneumonia": words(
        r"(?:broncho)?pneumonias?", r"pneumonic", r"(?<!granulomatous )(?<!tuberculous )infecti(?:on|ous)\w*"
    ),
    "atelectasis": words(
        r"atelecta\w+", r"(?:lobe|lobar|lung) collapse", r"collapse of (?:the )?(?:\w+ ){0,3}(?:lung|lobe)"
    ),
    "pneumothorax": words(r"(?:hydro|ha?emo|pyo)?-?pneumo-?thora\w+", r"ptx\b"),
    "pleural effusion": words(
        r"(?<!pericardial )(?<!joint )effusions?",
        r"pleural fluid",
        r"(?:hydro|ha?emo|pyo)-?(?:pneumo-?)?thora\w+",
        r"fluid (?:at|in|along|within) the [\w ]{0,20}?(?:bases?|fissures?|pleural space)",
    ),
    "pleural thickening": words(
        r"pleural (?:thickening|plaques?|scarring|calcifications?|capping)", r"fibrothorax", r"apical cap(?:ping)?"
    ),
    "fracture": r"fractur\w+",
    DEVICE: words(
        r"pace-?makers?",
        r"pacer\b",
        r"pacing",
        r"catheters?",
        r"picc\b",
        r"tub(?:es?|ing)\b",
        r"(?:venous|central) lines?",
        r"lines? tip",
        r"leads?\b",
        r"a?icd\b",
        r"generator",
        r"occluder",
        r"tips?\b",
        r"internal fixation",
        r"defibrillators?",
        r"port\b",
        r"mediport",
        r"port-a-cath",
        r"stents?\b",
        r"prosthe\w+",
        r"hardware",
        r"screws?\b",
        r"clips\b",
        r"wires?\b",
        r"sutures?\b",
        r"staples",
        r"sternotomy",
        r"cabg",
        r"bypass graft\w*",
        r"(?:valve|shoulder|hip) replacement",
        r"devices?\b",
        r"stimulator",
        r"tracheostomy",
        r"anchors?\b",
        r"rods?\b",
        r"coils?\b",
        r"filter",
        r"shunt",
    ),
    OTHER: words(
        # lungs and airways
        r"granulo\w+",
        r"calcif\w+",
        r"scar(?:s|ring)?\b",
        r"fibro\w+",
        r"emphysem\w+",
        r"copd",
        r"chronic",
        r"bull(?:a|ae|ous)\b",
        r"blebs?\b",
        r"cyst(?:s|ic)?\b",
        r"cavit\w+",
        r"bronch(?:iect\w+|itis)",
        r"peribronchial",
        r"interstitial",
        r"reticul\w+",
        r"markings",
        r"crowding",
        r"coarse\w*",
        r"lucenc\w+",
        r"hyper\w+",
        r"hypo(?:inflat|ventil|aerat)\w+",
        r"(?:low|decreased|small|reduced|diminished) (?:lung|inspiratory) volumes?",
        r"volumes are (?:low|decreased|reduced)",
        r"(?:low|poor|shallow) inspirat\w+",
        r"volume loss",
        r"collapse",
        r"congest\w+",
        r"blunt\w+",
        r"elevat\w+",
        r"flatten\w+",
        r"eventrat\w+",
        r"tubercul\w+",
        r"tb\b",
        r"sarcoid\w*",
        r"covid(?:-? ?19)?\b",
        r"pneumo(?:nitis|conio\w+|mediastin\w+|pericard\w+|periton\w+)",
        r"(?:asbest|silico|anthraco)\w+",
        r"(?:cancer|carcinom|sarcom|lymphom|metasta|malignan)\w*",
        r"abscess\w*",
        r"empyema",
        r"(?:thrombo)?embol\w+",
        r"infarct\w*",
        r"ha?emorrhag\w*",
        r"ha?ematom\w*",
        r"contusion\w*",
        r"aspirat\w+",
        r"ards\b",
        r"(?:haz(?:e|y|iness)|ground-? ?glass)\b(?! (?:[\w-]+ ){0,2}(?:opaci|consolid|densit|infiltrat))",
        r"white-? ?out",
        r"miliary",
        r"free (?:\w+ )?(?:air|gas)\b",
        # heart, vessels, nodes
        r"dextro(?:cardia|position)\w*",
        r"situs inversus",
        r"tortuo\w+",
        r"ecta(?:sia|tic)",
        r"athero\w+",
        r"un(?:fold|coil)\w+",
        r"aneurysm\w*",
        r"adenopathy",
        r"lymphadenopathy",
        r"enlarge\w+",
        r"prominen\w+",
        r"dilat\w+",
        r"widen\w+",
        r"shift",
        r"deviat\w+",
        r"azygos",
        # bones and soft parts
        r"degenerat\w+",
        r"osteo(?:phyt|pen)\w+",
        r"spondyl\w+",
        r"spurring",
        r"endplate",
        r"(?:\w+o)?scolio\w+",
        r"kypho\w+",
        r"curvature",
        r"arthr\w+",
        r"sclero\w+",
        r"deformit\w+",
        r"wedg\w+",
        r"compress\w+",
        r"pectus",
        r"cervical ribs?",
        r"fusion",
        r"lipoma",
        r"hernia\w*",
        r"soft tissue densit\w+",
        # what was done, and anything else
        r"surg\w+",
        r"mastectomy",
        r"resect\w+",
        r"implants?",
        r"foreign",
        r"radio-?(?:pa|dens)\w+",
        r"thicken\w+",
        r"lesions?",
        r"abnormal\w*",
        r"(?:not|\w+n't) (?:\w+ ){0,2}?(?:normal|clear|unremarkable)\b",
        r"obscur\w+",
        r"rotat\w+",
    ),
}
MENTIONS = {name: re.compile(rf"\b{pattern}") for name, pattern in PATTERNS.items()}

# Words between a structure and what is said of it, none of which denies it: "the lungs are not clear".
UNDENIED = r"(?:[ ,-]+(?!(?:not|no|never|without)\b|\w+n't\b)[\w'-]+)"
NORMAL = words(
    r"within (?:\w+ )?normal",
    r"within limits",
    r"normal",
    r"unremarkable",
    r"not (?:\w+ )?(?:enlarged|widened|dilated)",
)
# Statements that say at once that something is absent.
BY_NORMAL = {
    "cardiomegaly": re.compile(rf"(?<!not )normal (?:\w+ ){{0,2}}{HEART}|{HEART}{UNDENIED}{{0,9}}? +{NORMAL}"),
    "enlarged cardiomediastinum": re.compile(
        rf"(?<!not )normal (?:\w+ ){{0,3}}{MEDIASTINUM}|{MEDIASTINUM}{UNDENIED}{{0,9}}? +{NORMAL}"
    ),
    "lung opacity": re.compile(rf"lungs?(?: fields?)?{UNDENIED}{{0,6}}? clear|(?<!not )clear lungs"),
}

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
