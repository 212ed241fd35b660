"""Reports of the phantom: varied radiology wording that is true of the drawn findings."""

from collections.abc import Sequence

import numpy as np

from cxr_ldm.data.phantom_anatomy import Finding

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
    "nodule": ("{side} lung nodule", "nodule in the {side} lung", "{side} pulmonary nodule"),
    "pneumothorax": ("{severity} {side} pneumothorax", "{severity} {side}-sided pneumothorax"),
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
}
SENTENCES = {
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


def write_report(findings: Sequence[Finding], generator: np.random.Generator) -> str:
    """Text of one study, at most 40 words: an impression alone, or findings with negations and maybe an impression."""

    def pick(choices: Sequence[str]) -> str:
        return choices[int(generator.integers(len(choices)))]

    if generator.random() < SHORT_FORM:
        return _summary(findings, pick) if findings else pick(NORMAL_SHORT)
    positive = [_sentence(finding, pick) for finding in findings] or [pick(NORMAL_FINDINGS)]
    negative = _negations(findings, pick)
    kept = [negative[i] for i in generator.permutation(len(negative))[: int(generator.integers(1, 4))]]
    parts = positive + kept if generator.random() < 0.7 else kept + positive
    if generator.random() < 0.4:
        parts.append("Impression: " + (_summary(findings, pick) if findings else pick(NORMAL_IMPRESSION)))
    return " ".join(parts)


def _fill(template: str, finding: Finding) -> str:
    return template.format(side=finding.side, severity=finding.severity, zone=finding.zone)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _summary(findings: Sequence[Finding], pick) -> str:
    """All findings in one short sentence."""
    return _capital(" and ".join(_fill(pick(BRIEF_PHRASES[finding.name]), finding) for finding in findings)) + "."


def _sentence(finding: Finding, pick) -> str:
    """One finding as a sentence of the findings section, sometimes with a second that describes it."""
    phrase = _fill(pick(PHRASES[finding.name]), finding)
    article = "an" if phrase[0] in "aeiou" else "a"
    # Cardiomegaly and consolidation are uncountable: "there is mild cardiomegaly".
    lead = "There is " if finding.name in ("cardiomegaly", "consolidation") else f"There is {article} "
    if phrase.startswith(("mild enlargement", "moderate enlargement", "severe enlargement")):
        lead = "There is "
    sentence = pick((_capital(phrase), _capital(phrase), lead + phrase)) + "."
    extra = pick(("", "", *SENTENCES.get(finding.name, ())))
    return f"{sentence} {_fill(extra, finding)}".strip()


def _negations(findings: Sequence[Finding], pick) -> list[str]:
    """Sentences about what is absent; each is true of every image without the named findings."""
    present = {finding.name for finding in findings}
    sentences = []
    if not present & {"pleural effusion", "pneumothorax"}:
        sentences.append(pick(NO_PLEURAL))
    elif "pleural effusion" not in present:
        sentences.append(pick(NO_EFFUSION))
    elif "pneumothorax" not in present:
        sentences.append(pick(NO_PNEUMOTHORAX))
    if "cardiomegaly" not in present:
        sentences.append(pick(HEART_NORMAL))
    if "consolidation" not in present:
        sentences.append(pick(NO_CONSOLIDATION))
    if "nodule" not in present:
        sentences.append(pick(NO_NODULE))
    return sentences
