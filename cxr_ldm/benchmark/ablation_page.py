"""docs/results/ablation.md: what each training choice costs and brings, every figure from its metrics.json."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxr_ldm.report.terminal import cell, number

BASELINE = {"objective": "flow", "levels": "its own", "weighting": "unit", "text": "scratch", "dropout": "0.1"}
COLUMNS = {
    "KID": "kid_efficientnet_lite0",
    "above its floor": "kid_efficientnet_lite0_difference",
    "finding, of reports": "adherence_finding_texts",
    "side, of reports": "adherence_side_texts",
    "SSIM within a prompt": "pairwise_ssim_within_prompt",
}
# What the choices are judged by over several seeds: 1 where lower is better, -1 where higher is.
JUDGED = {"KID": 1, "finding, of reports": -1, "side, of reports": -1}
INTRO = """Diffusion models trained alike but for one choice, at equal images seen, each evaluated on images generated
from the texts of its test patients. The commands stand in `conf/experiment/ablation.yaml` and `ablation_nih.yaml`;
the VAE, the sampler and the guidance scale are the same for all runs of a collection.

- *KID*: kernel distance of EfficientNet-Lite0 features to the real images of the same texts, lower is better; with its
  standard error, which counts images but not the chance of a training run. *above its floor*: real against real
  subtracted.
- *finding*, *side*: on the phantom, whether images generated from whole reports show an effusion where the report
  names one, and on its side, read off the image by its geometry. Where no prompt is followed these are near the shares
  of the most frequent answer, not 0.
- *seconds* are of training, on a machine with two cores that did other things at the same time."""
SIGNIFICANCE = """A choice is called worse than the best where all its values, over two seeds or more, lie on the worse
side of all values of the best with their 95 % intervals. The intervals count images only; that no seed disagrees stands
for the chance of a training run. With one seed nothing is called so."""


def page(content: Mapping[str, Any]) -> str:
    """The Markdown page, every number of it from `content`, the suite's metrics.json."""
    runs = content["runs"]["settings"]["runs"]
    lines = ["# Training choices, compared", "", INTRO, ""]
    for data in sorted({run["data"] for run in runs}):
        here = [run for run in runs if run["data"] == data]
        lines += [f"## {data}", "", floors(here[0]), "", *table(here), ""]
        lines += ["### Over seeds", "", SIGNIFICANCE, "", *seeds(here), ""]
    lines += ["## Run", ""]
    lines += [
        f"- {key}: `{value if isinstance(value, str) else json.dumps(value)}`" for key, value in content["run"].items()
    ]
    return "\n".join(lines) + "\n"


def words(changes: Mapping[str, str]) -> str:
    """A run's difference from the baseline.

    >>> words(BASELINE), words(BASELINE | {"objective": "v_zsnr"})
    ('baseline', 'objective v_zsnr')
    """
    return ", ".join(f"{key} {value}" for key, value in changes.items() if BASELINE.get(key) != value) or "baseline"


def floors(run: Mapping[str, Any]) -> str:
    """What real images score by the same measurements, and the lengths that all runs share."""
    metrics = run["metrics"]
    real = {
        "KID of real against real": "kid_efficientnet_lite0_floor",
        "finding read off real images": "adherence_finding_real_all",
        "side read off real images": "adherence_side_real_all",
        "SSIM within what says the same, real": "pairwise_ssim_within_prompt_floor",
    }
    stated = [f"{label} {number(metrics[name]['value'])}" for label, name in real.items() if name in metrics]
    baseline = ", ".join(f"{key} {value}" for key, value in BASELINE.items())
    return f"{run['images']:,} images seen. Baseline: {baseline}. {'; '.join(stated)}."


def table(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A Markdown row for each run, the baseline first."""
    columns = {head: name for head, name in COLUMNS.items() if any(name in run["metrics"] for run in runs)}
    lines = [f"| change to the baseline | seed | {' | '.join(columns)} | steps | seconds |"]
    lines += ["| --- |" + " ---: |" * (len(columns) + 3)]
    for run in sorted(runs, key=lambda run: (words(run["changes"]) != "baseline", words(run["changes"]), run["seed"])):
        cells = [cell(run["metrics"].get(name)) for name in columns.values()]
        cost = f"{run['steps']} | {run['seconds']:.0f}"
        lines.append(f"| {words(run['changes'])} | {run['seed']} | {' | '.join(cells)} | {cost} |")
    return lines


def seeds(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """For every choice with several seeds the mean of what is judged and, against the best, whether it is worse."""
    several = {name: each for name, each in grouped(runs) if len(each) > 1}
    if len(several) < 2:
        return ["One seed each: no difference here can be called significant."]
    judged = [
        head for head in JUDGED if all(COLUMNS[head] in run["metrics"] for each in several.values() for run in each)
    ]
    lines = [f"| choice | seeds | {' | '.join(f'{head}, mean | worse than the best' for head in judged)} |"]
    lines += ["| --- | ---: |" + " ---: | --- |" * len(judged)]
    for name, each in several.items():
        cells = []
        for head in judged:
            best = min(several.values(), key=lambda runs, head=head: JUDGED[head] * mean(runs, head))  # type: ignore[misc]
            verdict = "–" if best is each else "yes" if worse(each, best, head) else "not significant"
            cells.append(f"{number(mean(each, head))} | {verdict}")
        lines.append(f"| {name} | {len(each)} | {' | '.join(cells)} |")
    return lines


def grouped(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Runs by what they change."""
    for name in sorted({words(run["changes"]) for run in runs}):
        yield name, [run for run in runs if words(run["changes"]) == name]


def mean(runs: Sequence[Mapping[str, Any]], head: str) -> float:
    """Mean of a column over runs."""
    return statistics.mean(run["metrics"][COLUMNS[head]]["value"] for run in runs)


def worse(these: Sequence[Mapping[str, Any]], those: Sequence[Mapping[str, Any]], head: str) -> bool:
    """Whether every one of `these` is worse than every one of `those`, intervals included."""
    ends = [[run["metrics"][COLUMNS[head]]["ci95"] for run in runs] for runs in (these, those)]
    if JUDGED[head] > 0:
        return min(low for low, _ in ends[0]) > max(high for _, high in ends[1])
    return max(high for _, high in ends[0]) < min(low for low, _ in ends[1])
