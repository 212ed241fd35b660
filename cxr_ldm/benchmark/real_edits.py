"""Does a classifier see in real radiographs what an edit put there? docs/results/edits_real.md."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cxr_ldm import naming
from cxr_ldm.bundle import load_bundle
from cxr_ldm.data.findings.targets import NOT_SHOWN, all_targets
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.splits import Split
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.editing import Original, hole_of
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.judge import Judge, check
from cxr_ldm.metrics.faithfulness.auroc import patient_weights
from cxr_ldm.metrics.faithfulness.judged import Judged, auroc_metrics
from cxr_ldm.metrics.results import Metric
from cxr_ldm.networks.precision import resolved
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.ranges import Count, NotNegative, Place, Seed, Word
from cxr_ldm.report.terminal import cell

BATCH = 16
INTRO = """Radiographs of held-out patients that show none of the classifier's findings. The region of a finding is
drawn twice from the same noise: with the finding in the prompt, and with the prompt of a normal chest.

- *seen*: AUROC of the finding's probability, those drawn with it against those drawn without, by a classifier of real
  images of the collection, which saw none of these patients. One half is chance.
- *on real images*: what the same classifier reaches on the collection's own images, with and without the finding.
- *another*: the same AUROC of the other findings of the table, which the edit should leave alone: one half is right.

Intervals are over patients."""


def run(
    outputs: Place,
    model: Word,
    prepared: Place,
    classifier: Word,
    edits: Mapping[str, Mapping[str, Word]],
    normal: Word,
    n: Count,
    steps: Count,
    guidance: NotNegative,
    precision: Word,
    seed: Seed,
    split: Split = "test",
) -> dict[str, Metric]:
    """AUROC of each finding that is drawn into real images.

    Args:
        outputs: where runs stand.
        model: name of a model's run or bundle.
        prepared: folder of the real images.
        classifier: name of a run of stage=classifier on them.
        edits: for each finding its `prompt` and its `region`.
        normal: prompt of the images that are drawn without.
        n: images that are edited.
        seed: of the choice of images; the noise of image i has `seed` + i.

    Raises:
        UserError: too few images show nothing, or the classifier does not know a finding.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = naming.bundle_named(classifier, Path(outputs), "classifier", key="suite.run.classifier")
    bundle, source = load_bundle(place.folder, "classifier"), Prepared(Path(prepared))
    check(bundle, source, False)
    judge, data = Judge(bundle, device), Collection(source, split, seed)
    unknown = sorted(set(edits) - set(judge.classes))
    if unknown:
        raise UserError(
            f"suite.run.edits: the classifier does not know {unknown[0]}; it knows {', '.join(judge.classes)}."
        )
    pipeline = TextToCXR.from_bundle(naming.bundle_named(model, Path(outputs), "ldm").folder, str(device))
    rows = innocent(data, judge.classes, n)
    own = sampling_of(pipeline, steps, guidance, precision)
    of_real = auroc_metrics(judge.judged(data, data.rows), patient_weights(source.patients(data.rows), seed), {})
    metrics: dict[str, Metric] = {}
    for finding, edit in edits.items():
        hole = hole_of((source.size, source.size), source.size, region=edit["region"])
        assert hole is not None
        with_it, without = (drawn(pipeline, data, rows, text, hole, own, seed) for text in (edit["prompt"], normal))
        facts: dict[str, Any] = {
            "bundle_sha256": pipeline.sha256,
            "classifier": judge.sha256,
            **dict(edit),
            "normal": normal,
        }
        facts |= {"steps": steps, "guidance": guidance, "precision": own.precision, "data": source.name}
        for name in edits:
            seen = apart(judge, name, with_it, without, source.patients(rows), facts, seed)
            metrics[f"{'seen' if name == finding else f'another_{slug(name)}'}_{slug(finding)}"] = seen
        if f"auroc_{slug(finding)}" in of_real:
            metrics[f"real_{slug(finding)}"] = of_real[f"auroc_{slug(finding)}"]
    return metrics


def slug(finding: str) -> str:
    """As names of metrics have it."""
    return finding.replace(" ", "_")


def sampling_of(pipeline: TextToCXR, steps: int, guidance: float, precision: str) -> Sampling:
    """How the images are drawn."""
    narrow = resolved(precision, pipeline.device)
    return replace(pipeline.sampling, steps=steps, guidance=Guidance(guidance), precision=narrow)


def innocent(data: Collection, classes: Sequence[str], n: int) -> np.ndarray:
    """`n` rows of the split, one for each patient, of which every finding is known not to be shown."""
    targets, found, people = all_targets(data.prepared.manifest, classes).values, [], set()
    findings = [place for place, name in enumerate(classes) if name != "no finding"]
    order = data.chosen(len(data.rows))
    for row, patient in zip(order, data.prepared.patients(order), strict=True):
        if (targets[row, findings] == NOT_SHOWN).all() and patient not in people:
            found.append(int(row))
            people.add(patient)
    if len(found) < n:
        raise UserError(f"n={n}: {len(found)} patients of the {data.word} split show no finding; take fewer.")
    return np.array(found[:n])


def drawn(
    pipeline: TextToCXR, data: Collection, rows: np.ndarray, prompt: str, hole: Tensor, sampling: Sampling, seed: int
) -> Tensor:
    """The images of `rows` with the hole drawn anew by a prompt, `[N,1,H,W]`."""
    made = []
    for first in tqdm(range(0, len(rows), BATCH), desc=prompt[:40], unit="batch"):
        part = rows[first : first + BATCH]
        original = Original(data.prepared.pixels(part), 1.0, hole.expand(len(part), -1, -1, -1))
        seeds = [seed + first + place for place in range(len(part))]
        made.append(pipeline.draw([prompt] * len(part), seeds, sampling, original=original))
    return torch.cat(made)


def apart(
    judge: Judge,
    finding: str,
    with_it: Tensor,
    without: Tensor,
    patients: Sequence[str],
    facts: Mapping[str, Any],
    seed: int,
) -> Metric:
    """AUROC of the probability of a finding: images drawn with it against the same images drawn without."""
    place, count = judge.classes.index(finding), len(with_it)
    probabilities = judge.probabilities([*with_it.split(BATCH), *without.split(BATCH)])[:, place : place + 1]
    seen = Judged(
        [finding],
        probabilities,
        np.repeat([[1.0], [0.0]], count, axis=0),
        judge.prevalence[place : place + 1],
        [""] * (2 * count),
        [*patients, *patients],
        np.full(2 * count, "edited"),
    )
    found = auroc_metrics(seen, patient_weights(seen.patients, seed), dict(facts))
    return found[f"auroc_{slug(finding)}"]


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    findings = [name.removeprefix("seen_") for name in content if name.startswith("seen_")]
    lines = ["# Are edits of real radiographs seen?", "", INTRO, ""]
    lines += ["| finding | region | seen | on real images | another |", "| :--- | :--- | ---: | ---: | :--- |"]
    for name in findings:
        others = [
            f"{other.replace('_', ' ')} {cell(content.get(f'another_{other}_{name}'))}"
            for other in findings
            if other != name
        ]
        region = content[f"seen_{name}"]["settings"]["region"].replace("_", " ")
        figures = f"{cell(content[f'seen_{name}'])} | {cell(content.get(f'real_{name}'))}"
        lines.append(f"| {name.replace('_', ' ')} | {region} | {figures} | {'; '.join(others)} |")
    lines += ["", f"{content[f'seen_{findings[0]}']['n'] // 2} images a row, drawn twice.", "", "## Run", ""]
    lines += [f"- {key}: `{value}`" for key, value in content["run"].items()]
    return "\n".join(lines) + "\n"
