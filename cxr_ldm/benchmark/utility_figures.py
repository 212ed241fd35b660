"""The figures of suite=utility: AUROC of each arm, and what synthetic images gain over duplicated real ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from cxr_ldm.benchmark.utility_arms import CONTROL, PRIMARY, REAL, Design, Source, people
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.crossfit import folds
from cxr_ldm.metrics.distances.paired import corrected
from cxr_ldm.metrics.faithfulness.auroc import BOOTSTRAP, patient_weights
from cxr_ldm.metrics.faithfulness.judged import FEWEST, Judged, areas
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import PATIENTS

Scores = Mapping[tuple[str, int], np.ndarray]
POWER, LEVEL = 0.8, 0.05  # two-sided
BOTH = "patients and seeds"


@dataclass(frozen=True)
class Areas:
    """AUROC of some arms on the same images.

    Attributes:
        findings: C names; pairs of images are of one collection and one fold.
        values: by arm, float64 [S,C] for S seeds.
        draws: likewise of the bootstrap over patients, [S,C,B]; a draw has the same patients in every arm and seed.
        shown: images that show each finding, and that do not.
        few: findings that too few patients show, or do not, in some seed's folds.
    """

    findings: Sequence[str]
    values: Mapping[str, np.ndarray]
    draws: Mapping[str, np.ndarray]
    shown: Mapping[str, tuple[int, int]]
    few: Sequence[str]

    def of(self, arm: str, finding: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """AUROC by seed [S] and its draws [S,B], of one finding or as the mean over all (macro)."""
        at = slice(None) if finding is None else [list(self.findings).index(finding)]
        return self.values[arm][:, at].mean(axis=1), self.draws[arm][:, at].mean(axis=1)

    def gain(self, arm: str, control: str = CONTROL, finding: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The same of the difference to a control, in pairs."""
        (one, drawn), (two, beside) = self.of(arm, finding), self.of(control, finding)
        return one - two, drawn - beside


def measured(
    source: Source, design: Design, scores: Scores, names: Sequence[str], weights: np.ndarray, rows: np.ndarray
) -> Areas:
    """AUROC of the arms `names` on the images at `rows`.

    Args:
        weights: of the bootstrap, [B,N].
    """
    patients, found, few = np.asarray(source.patients)[rows], {}, []
    for seed in design.seeds:
        fold = folds(people(source, seed), design.folds)[rows]
        # classifiers of two folds have other calibrations, so only pairs of one fold are compared
        groups = np.array([f"{name}/{number}" for name, number in zip(source.collections[rows], fold, strict=True)])
        for name in names:
            judged = Judged(
                source.classes,
                scores[name, seed][rows],
                source.targets[rows],
                np.zeros(len(source.classes)),
                [""] * len(rows),
                patients.tolist(),
                groups,
            )
            found[name, seed], missing = areas(judged, weights[:, rows])
            few += list(missing)
    findings = [name for name in source.classes if all(name in each for each in found.values())]
    first = found[names[0], design.seeds[0]]
    return Areas(
        findings,
        {n: np.array([[found[n, s][f].value for f in findings] for s in design.seeds]) for n in names},
        {n: np.array([[found[n, s][f].draws for f in findings] for s in design.seeds]) for n in names},
        {f: (first[f].facts["shown"], first[f].facts["not_shown"]) for f in findings},
        list(dict.fromkeys(few)),
    )


def estimate(
    values: np.ndarray, draws: np.ndarray, n: int, facts: Mapping[str, Any], *, gain: bool, low: float = -1.0
) -> Metric:
    """Mean over seeds with an interval over patients and seeds.

    The variance is that of the bootstrap over patients, of the mean over seeds, and that between the S seeds over S;
    the interval is Student's, with the degrees of freedom of Satterthwaite (1946), where the patients' part has many.

    Args:
        values: by seed, [S].
        draws: of the bootstrap over patients, [S,B].
        gain: whether it is a difference, which is tested against 0, and for which the smallest that would be found
            with a power of 0.8 by a two-sided test at 0.05 is given: (t_0.975 + t_0.8) standard errors.
        low: least value that it can have; the largest is 1.

    >>> metric = estimate(np.array([0.1, 0.2]), np.array([[0.1, 0.2, 0.0], [0.2, 0.3, 0.1]]), 9, {}, gain=True)
    >>> round(metric.value, 2), round(metric.settings["standard_error"], 4)
    (0.15, 0.0957)
    """
    seeds, value = len(values), float(values.mean())
    of_patients = float(np.nanvar(np.nanmean(draws, axis=0)))
    of_seeds = float(values.var(ddof=1)) / seeds if seeds > 1 else 0.0
    error = float(np.sqrt(of_patients + of_seeds))
    stated = dict(facts) | {"by_seed": [float(each) for each in values], "bootstrap": BOOTSTRAP}
    if error == 0:
        return Metric(value, n, True, settings=stated, reason="patients and seeds all give the same value")
    freedom = error**4 * (seeds - 1) / of_seeds**2 if of_seeds else np.inf
    reach = float(student.ppf(1 - LEVEL / 2, freedom)) * error
    stated |= {"standard_error": error, "error_of_patients": of_patients**0.5, "error_of_seeds": of_seeds**0.5}
    if gain:
        stated["smallest_gain"] = reach + float(student.ppf(POWER, freedom)) * error
        stated |= {"p_value": float(2 * student.sf(abs(value) / error, freedom)), "test": "Student's, two-sided"}
    ends = max(low, value - reach), min(1.0, value + reach)
    return Metric(value, n, True, ends, stated, over=BOTH if seeds > 1 else PATIENTS)


def figures(
    source: Source, design: Design, scores: Scores, facts: Mapping[str, Any], opened: Mapping[str, Any], seed: int
) -> dict[str, Metric]:
    """Every figure: the primary outcome `utility_gain` first, whose settings say what the page says.

    Args:
        facts: for each entry.
        opened: for that of the primary outcome, such as what the generator saw.
        seed: of the bootstrap.

    Raises:
        UserError: too few patients show any finding, or do not.
    """
    weights, names = patient_weights(source.patients, seed), [arm.name for arm in design.arms]
    count = len(source.patients)
    found = measured(source, design, scores, names, weights, np.arange(count))
    if not found.findings:
        raise UserError(f"no finding is shown by {FEWEST} patients and not by {FEWEST} others; take more images.")
    stated = dict(facts) | {"findings": list(found.findings), "fewer_patients": {"than": FEWEST, "classes": found.few}}
    more = corrected(secondary(source, design, scores, found, weights, facts))
    left = [group for group in parts_of(source) if f"utility_{group}_gain" not in more]
    own = {"arms": [PRIMARY, CONTROL], "patients": len(set(source.patients)), "subgroups_left_out": left}
    gain = estimate(*found.gain(PRIMARY), count, stated | dict(opened) | own, gain=True)
    metrics = {"utility_gain": gain}
    if "smallest_gain" in gain.settings:
        smallest, why = gain.settings["smallest_gain"], "a property of the design"
        metrics["utility_smallest_gain"] = Metric(smallest, count, False, settings={"power": POWER}, reason=why)
    over = stated | {"arms": [PRIMARY, REAL]}
    metrics["utility_gain_over_real_once"] = estimate(*found.gain(PRIMARY, REAL), count, over, gain=True)
    placebo = stated | {"arms": [CONTROL, REAL], "expected": 0}
    metrics["utility_placebo"] = estimate(*found.gain(CONTROL, REAL), count, placebo, gain=True)
    for name in names:
        at = stated | {"arm": name}
        metrics[f"utility_auroc_{name}"] = estimate(*found.of(name), count, at, gain=False, low=0.0)
    return metrics | more


def parts_of(source: Source) -> dict[str, np.ndarray]:
    """Subgroups that are not all images, whose gain would be the primary outcome once more."""
    return {name: inside for name, inside in source.groups.items() if not inside.all()}


def secondary(
    source: Source, design: Design, scores: Scores, found: Areas, weights: np.ndarray, facts: Mapping[str, Any]
) -> dict[str, Metric]:
    """Gains of the other arms, and that of the primary one by finding and by subgroup."""
    count, metrics = len(source.patients), {}
    for name in found.values:
        if name not in (REAL, CONTROL, PRIMARY):  # real images once are the placebo's
            at = dict(facts) | {"arms": [name, CONTROL]}
            metrics[f"utility_gain_{name}"] = estimate(*found.gain(name), count, at, gain=True)
    for name in found.findings:
        shown, not_shown = found.shown[name]
        counts = dict(facts) | {"shown": shown, "not_shown": not_shown}
        each = estimate(*found.gain(PRIMARY, finding=name), shown + not_shown, counts, gain=True)
        metrics[f"utility_finding_{name.replace(' ', '_')}"] = each
    for group, inside in parts_of(source).items():
        rows = np.flatnonzero(inside)
        part = measured(source, design, scores, (PRIMARY, CONTROL), weights, rows) if len(rows) else None
        if part is not None and part.findings:
            at = dict(facts) | {"findings": list(part.findings), "fewer_patients": part.few}
            metrics[f"utility_{group}_gain"] = estimate(*part.gain(PRIMARY), len(rows), at, gain=True)
    return metrics
