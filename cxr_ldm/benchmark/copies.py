"""Do the measures of copying alarm as often as they say where nothing is copied, and do they see what is?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor
from tqdm import tqdm

from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.metrics.copies.excess import excess_metric, nearer_metric
from cxr_ldm.metrics.copies.memorisation import COPY_CORRELATION, SIDE, is_copy, search_features, standardised
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import wilson_interval
from cxr_ldm.ranges import Count, Place, Seed, Several, Share
from cxr_ldm.report.terminal import cell

INTRO = """Evaluations of generators that are known: fresh samples of the references' own distribution, and among them
copies of training images. An alarm is a one-sided p of at most 0.05, or a near copy; shares of evaluations with Wilson
95 % intervals.

- *samples*: `fresh`; `collapsed`, fresh ones about 20 points, so that a few references are everybody's neighbour;
  `exact` copies; `blurred` ones, a correlation of 0.98 away from their picture in vectors, and on radiographs after a
  blur of 1.5 pixels of 96 and noise of 5 % of the grey range.
- *nearer*: alarms of `nearer_to_training`. *sign test*: of the share that is nearer to the training set, samples taken
  as independent; only where both sides are equal.
- *excess*: alarms of `copies_excess`; its mean; the share of its 95 % intervals that hold the planted share; the mean
  of their upper ends.
- *near copies*: evaluations with one at least, by the fixed limits, and by the largest control, as it was before.

Vectors: 48 normal features of falling variance, references of one or two images; their nearest neighbours are as near
as those of radiographs at 32 pixels. With five copies in 500 samples no test of this kind can do much: each of five is
of the training by chance as well, with the training's share of the patients; the fixed limits see them."""
FEATURES = np.arange(1, 49) ** -0.6
WITHIN = 0.6  # spread of the images of a patient, in that of patients
BLUR, NOISE = 1.5 / 96, 0.05  # of the side, and of the grey range
APART = 0.2  # a cosine of 0.98
ALPHA = 0.05
KINDS = ("exact", "blurred")
COLUMNS = (
    *("nearer_alarm", "sign_alarm", "excess_alarm", "excess_mean", "excess_coverage", "excess_upper"),
    *("near_alarm", "largest_control_alarm"),
)


@dataclass(frozen=True)
class Case:
    """Rows of one evaluation: samples and training [N, D], held-out [M, D], and whose the latter two are."""

    samples: Tensor
    training: Tensor
    held_out: Tensor
    people: tuple[list[str], list[str]]


Draw = Callable[[np.random.Generator, int, str, float], Case]


def run(
    patients: Sequence[Sequence[Count]],
    n: Sequence[Count],
    planted: Sequence[Share],
    innocent: Several,
    guilty: Several,
    divisions: Count,
    folder: Place | None,
    seed: Seed,
) -> dict[str, Metric]:
    """Alarms, coverage and means in every setting.

    Args:
        patients: numbers trained on and held out, of each simulation.
        n: samples of an evaluation.
        planted: shares of copies.
        innocent, guilty: evaluations of each setting without and with copies.
        divisions: of the patients, for each p.
        folder: a prepared collection whose patients are divided into samples, training and held-out; None: none.
        seed: of all draws.
    """
    settings = [("fresh", 0.0), ("collapsed", 0.0), *((kind, share) for share in planted for kind in KINDS)]
    metrics: dict[str, Metric] = {}
    for where, draw, most in worlds(patients, folder):
        for count in n:
            if count > most:
                continue
            for kind, share in settings:
                if kind == "collapsed" and most < np.inf:
                    continue  # real radiographs do not
                end = f"{kind}{f'_{share * 100:g}pc' if share else ''}_n{count}_{where}"
                repeats = guilty if share else innocent
                cases = (draw(np.random.default_rng([seed, i]), count, kind, share) for i in range(repeats))
                found = [measure(case, divisions, share) for case in tqdm(cases, desc=end, total=repeats)]
                metrics |= summary(found, end, {"samples": count, "planted": share, "divisions": divisions})
    return metrics


def worlds(patients: Sequence[Sequence[int]], folder: Place | None) -> Iterator[tuple[str, Draw, float]]:
    """Where samples come from: a name, how to draw an evaluation, and the most samples that it can have."""
    for trained, held_out in patients:
        yield f"{trained}to{held_out}", vectors(trained, held_out), np.inf
    if folder is not None:
        yield radiographs(Prepared(folder))


def vectors(trained: int, held_out: int) -> Draw:
    """Evaluations in a space of features, of so many patients."""

    def side(random: np.random.Generator, count: int, letter: str) -> tuple[np.ndarray, list[str]]:
        owner = np.concatenate([np.arange(count), np.arange(count // 3)])
        rows = random.standard_normal((count, len(FEATURES)))[owner]
        rows = (rows + WITHIN * random.standard_normal(rows.shape)) * FEATURES
        return rows, [f"{letter}{each}" for each in owner]

    def draw(random: np.random.Generator, n: int, kind: str, share: float) -> Case:
        (one, ours), (two, others) = side(random, trained, "t"), side(random, held_out, "h")
        samples = (1 + WITHIN**2) ** 0.5 * random.standard_normal((n, len(FEATURES))) * FEATURES
        if kind == "collapsed":
            samples = samples[random.integers(20, size=n)] + 0.5 * random.standard_normal(samples.shape) * FEATURES
        copies = random.random(n) < share
        picked = one[random.integers(len(one), size=n)]
        if kind == "blurred":
            change = random.standard_normal(picked.shape)
            lengths = np.linalg.norm(picked, axis=1) / np.linalg.norm(change, axis=1)
            picked = picked + APART * change * lengths[:, None]
        samples[copies] = picked[copies]
        return Case(torch.from_numpy(samples), torch.from_numpy(one), torch.from_numpy(two), (ours, others))

    return draw


def radiographs(prepared: Prepared) -> tuple[str, Draw, float]:
    """Evaluations on a collection: its patients in three parts, one of which stands for the generator."""
    pixels = prepared.pixels(np.arange(len(prepared)))
    plain = standardised(pixels, "real")
    noise = NOISE * 2 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    blurred = np.stack([cv2.GaussianBlur(each, (0, 0), BLUR * prepared.size) for each in pixels[:, 0].numpy()])
    changed = standardised((torch.from_numpy(blurred)[:, None] + noise).clamp(-1, 1), "real")
    _, owner = np.unique(prepared.patients(np.arange(len(prepared))), return_inverse=True)
    people = int(owner.max()) + 1

    def draw(random: np.random.Generator, n: int, kind: str, share: float) -> Case:
        parts = random.permutation(np.arange(people) % 3)[owner]
        rows = [random.permutation(np.flatnonzero(parts == each)) for each in range(3)]
        samples = plain[rows[0][np.arange(n) % len(rows[0])]]
        copies = torch.from_numpy(random.random(n) < share)
        picked = torch.from_numpy(rows[1][random.integers(len(rows[1]), size=n)])
        samples[copies] = (changed if kind == "blurred" else plain)[picked[copies]]
        ours, others = ([str(owner[row]) for row in each] for each in rows[1:])
        return Case(samples, plain[rows[1]], plain[rows[2]], (ours, others))

    return "radiographs", draw, len(prepared) / 2.8


def measure(case: Case, divisions: int, planted: float) -> dict[str, float]:
    """What one evaluation says: alarms as 0 or 1, the excess, its upper end, and whether it holds the planted share."""
    found = search_features(case.samples, case.held_out, [case.training], case.people)
    near = found.neighbours
    nearer, excess = nearer_metric(near, {}, divided=divisions), excess_metric(near, {}, divided=divisions)
    low, high = excess.ci95 or (np.nan, np.nan)
    values = {
        "nearer_alarm": nearer.settings["p_value"] <= ALPHA,
        "excess_alarm": excess.settings["p_value"] <= ALPHA,
        "excess_mean": excess.value,
        "excess_coverage": low <= planted <= high,
        "excess_upper": high,
        "near_alarm": bool(is_copy(found.correlation, found.held_out, COPY_CORRELATION).any()),
        "largest_control_alarm": bool((found.correlation > found.control.max()).any()),
    }
    if planted == 0 and nearer.ci95 is not None:
        values["nearer_coverage"] = nearer.ci95[0] <= 0.5 <= nearer.ci95[1]
    if abs(near.sizes[0] - near.sizes[1]) < 0.01 * near.sizes[0]:
        closer = int((near.training > near.held_out).sum())
        values["sign_alarm"] = binomtest(closer, len(case.samples), alternative="greater").pvalue <= ALPHA
    return {name: float(value) for name, value in values.items()}


def summary(found: list[dict[str, float]], end: str, facts: dict[str, object]) -> dict[str, Metric]:
    """Each measure over the evaluations of one setting."""
    metrics = {}
    for name in found[0]:
        values = np.array([each[name] for each in found if name in each])
        count = len(values)
        if name in ("excess_mean", "excess_upper"):
            error = float(values.std(ddof=1) / count**0.5)
            stated = {**facts, "standard_error": error}
            metric = Metric(
                float(values.mean()), count, False, settings=stated, reason="a mean; see its standard error"
            )
        else:
            stated = {**facts, "interval": "Wilson 95 %"}
            ends = wilson_interval(int(values.sum()), count)
            metric = Metric(float(values.mean()), count, True, ends, stated, over="simulated evaluations")
        metrics[f"{name}_{end}"] = metric
    return metrics


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    ends = [name.removeprefix("excess_alarm_") for name in content if name.startswith("excess_alarm_")]
    heads = ["patients", "n", "samples", "nearer", "sign test", "excess", "its mean", "its coverage", "its upper end"]
    heads += ["near copies", "near copies by the largest control"]
    lines = ["# Are copies of training images found?", "", INTRO, "", f"| {' | '.join(heads)} |"]
    lines.append("| --- | ---: | --- |" + " ---: |" * (len(heads) - 3))
    for end in ends:
        kind, n, where = end.rsplit("_", 2)
        named = where.replace("to", " trained on, ") + " held out" if "to" in where else where
        cells = [cell(content.get(f"{column}_{end}")) for column in COLUMNS]
        words = kind.replace("_", ", ").replace("pc", " %")
        lines.append(f"| {named} | {n[1:]} | {words} | {' | '.join(cells)} |")
    held = [(end, content.get(f"nearer_coverage_{end}")) for end in ends]
    inside = ", ".join(f"{cell(entry)} ({end.replace('_', ' ')})" for end, entry in held if entry)
    lines += ["", f"Coverage of the interval of `nearer_to_training`, whose truth is 0.5: {inside}.", ""]
    lines += [f"Near copies: a likeness above {COPY_CORRELATION} at {SIDE} pixels, at under half the distance of the "]
    lines[-1] += "nearest held-out image."
    counts = sorted({entry["n"] for name, entry in content.items() if name.startswith("excess_alarm_")})
    lines += ["", f"Evaluations of each setting: {' or '.join(map(str, counts))}.", "", "## Run", ""]
    lines += [f"- {key}: `{value}`" for key, value in content["run"].items()]
    return "\n".join(lines) + "\n"
