"""Do images of prompts in our own words show the finding, by a classifier? Against normal, and left against right.

Each finding's images stand against those of normal prompts: AUROC of the classifier's probability of this finding. It
says nothing of a finding that the classifier cannot see, so the same classifier's figure on real images stands beside.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cxr_ldm.data.findings.targets import SHOWN, SIDES, is_sided, pairs
from cxr_ldm.data.findings.words import NO_FINDING
from cxr_ldm.metrics.faithfulness.auroc import BOOTSTRAP, auroc, patient_weights
from cxr_ldm.metrics.faithfulness.judged import Judged, auroc_metrics, entry
from cxr_ldm.metrics.faithfulness.own_words import NORMAL, OWN_WORDS, SIDED, cycled, of_side
from cxr_ldm.metrics.results import Metric

FIRST_SEED, APART = 400_000, 10_000  # seeds of own words begin here, and those of two kinds of prompt lie so far apart
DRAWN = f"bootstrap over images, {BOOTSTRAP} draws; the wordings are taken as they are"
SEEDS = "seeds of fixed prompts"


@dataclass(frozen=True)
class Asked:
    """One prompt in our own words, and what it asks for.

    Attributes:
        name: of a finding, or "no finding".
        side: right, left, or None where the prompt names none.
    """

    prompt: str
    seed: int
    name: str
    side: str | None = None


def own_prompts(classes: Sequence[str], count: int, seed: int = 0) -> list[Asked]:
    """`count` prompts for normal, for each finding that the classifier knows, and for each side.

    The prompts of one side share its number among the findings of which the classifier knows both sides. A prompt's
    seed does not depend on the classes.
    """
    asked, table = [], {NO_FINDING: NORMAL, **OWN_WORDS}
    for place, (name, wordings) in enumerate(table.items()):
        first = seed + FIRST_SEED + APART * place
        if name == NO_FINDING or name in classes:
            asked += [Asked(text, first + i, name) for i, text in enumerate(cycled(wordings, count))]
    sided = [name for name in SIDED if name in pairs(classes)]
    for place, side in enumerate(SIDES, start=len(table)):
        choices = [(name, text) for name in sided for text in of_side(name, side)]
        first = seed + FIRST_SEED + APART * place
        for i in range(count if choices else 0):
            name, text = choices[i % len(choices)]
            asked.append(Asked(text, first + i, name, side))
    return asked


def own_auroc(
    asked: Sequence[Asked], probabilities: np.ndarray, classes: Sequence[str], facts: dict[str, Any], seed: int = 0
) -> dict[str, Metric]:
    """`auroc_own_FINDING`: images of a finding's prompts against those of normal prompts, and `auroc_own_mean`.

    Args:
        asked: N prompts.
        probabilities: of each class in the image of each, [N,C].
    """
    weights = patient_weights([str(place) for place in range(len(asked))], seed)
    names = np.array([each.name if each.side is None else "" for each in asked])
    metrics, draws = {}, []
    for name in (name for name in OWN_WORDS if name in classes):
        rows = np.flatnonzero((names == name) | (names == NO_FINDING))
        truth, scores = names[rows] == name, probabilities[rows, list(classes).index(name)]
        draws.append(auroc(scores, truth, None, weights[:, rows]))
        counts = {"shown": int(truth.sum()), "not_shown": int((~truth).sum()), "wordings": list(OWN_WORDS[name])}
        value = float(auroc(scores, truth))
        stated = facts | counts | {"normal": list(NORMAL), "interval": f"{DRAWN}, seed {seed}"}
        metrics[_name(name)] = entry(value, len(rows), draws[-1], stated, over=SEEDS)
    if not metrics:
        return {}
    mean = float(np.mean([metric.value for metric in metrics.values()]))
    unknown = [name for name in OWN_WORDS if name not in classes]
    stated = facts | {"findings": [name for name in OWN_WORDS if name in classes], "unknown_to_the_judge": unknown}
    stated["interval"] = f"{DRAWN}, seed {seed}"
    images = int((names != "").sum())
    return metrics | {"auroc_own_mean": entry(mean, images, np.mean(draws, axis=0), stated, over=SEEDS)}


def own_real(real: Judged, facts: dict[str, Any], seed: int = 0) -> dict[str, Metric]:
    """`auroc_own_FINDING_real`: the same classifier on real images with the finding and without it.

    Its settings hold the figure against normal images alone, `against_normal`, as the generated ones are compared.
    """
    found = auroc_metrics(real, patient_weights(real.patients, seed), facts)
    metrics = {}
    for name in OWN_WORDS:
        metric = found.get(f"auroc_{name.replace(' ', '_')}")
        if metric is not None:
            stated = metric.settings | {"against_normal": against_normal(real, name)}
            metrics[f"{_name(name)}_real"] = replace(metric, settings=stated)
    if metrics:
        chosen = [each for each in found if f"auroc_own_{each.removeprefix('auroc_')}_real" in metrics]
        plain = _without(real, {each.removeprefix("auroc_").replace("_", " ") for each in chosen})
        metrics["auroc_own_mean_real"] = auroc_metrics(plain, patient_weights(real.patients, seed), facts)["auroc_mean"]
    return metrics


def _without(judged: Judged, kept: set[str]) -> Judged:
    """Only the classes of `kept`."""
    places = [place for place, name in enumerate(judged.classes) if name in kept and not is_sided(name)]
    return replace(
        judged,
        classes=[judged.classes[place] for place in places],
        probabilities=judged.probabilities[:, places],
        targets=judged.targets[:, places],
        prevalence=judged.prevalence[places],
    )


def against_normal(real: Judged, name: str) -> dict[str, Any] | None:
    """AUROC of a finding on images that show it against those of which the text says that nothing is found."""
    if NO_FINDING not in real.classes:
        return None
    place, normal = list(real.classes).index(name), real.targets[:, list(real.classes).index(NO_FINDING)] == SHOWN
    shown = real.targets[:, place] == SHOWN
    rows = np.flatnonzero(shown | normal)
    value = float(auroc(real.probabilities[rows, place], shown[rows], real.sources[rows]))
    return None if np.isnan(value) else {"value": value, "shown": int(shown.sum()), "normal": int(normal.sum())}


def own_side(
    asked: Sequence[Asked],
    probabilities: np.ndarray,
    classes: Sequence[str],
    real: Metric | None,
    facts: dict[str, Any],
    seed: int = 0,
) -> dict[str, Metric]:
    """`side_own`: the asked side of the finding is the more probable of the two; a tie is one half.

    It has an interval only where the classifier tells the sides of real images: where the interval of `real` lies above
    chance. Elsewhere a figure would say something of the classifier and nothing of the images.

    Args:
        real: `side_accuracy` of the same classifier on real images; None where too few name a side.
    """
    places = pairs(classes)
    rows = [row for row, each in enumerate(asked) if each.side is not None]
    if not rows:
        return {}
    hits = []
    for row in rows:
        right, left = (probabilities[row, place] for place in places[asked[row].name])
        ahead = right - left if asked[row].side == SIDES[0] else left - right
        hits.append((np.sign(ahead) + 1) / 2)
    hit, weights = np.array(hits), patient_weights([str(row) for row in rows], seed)
    able = real is not None and real.ci95 is not None and real.ci95[0] > 0.5
    stated = facts | {"chance": 0.5, "findings": sorted({asked[row].name for row in rows}), "judged": able}
    stated["interval"] = f"{DRAWN}, seed {seed}"
    if able:
        drawn = weights @ hit / weights.sum(axis=1)
        return {"side_own": entry(float(hit.mean()), len(hit), drawn, stated, over=SEEDS)}
    return {"side_own": Metric(float(hit.mean()), len(hit), True, settings=stated, reason=_why_not_judged(real))}


def _why_not_judged(real: Metric | None) -> str:
    if real is None:
        return "not judged: too few real images name a side, so that whether the classifier tells it is not known"
    if real.ci95 is None:
        return f"not judged: the classifier's side accuracy on real images has no interval ({real.reason})"
    low, high = real.ci95
    return f"not judged: on real images the classifier's side accuracy is {low:.3f} to {high:.3f}, which holds chance"


def _name(finding: str) -> str:
    return f"auroc_own_{finding.replace(' ', '_')}"
