"""Tables of a report that set figures of a metrics.json side by side: the headline, the references, and by finding."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cxr_ldm.data.findings.targets import is_sided
from cxr_ldm.metrics.references import MARK, REFERENCES
from cxr_ldm.report.headline import headline
from cxr_ldm.report.terminal import cell

Content = Mapping[str, Any]
AIMS = "Each figure with that of real images, and the aim that the experiment states; missed ones are marked and stay."
REFERENCES_ABOUT = "The measures of the generated set on sets of which it is known what they should get."
FURTHER = (
    "Own words: generated images of short prompts for the finding against those of normal ones, by the classifier; "
    "beside it real images with the finding against normal ones, and the mean of both over the same findings. "
    "Cross-fitted: all real images, each by a classifier that saw no image of its patient. Trained on: a plain "
    "classifier fitted to generated images, or to the real ones of the same texts, and tested on real images."
)
# Column of the table by finding, and how the name of its metric is made.
BY_FINDING = {
    "own words": "auroc_own_{}",
    "real": "auroc_own_{}_real",
    "cross-fitted": "auroc_{}_real_crossfitted",
    "trained on synthetic": "auroc_trained_on_synthetic_{}",
    "trained on real": "auroc_trained_on_real_{}",
    "ratio": "auroc_trained_ratio_{}",
}


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; `marked` are the numbers of the rows that miss their aim.

    `words`: whether all columns hold words, and are set to the left.
    """

    title: str
    about: str
    headings: list[str]
    rows: list[list[str]]
    marked: set[int] = field(default_factory=set)
    words: bool = False


def headline_table(content: Content) -> Table | None:
    """The first figures of a page; None where there are none."""
    rows = headline(content)
    if not rows:
        return None
    cells = [[row.label, row.value, row.real, row.aim, row.n] for row in rows]
    missed = {place for place, row in enumerate(rows) if row.missed}
    return Table("In short", AIMS, ["figure", "value (95 % interval)", "real images", "aim", "n"], cells, missed)


def reference_table(content: Content) -> Table | None:
    """The generated set, each reference and the floor, by the first extractor's distances and by AUROC."""
    names = [name for name in content if MARK in name]
    if not names:
        return None
    first = next((name.partition(MARK)[0] for name in names if name.startswith("kid_")), "kid_").removeprefix("kid_")
    wanted = ["kid_" + first, f"fid_{first}_ratio", *(f"{kind}_{first}" for kind in ("precision", "recall"))]
    wanted += [f"{kind}_{first}" for kind in ("density", "coverage")] + ["auroc_mean", "side_accuracy"]
    columns = [name for name in wanted if name in content]
    headings = ["set", *(name.replace(f"_{first}", "").replace("_", " ") for name in columns)]
    ends = {"generated": "", "real against real": "_floor", "real images": "_real"}
    ends |= {what: f"{MARK}{name}" for name, what in REFERENCES.items()}
    rows = [[what, *(cell(content.get(f"{name}{end}")) for name in columns)] for what, end in ends.items()]
    return Table("References", REFERENCES_ABOUT, headings, [row for row in rows if set(row[1:]) != {"–"}])


def finding_table(content: Content) -> Table | None:
    """A row for each finding of own-worded prompts, the cross-fitted judge or train on synthetic, and the means."""
    names = sorted({name for pattern in BY_FINDING.values() for name in _findings(content, pattern)} - {"mean"})
    if not names:
        return None
    columns = [heading for heading, pattern in BY_FINDING.items() if any(pattern.format(n) in content for n in names)]
    headings = ["finding", *columns]
    rows = [[name.replace("_", " "), *(_text(content, column, name) for column in columns)] for name in names]
    return Table("By finding, beyond the texts", FURTHER, headings, [*rows, ["mean", *_means(content, columns)]])


def _findings(content: Content, pattern: str) -> set[str]:
    start, end = pattern.split("{}")
    others = [each.split("{}") for each in BY_FINDING.values() if each != pattern]
    found = set()
    for name in content:
        if name.startswith(start) and name.endswith(end) and len(name) > len(start) + len(end):
            # the longest pattern that fits is the one that is meant
            if any(name.startswith(s) and name.endswith(e) and len(s + e) > len(start + end) for s, e in others):
                continue
            found.add(name[len(start) : len(name) - len(end)])
    return {name for name in found if not is_sided(name.replace("_", " "))}


def _text(content: Content, column: str, name: str) -> str:
    return cell(content.get(BY_FINDING[column].format(name)))


def _means(content: Content, columns: list[str]) -> list[str]:
    """Means over the findings; the names of those of train on synthetic end without a finding."""
    keys = [BY_FINDING[column].format("mean") for column in columns]
    return [cell(content.get(key, content.get(key.removesuffix("_mean")))) for key in keys]


def markdown(table: Table | None) -> list[str]:
    """Lines of a Markdown table with its heading; nothing for none.

    >>> markdown(Table("T", "About.", ["a", "b"], [["x", "1"], ["y", "2"]], {1}))[-2:]
    ['| x | 1 |', '| **y** | **2** |']
    """
    if table is None:
        return []
    return ["", f"## {table.title}", "", table.about, "", *lines(table)]


def lines(table: Table) -> list[str]:
    """Lines of a Markdown table without its heading; numbers are set to the right."""
    side = " --- |" if table.words else " ---: |"
    found = [f"| {' | '.join(table.headings)} |", "| --- |" + side * (len(table.headings) - 1)]
    for place, row in enumerate(table.rows):
        cells = [f"**{text}**" for text in row] if place in table.marked else row
        found.append(f"| {' | '.join(cells)} |")
    return found
