"""docs/results/findings.md: the figures of the findings suite, each from its metrics.json."""

import json
from collections.abc import Mapping
from typing import Any

from cxr_ldm.benchmark.findings_codes import AIMED, FURTHER, TARGETS, Target
from cxr_ldm.report.terminal import cell

INTRO = """Structured findings are read from the text of a report (findings and impression) by the rules of
`cxr_ldm/data/findings/reading.py`. Here they are compared with the MeSH codes that experts gave each report of the
Indiana collection. The reports were split in halves by a hash of their number; the rules were written while looking at
the development half only, and every figure that is not marked otherwise is of the measurement half.

A class counts as found where it is read as *present*: what the text calls possible or probable is *uncertain* and does
not count. A report counts as coded where it bears one of the headings below. Left out are reports without any text,
which were coded normal, and those that the coders marked as not to be indexed. Intervals are 95 %: Wilson for precision
and recall, the bootstrap over reports for F1.

Packages were looked at first: medspacy and negspacy bring scopes of negation but no findings of the chest, and need
spaCy; RadText pins libraries of years ago; RadGraph and CheXbert need a model that has to be fetched; the CheXpert
labeler is not packaged."""

REMAINS = """What the development half shows of the disagreements that remain; the measurement half was not read.

- **The coders leave out.** Reports that name degenerative changes of the spine, a sternotomy or a scoliosis are coded
  normal in one case and by that heading in the next, so neither answer can always agree with them.
- **The coders decide where the text does not.** What a report calls probable is mostly coded, and what may be one
  thing or another often is not. Ours calls both uncertain.
- **Nodules go by several headings.** A "nodular opacity" is coded as opacity, density, nodule or granuloma. Ours reads
  nodule only where the noun is written, opacity otherwise, and leaves granulomas aside, since the coders have headings
  of their own for them.
- **Density is a wide word.** The coders use it for lungs, bones, breasts and hernias; ours drops it beside the name of
  another part, not where the part is implied.
- **De-identification removed words.** A negation that went with a name reads as a finding."""


def page(content: Mapping[str, Any]) -> str:
    """The Markdown page, every number of it from `content`, a metrics.json; it quotes no report."""
    run = content["run"]
    mean, doubt, developed = (content[f"mean_f1{end}"] for end in ("", "_with_uncertain", "_development"))
    lines = ["# Findings read from reports, against expert codes", "", INTRO, ""]
    lines += [
        f"The measurement half has {mean['n']:,} reports, the development half {developed['n']:,}.",
        "",
        "## The six classes aimed at",
        "",
        *table(content, AIMED),
        "",
    ]
    lines += [
        f"Mean F1 of the six: **{cell(mean)}**; of the development half {cell(developed)}. "
        f"Were uncertain findings counted as found, it would be {cell(doubt)}.",
        "",
    ]
    if side := content.get("side_agreement"):
        lines += [
            "Where coder and text each state one side of an effusion, atelectasis or opacity, it is the same in "
            f"{cell(side)} of {side['n']} cases.",
            "",
        ]
    lines += ["## Other classes", "", *table(content, FURTHER), ""]
    lines += ["## The development half", "", *table(content, TARGETS, "_development"), ""]
    lines += [
        "## Headings that count as each class",
        "",
        "| class | coded as (beginning) | read as |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {name.replace('_', ' ')} | {'; '.join(target.headings)} | {', '.join(target.names)} |"
        for name, target in TARGETS.items()
    ]
    lines += ["", "A report is read as normal where it has no finding and names no device.", "", "## What remains", ""]
    lines += [REMAINS, "", "## Run", ""]
    lines += [f"- {key}: `{value if isinstance(value, str) else json.dumps(value)}`" for key, value in run.items()]
    return "\n".join(lines) + "\n"


def table(content: Mapping[str, Any], names: Mapping[str, Target], end: str = "") -> list[str]:
    """Markdown rows of one half: each class with its support, precision, recall and F1.

    Beside the measurement half, whose names have no `end`, stands the development half's F1.
    """
    heads = ["class", "support", "precision", "recall", "F1", *([] if end else ["F1, development half"])]
    keys = [f"{key}{end}" for key in ("precision", "recall", "f1")] + ([] if end else ["f1_development"])
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for name in names:
        if f"{name}_f1{end}" in content:
            support = content[f"{name}_f1{end}"]["settings"]["support"]
            cells = [cell(content.get(f"{name}_{key}")) for key in keys]
            lines.append(f"| {name.replace('_', ' ')} | {support} | {' | '.join(cells)} |")
    return lines
