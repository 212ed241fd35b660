"""Reports of the phantom: varied radiology wording that is true of the drawn findings."""

from collections.abc import Callable, Sequence

import numpy as np

from cxr_ldm.data.phantom.patient import Finding

Pick = Callable[[Sequence[str]], str]

SHORT_FORM = 0.35  # share of the reports that are an impression alone

NORMAL_SHORT = (
    "Normal chest X-ray, clear lungs.",
    "Normal chest X-ray.",
    "Clear lungs.",
    "Normal chest X-ray, clear lungs (no effusion).",
    "Normal chest radiograph.",
    "No acute cardiopulmonary abnormality.",
    "No acute disease.",
)
NORMAL_FINDINGS = (
    "The lungs are clear.",
    "Clear lungs.",
    "Lungs are clear without focal consolidation.",
    "Both lungs are well expanded and clear.",
)
NORMAL_IMPRESSION = (
    "Normal chest X-ray.",
    "No acute cardiopulmonary abnormality.",
    "No acute cardiopulmonary process.",
    "Normal chest.",
)
# What a report adds where a device is all that it names.
NOTHING_ELSE = ("Clear lungs.", "The lungs are clear.", "No acute cardiopulmonary abnormality.", "No acute disease.")
# {severity} and {side} are filled in; a template is used only where the finding has what it names.
PHRASES = {
    "pleural effusion": (
        "{severity} {side} pleural effusion",
        "{severity} {side}-sided pleural effusion",
        "{severity} pleural effusion on the {side}",
        "{side} pleural effusion, {severity} in size",
    ),
    "cardiomegaly": ("{severity} cardiomegaly", "{severity} enlargement of the heart"),
    "consolidation": (
        "{severity} {side} {zone} zone consolidation",
        "{severity} consolidation in the {side} {zone} zone",
        "{severity} airspace consolidation in the {side} {zone} lung",
    ),
    "nodule": (
        "{side} lung nodule",
        "nodule in the {side} lung",
        "{side} pulmonary nodule",
        "nodule in the {side} {zone} zone",
    ),
    "pneumothorax": ("{severity} {side} pneumothorax", "{severity} {side}-sided pneumothorax"),
    "atelectasis": (
        "{severity} {side} basilar atelectasis",
        "{severity} atelectasis at the {side} base",
        "{severity} plate-like atelectasis at the {side} base",
    ),
    "edema": ("{severity} pulmonary edema", "{severity} interstitial and alveolar edema"),
    "pacemaker": (
        "{side}-sided pacemaker",
        "{side} chest pacemaker with leads over the heart",
        "dual-lead pacemaker in the {side} chest",
    ),
}
BRIEF_PHRASES = {
    "pleural effusion": (
        "{side} pleural effusion",
        "{side}-sided pleural effusion",
        "{severity} {side} pleural effusion",
    ),
    "cardiomegaly": ("cardiomegaly", "{severity} cardiomegaly"),
    "consolidation": ("{side} {zone} zone consolidation", "consolidation in the {side} {zone} zone"),
    "nodule": ("{side} lung nodule", "{side} pulmonary nodule"),
    "pneumothorax": ("{side} pneumothorax", "{severity} {side} pneumothorax"),
    "atelectasis": ("{side} basilar atelectasis", "{severity} atelectasis at the {side} base"),
    "edema": ("pulmonary edema", "{severity} pulmonary edema"),
    "pacemaker": ("{side}-sided pacemaker", "{side} chest pacemaker"),
}
UNCOUNTABLE = ("cardiomegaly", "consolidation", "atelectasis", "edema")  # "there is mild cardiomegaly"
SENTENCES = {
    "edema": ("There is perihilar haze.", "The pulmonary vessels are congested."),
    "pleural effusion": ("There is fluid at the {side} base.", "The {side} costophrenic angle is blunted."),
}
HEART_NORMAL = (
    "The heart is normal in size.",
    "Heart size is normal.",
    "Normal heart size.",
    "The cardiac silhouette is within normal limits.",
)
NO_PLEURAL = ("No pleural effusion or pneumothorax.", "There is no pleural effusion or pneumothorax.")
NO_EFFUSION = ("No pleural effusion.", "There is no pleural effusion.")
NO_PNEUMOTHORAX = ("No pneumothorax.", "There is no pneumothorax.")
NO_CONSOLIDATION = ("No focal consolidation.", "No airspace consolidation is seen.", "No focal airspace disease.")
NO_NODULE = ("No pulmonary nodule.", "No suspicious nodule.")
NO_EDEMA = ("No pulmonary edema.", "No pulmonary vascular congestion.")
NO_ATELECTASIS = ("No atelectasis.", "There is no atelectasis.", "No focal atelectasis.")
NO_FRACTURE = ("No acute bony abnormality.", "No acute osseous abnormality.", "The bony thorax is intact.")


def write_report(findings: Sequence[Finding], generator: np.random.Generator) -> str:
    """Text of one study, at most 40 words: an impression alone, or findings with negations and maybe an impression."""
    pick = _picker(generator)
    if generator.random() < SHORT_FORM:
        return _summary(findings, pick) if findings else pick(NORMAL_SHORT)
    positive = [_sentence(finding, pick) for finding in findings] or [pick(NORMAL_FINDINGS)]
    if _device_alone(findings):
        positive.append(pick(NOTHING_ELSE))
    negative = _negations(findings, pick)
    most = 3 if len(findings) < 2 else 1
    kept = [negative[i] for i in generator.permutation(len(negative))[: int(generator.integers(1, most + 1))]]
    parts = positive + kept if generator.random() < 0.7 else kept + positive
    if generator.random() < 0.4:
        parts.append("Impression: " + (_summary(findings, pick) if findings else pick(NORMAL_IMPRESSION)))
    return " ".join(parts)


def write_sections(findings: Sequence[Finding], generator: np.random.Generator) -> tuple[str, str]:
    """Findings and impression of one study as two sections of a full report, the impression sometimes numbered."""
    pick = _picker(generator)
    positive = [_sentence(finding, pick) + _measured(finding, pick) for finding in findings] or [pick(NORMAL_FINDINGS)]
    negative = [*_negations(findings, pick), pick(NO_FRACTURE)]
    kept = [negative[i] for i in generator.permutation(len(negative))[: int(generator.integers(2, 6))]]
    described = " ".join(positive + kept if generator.random() < 0.6 else kept + positive)
    if not findings:
        return described, pick(NORMAL_IMPRESSION)
    if len(findings) > 1 and generator.random() < 0.6:
        brief = [_named([finding], pick) for finding in findings]
        return described, " ".join(f"{number}. {text}" for number, text in enumerate(brief, 1))
    return described, _summary(findings, pick)


def headings(findings: Sequence[Finding]) -> list[str]:
    """MeSH headings with qualifiers, as the collection's coders write them: "normal" alone where nothing is found.

    >>> headings([Finding("pleural effusion", "left", "small", 0.2)])
    ['Pleural Effusion/left/small']
    >>> headings([])
    ['normal']
    """
    return [_heading(finding) for finding in findings] or ["normal"]


def _heading(finding: Finding) -> str:
    first = {
        "pleural effusion": "Pleural Effusion",
        "cardiomegaly": "Cardiomegaly",
        "consolidation": "Consolidation/lung",
        "nodule": "Nodule/lung",
        "pneumothorax": "Pneumothorax",
        "atelectasis": "Pulmonary Atelectasis",
        "edema": "Pulmonary Edema",
        "pacemaker": "Implanted Medical Device",
    }[finding.name]
    place = {"upper": "upper lobe", "lower": "lower lobe"}.get(finding.zone or "", finding.zone)
    return "/".join(filter(None, [first, place, finding.side, finding.severity]))


def _picker(generator: np.random.Generator) -> Pick:
    return lambda choices: choices[int(generator.integers(len(choices)))]


def _fill(template: str, finding: Finding) -> str:
    return template.format(side=finding.side, severity=finding.severity, zone=finding.zone)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _summary(findings: Sequence[Finding], pick: Pick) -> str:
    """All findings in one short sentence; where that is a device alone, also that the chest is well."""
    return _named(findings, pick) + (f" {pick(NOTHING_ELSE)}" if _device_alone(findings) else "")


def _named(findings: Sequence[Finding], pick: Pick) -> str:
    return _capital(" and ".join(_fill(pick(BRIEF_PHRASES[finding.name]), finding) for finding in findings)) + "."


def _device_alone(findings: Sequence[Finding]) -> bool:
    return [finding.name for finding in findings] == ["pacemaker"]


def _sentence(finding: Finding, pick: Pick) -> str:
    """One finding as a sentence of the findings section, sometimes with a second that describes it."""
    phrase = _fill(pick(PHRASES[finding.name]), finding)
    article = "" if finding.name in UNCOUNTABLE else "an " if phrase[0] in "aeiou" else "a "
    sentence = pick((_capital(phrase), _capital(phrase), f"There is {article}{phrase}")) + "."
    extra = pick(("", "", *SENTENCES.get(finding.name, ())))
    return f"{sentence} {_fill(extra, finding)}".strip()


def _measured(finding: Finding, pick: Pick) -> str:
    """The size of a nodule, where the report states it."""
    if finding.name != "nodule":
        return ""
    size = f"{finding.diameter_mm / 10:.1f} cm"
    return pick(("", f" It measures about {size}.", f" The nodule is {size} in diameter."))


def _negations(findings: Sequence[Finding], pick: Pick) -> list[str]:
    """Sentences about what is absent; each is true of every image without the named findings."""
    present = {finding.name for finding in findings}
    sentences = []
    if not present & {"pleural effusion", "pneumothorax"}:
        sentences.append(pick(NO_PLEURAL))
    elif "pleural effusion" not in present:
        sentences.append(pick(NO_EFFUSION))
    elif "pneumothorax" not in present:
        sentences.append(pick(NO_PNEUMOTHORAX))
    absent = {
        "cardiomegaly": HEART_NORMAL,
        "consolidation": NO_CONSOLIDATION,
        "nodule": NO_NODULE,
        "edema": NO_EDEMA,
        "atelectasis": NO_ATELECTASIS,
    }
    return sentences + [pick(choices) for name, choices in absent.items() if name not in present]
