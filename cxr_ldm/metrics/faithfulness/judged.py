"""Do images show what their prompts say? By a classifier that was trained on real images: AUROC, side and retrieval.

The truth of a generated image is what its prompt says, and the same figures on the real images of these texts (the
names that end in `_real`) stand beside: what the classifier makes of images that do show it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cxr_ldm.data.findings.targets import NOT_SHOWN, SHOWN, is_sided, pairs
from cxr_ldm.data.findings.words import NO_FINDING
from cxr_ldm.metrics.faithfulness.auroc import BOOTSTRAP, auroc, patient_weights
from cxr_ldm.metrics.faithfulness.retrieval import TOP, Ranks, rank_prompts
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import PATIENTS

FEWEST = 10  # patients who show a finding, and who do not, for a figure about it


@dataclass(frozen=True)
class Judged:
    """Images as a classifier sees them, and what their texts say.

    Attributes:
        classes: names, C.
        probabilities: of each class, [N,C].
        targets: [N,C]: 1 shown, 0 not shown, NaN unknown.
        prevalence: of each class where the classifier was trained, [C].
        texts, patients: of each image, N.
        sources: name of the source of each image, [N].
    """

    classes: Sequence[str]
    probabilities: np.ndarray
    targets: np.ndarray
    prevalence: np.ndarray
    texts: Sequence[str]
    patients: Sequence[str]
    sources: np.ndarray


def faithfulness(
    judged: Judged, stated: dict[str, Any], end: str = "", seed: int = 0, over: str = PATIENTS
) -> dict[str, Metric]:
    """Every figure of a set of images.

    Args:
        stated: of the classifier and the images, for each entry.
        end: of the names, "_real" for real images.
        over: what the patients are, where they are something else.

    Returns:
        `auroc_FINDING` and `auroc_FINDING_SIDE` where enough patients show it and do not, `auroc_mean`,
        `side_accuracy`, and `prompt_retrieval_top1`, `_top5` and `_median_rank`, each name with `end`.
    """
    weights = patient_weights(judged.patients, seed)
    stated = stated | {"interval": f"bootstrap over {over}, {BOOTSTRAP} draws, seed {seed}"}
    metrics = auroc_metrics(judged, weights, stated)
    metrics |= side_metrics(judged, weights, stated)
    metrics |= retrieval_metrics(judged, weights, stated, seed)
    return {f"{name}{end}": metric for name, metric in said_over(metrics, over).items()}


def said_over(metrics: Mapping[str, Metric], over: str) -> dict[str, Metric]:
    """The same metrics, whose intervals are over something else than patients."""
    return {name: replace(each, over=over) if each.over else each for name, each in metrics.items()}


@dataclass(frozen=True)
class Area:
    """AUROC of one class: its value, the number of images, its bootstrap draws [B], and what stands beside it."""

    value: float
    n: int
    draws: np.ndarray
    facts: dict[str, Any]


def areas(judged: Judged, weights: np.ndarray) -> tuple[dict[str, Area], dict[str, tuple[int, int]]]:
    """AUROC of each class, over pairs of one source; and of the classes that too few patients show, or do not, the
    images that show it and those of which it is known.
    """
    found: dict[str, Area] = {}
    few: dict[str, tuple[int, int]] = {}
    patients = np.asarray(judged.patients)
    for place, name in enumerate(judged.classes):
        rows = comparable(judged.targets[:, place], judged.sources)
        truth = judged.targets[rows, place] == SHOWN
        if min(len(set(patients[rows][truth == value])) for value in (True, False)) < FEWEST:
            few[name] = (int(truth.sum()), len(rows))
            continue
        scores, sources = judged.probabilities[rows, place], judged.sources[rows]
        facts: dict[str, Any] = {"shown": int(truth.sum()), "not_shown": int((~truth).sum())}
        if len(np.unique(sources)) > 1:
            facts |= {"pairs": "of one source", "over_all_pairs": float(auroc(scores, truth))}
            own = {str(name): sources == name for name in np.unique(sources)}
            facts["by_source"] = {name: float(auroc(scores[at], truth[at])) for name, at in own.items()}
        draws = auroc(scores, truth, sources, weights[:, rows])
        found[name] = Area(float(auroc(scores, truth, sources)), len(rows), draws, facts)
    return found, few


def auroc_metrics(judged: Judged, weights: np.ndarray, facts: dict[str, Any]) -> dict[str, Metric]:
    """AUROC of each class, over pairs of one source, and the mean over the findings without their sides."""
    found, few = areas(judged, weights)
    metrics = {
        _metric_name(name): entry(each.value, each.n, each.draws, facts | each.facts) for name, each in found.items()
    }
    plain = plain_of(found)
    if plain:
        mean = float(np.mean([found[name].value for name in plain]))
        stated = facts | {"findings": plain, "fewer_patients": {"than": FEWEST, "classes": list(few), "shown": few}}
        drawn = np.mean([found[name].draws for name in plain], axis=0)
        metrics["auroc_mean"] = entry(mean, len(judged.texts), drawn, stated)
    return metrics


def plain_of(found: Mapping[str, Area]) -> list[str]:
    """The findings themselves: neither their sides nor that there is none."""
    return [name for name in found if not is_sided(name) and name != NO_FINDING]


def auroc_differences(
    first: Judged, second: Judged, stated: dict[str, Any], seed: int = 0, over: str = PATIENTS
) -> dict[str, Metric]:
    """`auroc_FINDING_difference` and their mean: two sets of images of the same texts, first less second.

    Each draw of the bootstrap takes the same patients of both (paired), or what `over` says that they are.
    """
    weights = patient_weights(first.patients, seed)
    (one, _), (two, _) = areas(first, weights), areas(second, weights)
    stated = stated | {
        "difference": "first less second",
        "interval": f"paired bootstrap over {over}, {BOOTSTRAP} draws, seed {seed}",
    }
    metrics = {}
    for name in one:
        counts = {key: one[name].facts[key] for key in ("shown", "not_shown")}
        counts |= {"first": one[name].value, "second": two[name].value}
        draws, value = one[name].draws - two[name].draws, one[name].value - two[name].value
        metrics[f"{_metric_name(name)}_difference"] = entry(value, one[name].n, draws, stated | counts)
    plain = plain_of(one)
    if plain:
        value = float(np.mean([one[name].value - two[name].value for name in plain]))
        drawn = np.mean([one[name].draws - two[name].draws for name in plain], axis=0)
        metrics["auroc_mean_difference"] = entry(value, len(first.texts), drawn, stated | {"findings": plain})
    return said_over(metrics, over)


def _metric_name(name: str) -> str:
    return f"auroc_{name.replace(' ', '_')}"


def comparable(target: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Images of which a class is known, `target` [N], of the sources [N] that have images with it and without."""
    both = [source for source in np.unique(sources) if {SHOWN, NOT_SHOWN} <= set(target[sources == source].tolist())]
    return np.flatnonzero(~np.isnan(target) & np.isin(sources, both))


def side_metrics(judged: Judged, weights: np.ndarray, facts: dict[str, Any]) -> dict[str, Metric]:
    """`side_accuracy`: where a text names one side of a finding, whether that side is the more probable of the two.

    A tie is one half. The two sides of a finding count alike, and a finding as much as its rarer side, so that images
    that ignore their prompts get 0.5 in expectation, whatever side is the more frequent.
    """
    rows, hits, shares, of_finding = [], [], [], {}
    for name, columns in pairs(judged.classes).items():
        truth = judged.targets[:, columns]
        chosen = np.flatnonzero(truth.sum(axis=1) == SHOWN)  # one side shown and the other known not to be
        right = truth[chosen, 0] == SHOWN
        difference = np.diff(judged.probabilities[chosen][:, columns])[:, 0] * np.where(right, -1, 1)
        sides = right.sum(), (~right).sum()
        if min(sides) == 0:
            continue
        rows.append(chosen)
        hits.append((np.sign(difference) + 1) / 2)
        shares.append(min(sides) / np.where(right, *sides))
        accuracy = float(np.average(hits[-1], weights=shares[-1]))
        of_finding[name] = {"accuracy": accuracy, "right": int(sides[0]), "left": int(sides[1])}
    if len({judged.patients[row] for part in rows for row in part.tolist()}) < FEWEST:
        return {}
    hit, share = np.concatenate(hits), np.concatenate(shares)
    drawn = weights[:, np.concatenate(rows)] * share
    stated = facts | {"chance": 0.5, "findings": of_finding, "counted": "pairs of image and finding"}
    value = float(np.average(hit, weights=share))
    return {"side_accuracy": entry(value, len(hit), _means(hit, drawn), stated)}


def retrieval_metrics(judged: Judged, weights: np.ndarray, facts: dict[str, Any], seed: int = 0) -> dict[str, Metric]:
    """How often an image speaks most for its own prompt, among those of 100 images; see `retrieval`."""
    ranked, best = (
        rank_prompts(shown, judged.targets, judged.texts, judged.prevalence, seed)
        for shown in (judged.probabilities, np.where(np.isnan(judged.targets), judged.prevalence, judged.targets))
    )
    different = float(ranked.weights.sum() / (len(ranked.rows) / ranked.group))  # of a group, on average
    common = facts | {"among_images": ranked.group, "different_prompts": different, "each_prompt": "counts alike"}
    drawn = weights[:, ranked.rows] * ranked.weights
    metrics = {}
    for top in TOP:
        hits = ranked.hits(top)
        best_share = float(np.average(best.hits(top), weights=best.weights))
        stated = common | {"chance": ranked.chance(top), "if_all_findings_were_seen": best_share}
        value = float(np.average(hits, weights=ranked.weights))
        metrics[f"prompt_retrieval_top{top}"] = entry(value, len(hits), _means(hits, drawn), stated)
    stated = common | {"chance": (different + 1) / 2, "if_all_findings_were_seen": _median_rank(best)}
    medians = weighted_medians(ranked.ranks(), drawn)
    metrics["prompt_retrieval_median_rank"] = entry(
        _median_rank(ranked), len(ranked.rows), medians, stated, higher=False
    )
    return metrics


def _median_rank(ranked: Ranks) -> float:
    return float(weighted_medians(ranked.ranks(), ranked.weights[None])[0])


def weighted_medians(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Least value that at least half of the weight does not exceed, for each row of weights [B,N]: float64 [B].

    >>> weighted_medians(np.array([3.0, 1.0, 2.0]), np.array([[1.0, 1.0, 1.0], [5.0, 1.0, 1.0]])).tolist()
    [2.0, 3.0]
    """
    order = np.argsort(values, kind="stable")
    reached = weights[:, order].cumsum(axis=1)
    return values[order][(reached >= reached[:, -1:] / 2).argmax(axis=1)]


def _means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean for each draw, float64 [B]; NaN where nothing was drawn."""
    total = weights.sum(axis=1)
    return np.divide(weights @ values, total, out=np.full(len(total), np.nan), where=total > 0)


def entry(
    value: float,
    n: int,
    draws: np.ndarray,
    stated: dict[str, Any],
    *,
    higher: bool = True,
    over: str = PATIENTS,
) -> Metric:
    """A metric with the percentile interval of its draws; the rare one without a value is passed over.

    Args:
        over: what was drawn: patients by `patient_weights`, unless it was given something else.
    """
    low, high = (float(end) for end in np.nanquantile(draws, [0.025, 0.975]))
    if low == high:
        return Metric(value, n, higher, settings=stated, reason="all draws of the bootstrap give the same value")
    return Metric(value, n, higher, ci95=(low, high), settings=stated, over=over)
