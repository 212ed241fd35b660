"""A prompt with a finding more, or one less."""

import re

from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.errors import UserError

NORMAL = "Normal chest X-ray, clear lungs."
SENTENCE = re.compile(r"(?<=[.!?;])\s+")


def with_finding(prompt: str, finding: str) -> str:
    """The prompt and the finding, without what would deny it: that all is normal, or that it is not there.

    >>> with_finding("Normal chest X-ray, clear lungs.", "right pleural effusion")
    'Right pleural effusion.'
    >>> with_finding("Cardiomegaly. No effusion.", "small left effusion")
    'Cardiomegaly. Small left effusion.'
    """
    said = finding.strip().rstrip(".")
    if not said:
        raise UserError("add= is empty; name a finding, such as add='right pleural effusion'.")
    named = names(said)
    kept = [each for each in sentences(prompt) if not denies(each, named)]
    return " ".join([*kept, f"{said[0].upper()}{said[1:]}."])


def without_finding(prompt: str, finding: str) -> str:
    """The prompt without the sentences that name the finding, on whatever side; a normal chest where none is left.

    Raises:
        UserError: no sentence names it, or one that does names another finding, too.

    >>> without_finding("Cardiomegaly. Right pleural effusion.", "effusion")
    'Cardiomegaly.'
    >>> without_finding("Right pleural effusion.", "pleural effusion")
    'Normal chest X-ray, clear lungs.'
    """
    named, word = names(finding), re.escape(finding.strip().rstrip("."))
    said = re.compile(rf"\b{word}s?\b", re.IGNORECASE)
    dropped = [each for each in sentences(prompt) if names(each) & named or (word and said.search(each))]
    if not dropped:
        raise UserError(f"remove={finding}: no sentence of the prompt names it: {prompt[:80]}")
    others = sorted(set().union(*map(names, dropped)) - named) if named else []
    if others:
        raise UserError(f"remove={finding}: its sentence names {', '.join(others)}, too; give each one of its own.")
    kept = [each for each in sentences(prompt) if each not in dropped]
    return " ".join(kept) or NORMAL


def denies(sentence: str, named: set[str]) -> bool:
    """Whether a sentence says that one of these findings is absent, or that nothing is to be found."""
    found = read_findings(sentence)
    absent = {each["name"] for each in found if each["certainty"] == "absent"}
    return bool(absent & named) or any(each["name"] == "no finding" for each in found)


def names(text: str) -> set[str]:
    """The findings that a text names, whatever it says of them."""
    return {each["name"] for each in read_findings(text)} - {"no finding"}


def sentences(text: str) -> list[str]:
    """With their stops and capitals."""
    return [part for part in SENTENCE.split(text.strip()) if part]
