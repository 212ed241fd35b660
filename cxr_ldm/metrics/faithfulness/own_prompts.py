"""Do images of prompts in our own words show the finding, by a classifier? Against normal, and left against right.

Each finding's images stand against those of normal prompts: AUROC of the classifier's probability of this finding. It
says nothing of a finding that the classifier cannot see, so the same classifier's figure on real images stands beside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cxr_ldm.data.findings.targets import NOT_SHOWN, SHOWN, SIDES, UNKNOWN, pairs
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
    asked: Sequence[Asked],
    probabilities: np.ndarray,
    classes: Sequence[str],
    facts: dict[str, Any],
    seed: int = 0,
    real: Mapping[str, Metric] | None = None,
) -> dict[str, Metric]:
    """`auroc_own_FINDING`: images of a finding's prompts against those of normal prompts, and `auroc_own_mean`.

    Args:
        asked: N prompts.
        probabilities: of each class in the image of each, [N,C].
        real: what `own_real` found; the mean is over the findings that it has a figure of, where it has any, so that
            the two means can be compared.
    """
    weights = patient_weights([str(place) for place in range(len(asked))], seed)
    names = np.array([each.name if each.side is None else "" for each in asked])
    metrics: dict[str, Metric] = {}
    draws: dict[str, np.ndarray] = {}
    for name in (name for name in OWN_WORDS if name in classes):
        rows = np.flatnonzero((names == name) | (names == NO_FINDING))
        truth, scores = names[rows] == name, probabilities[rows, list(classes).index(name)]
        draws[name] = auroc(scores, truth, None, weights[:, rows])
        counts = {"shown": int(truth.sum()), "not_shown": int((~truth).sum()), "wordings": list(OWN_WORDS[name])}
        value = float(auroc(scores, truth))
        stated = facts | counts | {"normal": list(NORMAL), "interval": f"{DRAWN}, seed {seed}"}
        metrics[_name(name)] = entry(value, len(rows), draws[name], stated, over=SEEDS)
    if not metrics:
        return {}
    shared = [name for name in draws if f"{_name(name)}_real" in (real or {})] or list(draws)
    mean = float(np.mean([metrics[_name(name)].value for name in shared]))
    unknown = [name for name in OWN_WORDS if name not in classes]
    stated = facts | {"findings": shared, "unknown_to_the_judge": unknown, "interval": f"{DRAWN}, seed {seed}"}
    stated["without_real_images"] = [name for name in draws if name not in shared]
    images = int(np.isin(names, [NO_FINDING, *shared]).sum())
    drawn = np.mean([draws[name] for name in shared], axis=0)
    return metrics | {"auroc_own_mean": entry(mean, images, drawn, stated, over=SEEDS)}


def own_real(real: Judged, facts: dict[str, Any], seed: int = 0) -> dict[str, Metric]:
    """`auroc_own_FINDING_real` and their mean: the same classifier on real images, as the generated ones are compared.

    Those that show the finding stand against those of which the text says that nothing is found.
    """
    judged = against_normal(real)
    stated = facts | {"interval": f"bootstrap over patients, {BOOTSTRAP} draws, seed {seed}"}
    found = auroc_metrics(judged, patient_weights(real.patients, seed), stated)
    return {f"auroc_own_{name.removeprefix('auroc_')}_real": metric for name, metric in found.items()}


def against_normal(real: Judged) -> Judged:
    """The findings that have prompts in our own words: 1 shown, 0 where nothing is found, else unknown."""
    places = [place for place, name in enumerate(real.classes) if name in OWN_WORDS and NO_FINDING in real.classes]
    normal = real.targets[:, real.classes.index(NO_FINDING)] == SHOWN if places else np.zeros(len(real.targets), bool)
    shown = real.targets[:, places] == SHOWN
    return replace(
        real,
        classes=[real.classes[place] for place in places],
        probabilities=real.probabilities[:, places],
        targets=np.where(shown, SHOWN, np.where(normal[:, None], NOT_SHOWN, UNKNOWN)),
        prevalence=real.prevalence[places],
    )


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
