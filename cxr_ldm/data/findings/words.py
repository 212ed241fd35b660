"""What the findings of radiology reports are called in them; what is said of one is in `cxr_ldm.data.findings.cues`."""

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
