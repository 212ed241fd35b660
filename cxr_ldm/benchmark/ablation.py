"""Collects a comparison of training choices: every run of the ablation experiments with its evaluation.

The comparison itself is made by `train.py … experiment=ablation sweep=one_factor` (or `finalists`), which trains and
evaluates; here nothing is trained or measured anew.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cxr_ldm.artifacts import RECORD, fingerprint, flatten, read_json
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric, read_metrics
from cxr_ldm.register import named

# What a scaling is called in conf/diffusion, and the noise levels that it has there.
OBJECTIVES = {
    "Velocity": ("flow", "LogitNormal"),
    "Epsilon": ("eps_linear", "Uniform"),
    "VPrediction": ("v_zsnr", "Uniform"),
}
WORD = "-ablation"  # of a run's name, which lists the experiment
KID = "kid_efficientnet_lite0"
# What `changes` words; further differences are given by their hash alone.
COMPARED = ("diffusion.", "text_encoder.", "training.condition_dropout")
FACTORS = ("diffusion.", "text_encoder.", "training.", "denoiser.", "attributes.")


def run(outputs: str) -> dict[str, Metric]:
    """Number of runs; in its settings everything that the page shows.

    Raises:
        UserError: there is no finished run of the ablation below `outputs`.
    """
    runs = unique(described(*pair) for pair in finished(Path(outputs)))
    if not runs:
        raise UserError(
            f"{outputs} holds no evaluated run of the ablation; make them by "
            "`python train.py stage=ldm experiment=ablation sweep=one_factor`."
        )
    runs.sort(key=lambda each: (each["data"], sorted(each["changes"].items()), each["seed"]))
    return {"runs": Metric(len(runs), len(runs), True, settings={"runs": runs}, reason="a count")}


def finished(outputs: Path) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """For every evaluated ablation run its newest metrics.json and the record of its training.

    Arms are compared on validation; an evaluation of the test split counts only where there is no other, as of old.
    """
    paths = (outputs / "evaluation").glob("*/metrics.json")
    found = [(path.stat().st_mtime, read_metrics(path)) for path in paths]
    newest: dict[str, Mapping[str, Any]] = {}
    for _, content in sorted(found, key=lambda each: (split_of(each[1]) == "val", each[0])):
        if KID not in content:  # of other extractors, a comparison of two bundles, or a curve
            continue
        newest[content["run"].get("trained", {}).get("run", "")] = content
    for name, measured in newest.items():
        record = outputs / "ldm" / name / RECORD
        if WORD in name and record.is_file():
            yield measured, read_json(record)


def split_of(content: Mapping[str, Any]) -> str:
    """The split that a metrics.json measured; before there was a choice it was test."""
    return str(content["run"].get("split", "test"))


def unique(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One run for each data, choice and seed; what else differs within a collection is named among its changes.

    Raises:
        UserError: two runs of a collection were not measured alike.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    measured: dict[str, Any] = {}
    rest: dict[str, list[str]] = {}
    for run in runs:
        data = run["data"]
        if measured.setdefault(data, run["measured"]) != run["measured"]:
            raise UserError(
                f"the runs on {data} were measured with other sampling or other n, {measured[data]} and "
                f"{run['measured']}; evaluate them alike."
            )
        rest.setdefault(data, []).append(json.dumps(run.pop("rest"), sort_keys=True))
        found[data, *sorted(run["changes"].items()), run["seed"], rest[data][-1]] = run
    for key, run in found.items():
        if key[-1] != Counter(rest[run["data"]]).most_common(1)[0][0]:
            run["changes"]["other settings"] = fingerprint(key[-1])[:6]
    return list(found.values())


def described(content: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """One run: its data and seed, what was chosen, its cost, its metrics."""
    settings = named(record["settings"])
    flat = dict(flatten(settings))
    chosen = {key: value for key, value in flat.items() if key.startswith(FACTORS)}
    sampling = {key: value for key, value in content[KID]["settings"].get("sampling", {}).items() if key != "seed"}
    return {
        "data": content["run"]["data"]["name"],
        "seed": settings["seed"],
        "images": settings["training"]["images"],
        "changes": changes(chosen, record["steps"]),
        "rest": {key: value for key, value in chosen.items() if not key.startswith(COMPARED)},
        # but for the seed, which is that of the training: another draw of images is no other measurement
        "measured": {"n": content[KID]["n"], "split": split_of(content), **sampling},
        "steps": record["steps"],
        "seconds": record["seconds"],
        "metrics": {
            name: {key: entry[key] for key in ("value", "ci95", "n")}
            | {key: entry["settings"][key] for key in ("standard_error",) if key in entry["settings"]}
            for name, entry in content.items()
            if name != "run"
        },
    }


def changes(chosen: Mapping[str, Any], steps: int) -> dict[str, str]:
    """The factors of a run of `steps` steps in words, from the classes and numbers of its settings.

    >>> changes({"diffusion.scaling.part": "Velocity", "diffusion.weighting.part": "Unit",
    ...     "diffusion.noise_levels.part": "LogitNormal",
    ...     "text_encoder.part": "scratch", "training.condition_dropout": 0.1}, 400)
    {'objective': 'flow', 'levels': 'its own', 'weighting': 'unit', 'text': 'scratch', 'dropout': '0.1'}
    """
    objective = OBJECTIVES[str(chosen["diffusion.scaling.part"])]
    levels = str(chosen["diffusion.noise_levels.part"])
    weighting = {"Unit": "unit", "MinSNR": "min_snr"}
    text = str(chosen["text_encoder.part"])
    if text == "pretrained":
        freed, at_step = chosen.get("text_encoder.unfreeze.layers", 0), chosen.get("text_encoder.unfreeze.at_step", 0)
        source = str(chosen["text_encoder.source"]).removeprefix("package:").removesuffix("/model")
        when = f"top {freed} layers freed at step {at_step}" if freed and at_step < steps else "frozen"
        if freed and at_step >= steps:
            when += f" to the end, since step {at_step} was never reached"
        text = f"{source.rpartition('/')[2]}, {when}"
    return {
        "objective": objective[0],
        "levels": "its own" if levels == objective[1] else levels,
        "weighting": weighting[str(chosen["diffusion.weighting.part"])],
        "text": text,
        "dropout": str(chosen["training.condition_dropout"]),
    }
