"""docs/results/ablation.md: what each training choice costs and brings, every figure from its metrics.json."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxr_ldm.metrics.report import cell, number

DEFAULT = {"objective": "flow", "levels": "its own", "weighting": "unit", "text": "scratch", "dropout": "0.1"}
COLUMNS = {
    "KID": "kid_efficientnet_lite0",
    "above its floor": "kid_efficientnet_lite0_difference",
    "finding, of reports": "adherence_finding_texts",
    "side, of reports": "adherence_side_texts",
    "SSIM within a prompt": "pairwise_ssim_within_prompt",
}
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
SIGNIFICANCE = """A choice is called worse than the best where all its KIDs, over two seeds or more, lie above all of
the best's with their 95 % intervals. The intervals count images only; that no seed disagrees stands for the chance of a
training run. With one seed nothing is called so."""


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
    """A run's difference from the default.

    >>> words(DEFAULT), words(DEFAULT | {"objective": "v_zsnr"})
    ('default', 'objective v_zsnr')
    """
    return ", ".join(f"{key} {value}" for key, value in changes.items() if DEFAULT[key] != value) or "default"


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
    default = ", ".join(f"{key} {value}" for key, value in DEFAULT.items())
    return f"{run['images']:,} images seen. Default: {default}. {'; '.join(stated)}."


def table(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A Markdown row for each run, the default first."""
    columns = {head: name for head, name in COLUMNS.items() if any(name in run["metrics"] for run in runs)}
    lines = [f"| change to the default | seed | {' | '.join(columns)} | steps | seconds |"]
    lines += ["| --- |" + " ---: |" * (len(columns) + 3)]
    for run in sorted(runs, key=lambda run: (words(run["changes"]) != "default", words(run["changes"]), run["seed"])):
        cells = [cell(run["metrics"].get(name)) for name in columns.values()]
        cost = f"{run['steps']} | {run['seconds']:.0f}"
        lines.append(f"| {words(run['changes'])} | {run['seed']} | {' | '.join(cells)} | {cost} |")
    return lines


def seeds(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """For every choice with several seeds its mean KID and, against the best of them, whether that is significant."""
    groups = dict(grouped(runs))
    several = {name: each for name, each in groups.items() if len(each) > 1}
    if len(several) < 2:
        return ["One seed each: no difference here can be called significant."]
    best = min(several, key=lambda name: statistics.mean(kids(several[name])))
    lines = ["| choice | seeds | mean KID | least | most | worse than the best |", "| --- |" + " ---: |" * 5]
    for name, each in sorted(several.items(), key=lambda pair: statistics.mean(kids(pair[1]))):
        values = kids(each)
        verdict = "–" if name == best else "yes" if worse(each, several[best]) else "not significant"
        figures = " | ".join(number(value) for value in (statistics.mean(values), min(values), max(values)))
        lines.append(f"| {name} | {len(each)} | {figures} | {verdict} |")
    return lines


def grouped(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Runs by what they change."""
    for name in sorted({words(run["changes"]) for run in runs}):
        yield name, [run for run in runs if words(run["changes"]) == name]


def kids(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    """KID of each run."""
    return [run["metrics"][COLUMNS["KID"]]["value"] for run in runs]


def worse(these: Sequence[Mapping[str, Any]], those: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every one of `these` has a KID above every one of `those`, intervals included."""
    lowest = min(run["metrics"][COLUMNS["KID"]]["ci95"][0] for run in these)
    highest = max(run["metrics"][COLUMNS["KID"]]["ci95"][1] for run in those)
    return lowest > highest
