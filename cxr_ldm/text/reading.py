"""What a model makes of a prompt: what it cuts off, which words it does not know, and whether it names any finding."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.text.encoders import TextEncoder


@dataclass(frozen=True)
class Reading:
    """One prompt as a model reads it.

    Attributes:
        window: tokens that the model reads at most.
        cut: the end of the prompt that it does not read.
        unknown: words that its vocabulary does not have, in order.
        nothing_known: whether the prompt names no finding that the model was trained on.
    """

    window: int
    cut: str = ""
    unknown: tuple[str, ...] = ()
    nothing_known: bool = False

    def sentences(self) -> list[str]:
        """What is to be said of it; nothing where all of it is read and known."""
        said = []
        if self.cut:
            said.append(f"The prompt is longer than the {self.window} tokens that the model reads; cut off: {self.cut}")
        if self.unknown:
            said.append(f"The model's vocabulary does not know: {', '.join(self.unknown)}.")
        if self.nothing_known:
            said.append("The prompt names no finding that the model was trained on.")
        return said

    def facts(self) -> dict[str, Any]:
        """The same for provenance."""
        stated = {
            "prompt_cut": self.cut,
            "prompt_unknown_words": list(self.unknown),
            "prompt_names_no_known_finding": self.nothing_known,
        }
        return {name: value for name, value in stated.items() if value}


def nameable(texts: Collection[str], labels: Collection[str]) -> list[str]:
    """What a prompt to a model of these texts can name, in lower case and in order.

    That is every finding that is read in a text, and every label of their images that stands in a text word for word:
    tables name what no reader of reports looks for.

    >>> nameable(["Adult. Emphysema.", "Left effusion."], ["Emphysema", "Hernia"])
    ['emphysema', 'pleural effusion']
    """
    together = "\n".join(texts)
    read = {each["name"] for text in texts for each in read_findings(text)}
    return sorted(read | {label.lower() for label in labels if stands(label, together)})


def stands(words: str, text: str) -> bool:
    """Whether words stand in a text, in capitals or not.

    >>> [stands("COVID-19", text) for text in ("covid-19.", "COVID-190")]
    [True, False]
    """
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None


def read_prompt(encoder: TextEncoder, prompt: str, findings: Collection[str] | None) -> Reading:
    """How a model reads a prompt; the empty one, which stands for the model without text, is known.

    Args:
        findings: what can be named (see `nameable`); None for bundles that do not say it: a finding then counts as
            known where the vocabulary has its words.
    """
    tokenizer = encoder.tokenizer
    kept = tokenizer.kept(prompt)
    # a vocabulary that was learnt from the reports has their words; one that came with weights knows others in pieces
    unknown = tokenizer.unknown_words(kept, pieces=encoder.from_ids)
    foreign = "|".join(map(re.escape, unknown))
    named = [each["name"] for each in read_findings(re.sub(rf"\b(?:{foreign})\b", "", kept) if foreign else kept)]
    known = any(findings is None or name in findings for name in named) or any(
        stands(name, kept) for name in findings or ()
    )
    nothing_known = bool(prompt.strip()) and not known
    return Reading(tokenizer.length, prompt[len(kept) :].strip(), tuple(dict.fromkeys(unknown)), nothing_known)
