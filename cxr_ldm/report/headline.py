"""The figures that a page begins with: at most twelve, each beside real images and beside its aim, missed ones marked.

Aims are the experiment's (metrics.targets). KID and the excess of copies are held against the upper end of their
intervals, all else against its value. A figure with an aim that an evaluation does not hold has a row that says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxr_ldm.errors import UserError
from cxr_ldm.report.terminal import cell, number

Content = Mapping[str, Any]
MISSING = "not measured"


@dataclass(frozen=True)
class Headline:
    """One row.

    Attributes:
        key: of metrics.targets.
        label: in words.
        names: of the metrics that may give it, {x} being the first extractor; the first that is there counts.
        real: of the metric of real images beside it.
        upper: whether the aim is held against the upper end of the interval.
    """

    key: str
    label: str
    names: tuple[str, ...]
    real: str | None = None
    upper: bool = False


HEADLINES = (
    Headline("kid", "KID, upper end of its interval", ("kid_{x}",), "kid_{x}_floor", upper=True),
    Headline("fid_ratio", "FID over its floor", ("fid_{x}_ratio",)),
    Headline("coverage", "coverage over its floor", ("coverage_{x}_ratio",)),
    Headline("recall", "recall over its floor", ("recall_{x}_ratio",)),
    Headline("auroc_own", "mean AUROC, prompts in our own words", ("auroc_own_mean",), "auroc_own_mean_real"),
    Headline("trained_ratio", "AUROC trained on synthetic over trained on real", ("auroc_trained_ratio",)),
    Headline("side", "side, prompts in our own words", ("side_own",), "side_own_real"),
    Headline(
        "within_ssim",
        "SSIM within a prompt less that of real images that say the same",
        ("pairwise_ssim_within_prompt_difference", "pairwise_ssim_within_own_difference"),
    ),
    Headline("copies_excess", "excess of copies, upper end of its interval", ("copies_excess_{x}",), upper=True),
    Headline("copies_excess", "the same in pixels", ("copies_excess_pixels",), upper=True),
    Headline("sharpness", "sharpness over that of real images", ("sharpness_ratio",)),
)
KEYS = tuple(dict.fromkeys(each.key for each in HEADLINES))


@dataclass(frozen=True)
class Row:
    """A row as text; `missed` is None where there is no aim."""

    label: str
    name: str
    value: str
    real: str
    aim: str
    n: str
    missed: bool | None


def check_targets(targets: Mapping[str, Any]) -> None:
    """Raises UserError where an aim is of no figure, or is neither a number nor two.

    >>> check_targets({"kid": 0.03, "sharpness": [0.8, 1.25], "side": None})
    """
    for key, aim in targets.items():
        if key not in KEYS:
            raise UserError(f"metrics.targets.{key} is no figure of the headline; {', '.join(KEYS)} are.")
        ends = list(aim) if isinstance(aim, Sequence) and not isinstance(aim, str) and len(aim) == 2 else [aim]
        if aim is not None and not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
            raise UserError(f"metrics.targets.{key}={aim} must be a number, or [LOW,HIGH].")


def headline(content: Content) -> list[Row]:
    """The rows of a metrics.json; none where it holds none of them, as of an autoencoder."""
    extractor = next(
        (name.removeprefix("kid_") for name in content if name.startswith("kid_") and f"{name}_difference" in content),
        next((name.removeprefix("kid_") for name in content if name.startswith("kid_")), ""),
    )
    if content["run"].get("stage") not in (None, "ldm"):
        return []
    aims = content["run"].get("targets", {})
    rows = [_row(each, content, extractor, aims.get(each.key)) for each in HEADLINES]
    return [row for row in rows if row.value != MISSING or row.missed]


def _row(each: Headline, content: Content, extractor: str, aim: Any) -> Row:
    names = [name.format(x=extractor) for name in each.names]
    name = next((name for name in names if name in content), names[0])
    entry, real = content.get(name), content.get((each.real or "").format(x=extractor))
    if entry is None:
        return Row(each.label, name, MISSING, cell(real), _aim(aim, None, True), "–", None if aim is None else True)
    value = cell(entry) if entry["settings"].get("judged", True) else str(entry.get("ci95_reason"))
    if each.upper and entry["ci95"]:
        value = f"{number(entry['ci95'][1])} (value {number(entry['value'])})"
    missed = None if aim is None else _missed(entry, aim, each.upper)
    stated = _aim(aim, missed, entry["higher_is_better"])
    return Row(each.label, name, value, cell(real), stated, f"{entry['n']:,}", missed)


def _missed(entry: Mapping[str, Any], aim: Any, upper: bool) -> bool:
    """Whether an aim is missed; what was not judged, or has no upper end that is asked for, misses it."""
    if not entry["settings"].get("judged", True) or (upper and entry["ci95"] is None):
        return True
    value = entry["ci95"][1] if upper else entry["value"]
    if isinstance(aim, Sequence):
        return not aim[0] <= value <= aim[1]
    return bool(value < aim if entry["higher_is_better"] else value > aim)


def _aim(aim: Any, missed: bool | None, higher: bool) -> str:
    if aim is None:
        return "–"
    if isinstance(aim, Sequence):
        text = f"{number(aim[0])} to {number(aim[1])}"
    else:
        text = f"{'≥' if higher else '≤'} {number(aim)}" if missed is not None else number(aim)
    return text + (", met" if missed is False else ", MISSED")
