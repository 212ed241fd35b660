"""One row for each finding, from a metrics.json: AUROC, side and adherence on generated images and on real ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxr_ldm.data.findings.targets import is_sided, sided
from cxr_ldm.metrics.faithfulness.judged import FEWEST
from cxr_ldm.report.terminal import GROUPS, cell

Content = Mapping[str, Any]
# Heading of each measure, and how its name begins and ends in metrics.json, on generated and on real images.
MEASURES = {
    "auroc": ("AUROC", "auroc_{}", ("", "_real")),
    "side_accuracy": ("side accuracy", "side_accuracy", ("", "_real")),
    "adherence_finding": ("finding shown", "adherence_finding", ("_texts", "_real_all")),
    "adherence_side": ("on its side", "adherence_side", ("_texts", "_real_all")),
}
# Figures by finding that are no cells of this table.
OTHERS = ("auroc_own_", "auroc_trained_", *(f"auroc_mean_{group}_" for group in GROUPS))
APART = ("_at_", "_reference_", "_crossfitted", "_difference")
ABOUT = (
    "AUROC and side accuracy are the classifier's; finding shown and on its side are read by the phantom's geometry."
)
NO_CLASSIFIER = "no classifier of findings was trained on these data"
NOT_GENERATED = "no images are generated in an evaluation of the classifier"
NO_TRUTH = "only phantoms have a geometry that tells what an image shows"
TOO_FEW = f"fewer than {FEWEST} patients show it, or do not"
TOGETHER = "no interval for one finding; side_accuracy has that of all together"
FEW_SIDES = "too few texts name its sides"
NO_SIDES = "the classifier tells no sides of it"


@dataclass(frozen=True)
class Figure:
    """A cell of the table: an entry of metrics.json or a part of one; or why there is none.

    Attributes:
        entry: with "value", "ci95" and "n"; None where `reason` says why.
        reason: also of a missing interval.
    """

    entry: Mapping[str, Any] | None
    reason: str | None = None

    @property
    def text(self) -> str:
        """Value with its interval, or with its n; a dash for none."""
        alone = self.entry is not None and self.entry["ci95"] is None
        return cell(self.entry) + (f" (n = {self.entry['n']:,})" if alone and self.entry else "")


@dataclass(frozen=True)
class Row:
    """A finding with two figures of each measure: on generated images, and on real ones.

    Attributes:
        count: how many images show it, of how many that are known to or not; a dash where no figure counts them.
    """

    finding: str
    count: str
    figures: Mapping[str, tuple[Figure, Figure]]


def by_finding(content: Content) -> list[Row]:
    """A row for each finding that an evaluation knows; none where it knows no finding."""
    return [
        Row(
            name,
            count(content, name),
            {
                measure: (figure(content, name, start, ends[0]), figure(content, name, start, ends[1]))
                for measure, (_, start, ends) in MEASURES.items()
            },
        )
        for name in findings(content)
    ]


def count(content: Content, name: str) -> str:
    """Images that show a finding, of those that are known to or not, from the first figure that counts them."""
    key = name.replace(" ", "_")
    for end in ("", "_real"):
        entry = content.get(f"auroc_{key}{end}")
        if entry is not None:
            return f"{entry['settings']['shown']:,} of {entry['n']:,}"
        mean = content.get(f"auroc_mean{end}", {}).get("settings", {})
        counted = mean.get("fewer_patients", {}).get("shown", {}).get(name)
        if counted is not None:
            return f"{counted[0]:,} of {counted[1]:,}"
    entry = content.get("adherence_finding_texts")
    return f"{entry['n']:,}" if entry is not None and entry["settings"]["finding"] == name else "–"


def measured(rows: Sequence[Row]) -> tuple[dict[str, str], dict[str, str]]:
    """Headings of the measures that have a figure for any finding, and why the others have none, by measure."""
    filled, absent = {}, {}
    for measure, (heading, *_) in MEASURES.items():
        pairs = [row.figures[measure] for row in rows]
        if any(figure.entry is not None for pair in pairs for figure in pair):
            filled[measure] = heading
        elif rows:
            absent[measure] = f"{heading}: {'; '.join(dict.fromkeys(str(made.reason) for made, _ in pairs))}"
    return filled, absent


def notes(rows: Sequence[Row]) -> dict[str, int]:
    """The reasons for what is missing in the measures that have a figure, numbered in order of appearance."""
    filled, _ = measured(rows)
    figures = [each for row in rows for measure in filled for each in row.figures[measure]]
    reasons = dict.fromkeys(each.reason for each in figures if each.reason is not None)
    return {reason: number for number, reason in enumerate(reasons, 1)}


def findings(content: Content) -> list[str]:
    """Names of the findings, in alphabetical order; the classes of one side count with their finding.

    >>> findings({"auroc_pleural_effusion_left": {"settings": {}}, "auroc_mean": {"settings": {}}, "run": {}})
    ['pleural effusion']
    """
    names = {name for end in ("", "_real") for name in [*few(content, end), *_side_accuracies(content, end)]}
    names |= {
        name.removeprefix("auroc_").removesuffix("_real").replace("_", " ")
        for name in content
        if name.startswith("auroc_") and not name.startswith(OTHERS) and not any(part in name for part in APART)
    } - {"mean"}
    _, adherence, ends = MEASURES["adherence_finding"]
    names |= {content[f"{adherence}{end}"]["settings"]["finding"] for end in ends if f"{adherence}{end}" in content}
    return sorted({name.rpartition(" ")[0] if is_sided(name) else name for name in names})


def few(content: Content, end: str) -> list[str]:
    """Classes without an AUROC because too few patients show them, or do not."""
    return content.get(f"auroc_mean{end}", {}).get("settings", {}).get("fewer_patients", {}).get("classes", [])


def figure(content: Content, name: str, start: str, end: str) -> Figure:
    """The figure of one finding by one measure of MEASURES, or why there is none."""
    if start.startswith("adherence"):
        entry = content.get(f"{start}{end}")
        if entry is None:
            return Figure(None, NO_TRUTH)
        known = entry["settings"]["finding"]
        return _figure(entry) if known == name else Figure(None, f"the geometry of phantoms tells {known} alone")
    if not any(key.startswith("auroc_") for key in content):
        return Figure(None, NO_CLASSIFIER)
    if not end and content["run"].get("stage") == "classifier":
        return Figure(None, NOT_GENERATED)
    if start == "side_accuracy":
        return _side(content, name, end)
    entry = content.get(start.format(name.replace(" ", "_")) + end)
    return Figure(None, TOO_FEW) if entry is None else _figure(entry)


def _figure(entry: Mapping[str, Any]) -> Figure:
    return Figure(entry, entry.get("ci95_reason"))


def _side_accuracies(content: Content, end: str) -> Mapping[str, Mapping[str, Any]]:
    return content.get(f"side_accuracy{end}", {}).get("settings", {}).get("findings", {})


def _side(content: Content, name: str, end: str) -> Figure:
    found = _side_accuracies(content, end).get(name)
    if found is not None:
        count = {"n": found["right"] + found["left"]}
        return Figure({"value": found["accuracy"], "ci95": None, "settings": {}} | count, TOGETHER)
    own = {f"auroc_{side.replace(' ', '_')}{end}" for side in sided(name)}
    tells_sides = own & content.keys() or set(sided(name)) & set(few(content, end))
    return Figure(None, FEW_SIDES if tells_sides else NO_SIDES)
