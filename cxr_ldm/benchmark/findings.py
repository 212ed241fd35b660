"""Findings read from reports against the expert MeSH codes of Open-i: precision, recall and F1 of each.

The rules of `cxr_ldm.data.findings.reading` were written while looking at the development half of the reports only; the
other half is the measurement. Both are on the page, so that a gap between them shows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from cxr_ldm.benchmark.findings_codes import AIMED, HALVES, TARGETS, Half, Target
from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.findings.reports import SEEN, Report
from cxr_ldm.data.findings.targets import NOT_STATED
from cxr_ldm.data.findings.words import DEVICE, NO_FINDING
from cxr_ldm.data.prepared.manifest import Reader
from cxr_ldm.data.readers.openi import OpenIReader
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric
from cxr_ldm.ranges import Count, Seed

# Classes whose headings name a side.
SIDED = ("effusion", "atelectasis", "opacity")


def half_of(uid: str) -> Half:
    """Half of a report, by a hash of its number, so that neither order nor edition matters.

    >>> half_of("1"), half_of("2")
    ('measurement', 'development')
    """
    return HALVES[1 - hashlib.sha256(f"findings/{uid}".encode()).digest()[0] % 2]


@dataclass(frozen=True)
class Read:
    """One report: what its coder wrote, and what is read from its text."""

    headings: Sequence[str]
    findings: Sequence[Mapping[str, Any]]

    def coded(self, target: Target) -> bool:
        """Whether a heading of the coder begins as one of the target's."""
        return bool(self._headings(target))

    def found(self, target: Target, certainties: Sequence[str] = ("present",)) -> bool:
        """Whether one of the target's names was read; "no finding" only without a device, as the coder has it."""
        named = {finding["name"] for finding in self.findings if finding["certainty"] in certainties}
        return bool(named & set(target.names)) and not (NO_FINDING in target.names and DEVICE in named)

    def sides(self, target: Target) -> tuple[set[str], set[str]]:
        """Sides that the coder and the text state for a target."""
        coded = {part for heading in self._headings(target) for part in heading.split("/")}
        ours = {f["side"] for f in self.findings if f["name"] in target.names and f["certainty"] == "present"}
        return coded & {"right", "left", "bilateral"}, ours - {None}

    def _headings(self, target: Target) -> list[str]:
        return [heading for heading in self.headings if heading.startswith(target.headings)]


def run(reader: Reader, resamples: Count, seed: Seed) -> dict[str, Metric]:
    """The suite: every report of Open-i, in either edition.

    Args:
        reader: of Open-i; what it takes of images and sections does not matter.
        resamples: of the reports, for the intervals of F1.
        seed: of these.

    Raises:
        UserError: another reader, or too few reports.
    """
    if not isinstance(reader, OpenIReader):
        raise UserError("only the reports of Open-i have codes to measure against; suite=findings needs data=openi.")
    return measure(read_reports([each for each in reader.reports() if isinstance(each, Report)]), resamples, seed)


def read_reports(reports: Sequence[Report]) -> dict[Half, list[Read]]:
    """Reports by half; without those that have no text, or that the coder set aside as not to be indexed.

    Raises:
        UserError: a half has no report that is coded.
    """
    halves: dict[Half, list[Read]] = {half: [] for half in HALVES}
    for report in reports:
        text = " ".join(filter(None, report.cleaned(SEEN).values()))
        if text and report.headings and not set(NOT_STATED).intersection(report.headings):
            halves[half_of(report.uid)].append(Read(report.headings, read_findings(text)))
    if not all(halves.values()):
        raise UserError(f"{len(reports)} reports are too few to measure on; data.root must hold those of Open-i.")
    return halves


def measure(halves: Mapping[Half, Sequence[Read]], resamples: int, seed: int) -> dict[str, Metric]:
    """Precision, recall and F1 of every class that a half has, their mean over the six aimed at, and of the sides.

    The names end with "_development" for that half.
    """
    metrics: dict[str, Metric] = {}
    for half in HALVES:
        end = "" if half == "measurement" else f"_{half}"
        settings: dict[str, Any] = {"half": half, "positive": "present"}
        hits, wrong, missed = outcomes(halves[half], TARGETS)
        weights = bootstrap_weights(len(halves[half]), resamples, seed)
        drawn = f1(weights @ hits, weights @ wrong, weights @ missed)
        values = f1(hits.sum(0), wrong.sum(0), missed.sum(0))
        n = len(hits)
        for column, name in enumerate(TARGETS):
            hit, false, miss = (int(each[:, column].sum()) for each in (hits, wrong, missed))
            if not hit + miss:
                continue
            stated = settings | {"support": hit + miss, "hits": hit, "false": false, "missed": miss}
            metrics[f"{name}_precision{end}"] = _share(hit, hit + false, n, stated)
            metrics[f"{name}_recall{end}"] = _share(hit, hit + miss, n, stated)
            metrics[f"{name}_f1{end}"] = _resampled(values[column], drawn[:, column], n, stated)
        six = [column for column, name in enumerate(TARGETS) if name in AIMED]
        stated = settings | {"classes": list(AIMED)}
        metrics[f"mean_f1{end}"] = _resampled(values[six].mean(), drawn[:, six].mean(1), n, stated)
        doubt = outcomes(halves[half], AIMED, ("present", "uncertain"))
        stated = stated | {"positive": "present or uncertain"}
        drawn = f1(*(weights @ each for each in doubt)).mean(1)
        metrics[f"mean_f1_with_uncertain{end}"] = _resampled(
            f1(*(each.sum(0) for each in doubt)).mean(), drawn, n, stated
        )
        agreed, stating = side_agreement(halves[half])
        if stating:
            metrics[f"side_agreement{end}"] = _share(agreed, stating, stating, settings | {"classes": list(SIDED)})
    return metrics


def outcomes(
    reads: Sequence[Read], targets: Mapping[str, Target], certainties: Sequence[str] = ("present",)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, false alarms and misses, each float64 [reports, targets] of 0 and 1."""
    coded = np.array([[read.coded(target) for target in targets.values()] for read in reads])
    found = np.array([[read.found(target, certainties) for target in targets.values()] for read in reads])
    return (coded & found).astype(float), (~coded & found).astype(float), (coded & ~found).astype(float)


def f1(hits: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN); 0 where nothing was coded or found.

    >>> f1(np.array([3.0, 0.0]), np.array([1.0, 0.0]), np.array([0.0, 0.0])).round(4).tolist()
    [0.8571, 0.0]
    """
    return 2 * hits / np.maximum(2 * hits + wrong + missed, 1)


def bootstrap_weights(n: int, resamples: int, seed: int) -> np.ndarray:
    """How often each of n reports is drawn, float64 [resamples, n]; a report is a patient, so they are independent."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)


def side_agreement(reads: Sequence[Read]) -> tuple[int, int]:
    """How often the text's side is the coder's, and of how many findings where each states exactly one."""
    agreed = stating = 0
    for read in reads:
        for name in SIDED:
            coded, ours = read.sides(TARGETS[name])
            if len(coded) == len(ours) == 1:
                stating += 1
                agreed += coded == ours
    return agreed, stating


def _share(part: int, whole: int, n: int, stated: dict[str, Any]) -> Metric:
    if not whole:
        return Metric(0.0, n, True, settings=stated, reason="nothing was found to take a share of")
    interval = binomtest(part, whole).proportion_ci(method="wilson")
    ends = (float(interval.low), float(interval.high))
    return Metric(part / whole, n, True, ends, stated | {"interval": "Wilson"}, over="mentions of a finding")


def _resampled(value: float, drawn: np.ndarray, n: int, facts: dict[str, Any]) -> Metric:
    if value == 1 or value == 0:
        return Metric(float(value), n, True, settings=facts, reason="resampling reports that all agree shows nothing")
    low, high = np.quantile(drawn, [0.025, 0.975])
    stated = facts | {"interval": "bootstrap over reports, percentiles", "resamples": len(drawn)}
    ends = min(float(low), float(value)), max(float(high), float(value))
    return Metric(float(value), n, True, ends, stated, over="reports")
