"""Does an edit change what was asked, where it was asked, and nothing else? On phantoms, by their geometry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cxr_ldm import naming
from cxr_ldm.benchmark.guidance import real
from cxr_ldm.bundle import load_bundle
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.editing import RIM, Original, hole_of
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.judge import Judge
from cxr_ldm.metrics.faithfulness.adherence import EFFUSION, Finding, PhantomAdherence, rate
from cxr_ldm.metrics.faithfulness.lung_floor import SIDES, Side, effusion_scores
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import normal_interval
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.ranges import Count, Place, Seed, Word
from cxr_ldm.report.terminal import cell

NORMAL = "Normal chest X-ray, clear lungs."
INTRO = """Phantoms of patients whom the models never saw, a quarter each: a normal chest that gets a right effusion, or
a left one, and an effusion of either side alone that is taken away. What they show is read off by their geometry.

- *changed*: the effusion is there, on the side that was asked, or gone, with Wilson 95 % intervals.
- *another*: an effusion appears on the other side, or a classifier of phantoms finds in the edited image (probability
  above one half) what it did not find in what the VAE makes of the given one.
- *outside*: mean absolute error outside the box, over that of the VAE alone. It is 1 by construction, since outside the
  box stands what the VAE makes of the given image; drawn by the decoder alone it was 2, which looks far.
- *seam*: mean difference of neighbouring pixels along the rim of the box, where the two are blended, over the same of
  what the VAE makes of the given image: above 1 an edge would show.

Rows: *whole* draws the whole image anew from half-way to noise (strength 0.6), *inverted* follows it back to its noise
under its own text and draws it by the new one; the others draw a box about the lung of that side, held to the rest of
the image at each step, by models that did not learn to fill holes or did."""


@dataclass(frozen=True)
class Edits:
    """What is asked of N images.

    Attributes:
        pixels: `[N,1,H,W]`.
        before, after: prompts.
        sides: on which the effusion is added or taken away.
        added: whether it is added.
    """

    pixels: Tensor
    before: list[str]
    after: list[str]
    sides: list[Side]
    added: list[bool]

    def holes(self) -> Tensor:
        """A box about the lung of each side, bool `[N,1,H,W]`."""
        size = self.pixels.shape[-1]
        boxes = {side: hole_of((size, size), size, region=f"{side}_lung") for side in SIDES}
        return torch.cat([boxes[side] for side in self.sides])  # type: ignore[misc]  # a region has a hole


def run(
    outputs: Place,
    models: Mapping[str, Word],
    classifier: Place | None,
    n: Count,
    phantoms: Count,
    steps: Count,
    seed: Seed,
) -> dict[str, Metric]:
    """Rates of each way of drawing.

    Args:
        outputs: where runs stand.
        models: names of bundles of phantom models by the word for their row; the first also draws whole images.
        classifier: of phantoms; None looks for an effusion of the other side alone.
        n: edits for each row, a quarter of each kind.
        phantoms: real ones; half calibrate the measurement, of the others some are edited.
        steps: of sampling.
        seed: of the samples; the phantoms have `seed` + 1,000, so that they are of other patients.

    Raises:
        UserError: too few phantoms show what is to be edited.
    """
    pipelines = {
        word: TextToCXR.from_bundle(naming.bundle_named(name, Path(outputs), "ldm").folder)
        for word, name in models.items()
    }
    first = next(iter(pipelines.values()))
    pixels, findings = real(phantoms, first.size, seed + 1000)
    half, measure = phantoms // 2, PhantomAdherence()
    measure.calibrate(pixels[:half], findings[:half])
    judge = None
    if classifier is not None:
        chosen = naming.bundle_named(str(classifier), Path(outputs), "classifier", key="classifier")
        judge = Judge(load_bundle(chosen.folder, "classifier"), first.device)
    edits = chosen_edits(pixels[half:], findings[half:], n)
    metrics = measure.of_real(pixels[half:], findings[half:])
    seen = first.decode(first.encode(edits.pixels))
    ways = {word: (pipeline, Original(edits.pixels, 1.0, edits.holes())) for word, pipeline in pipelines.items()}
    ways["whole"] = first, Original(edits.pixels, 0.6)
    ways["inverted"] = first, Original(edits.pixels, source=edits.before)
    for word, (pipeline, original) in ways.items():
        sampling = replace(pipeline.sampling, steps=steps, guidance=Guidance(1.0))
        images = pipeline.draw(edits.after, [seed + place for place in range(n)], sampling, original=original)
        facts = {"bundle_sha256": pipeline.sha256, "steps": steps, "strength": original.strength}
        metrics |= measured(word, edits, seen, images, original.hole, measure, judge, facts)
    return metrics


def chosen_edits(pixels: Tensor, findings: Sequence[Sequence[Finding]], n: int) -> Edits:
    """`n` edits of images that show nothing, or an effusion alone; raises UserError where there are too few."""
    kinds: dict[str, list[int]] = {"normal": [], **{side: [] for side in SIDES}}
    for place, entries in enumerate(findings):
        if not entries:
            kinds["normal"].append(place)
        elif len(entries) == 1 and entries[0]["name"] == EFFUSION:
            kinds[entries[0]["side"]].append(place)
    quarter = n // 4
    needed: dict[str, int] = {"normal": 2 * quarter, SIDES[0]: quarter, SIDES[1]: quarter}
    for kind, count in needed.items():
        if len(kinds[kind]) < count or n % 4:
            raise UserError(
                f"n={n}: a quarter of it must be a whole number, and the {len(kinds[kind])} phantoms of kind {kind} "
                f"{count} or more; raise suite.run.phantoms."
            )
    normals = kinds["normal"]
    rows = [*normals[: 2 * quarter], *kinds["right"][:quarter], *kinds["left"][:quarter]]
    sides = [side for side in (*SIDES, *SIDES) for _ in range(quarter)]
    added = [place < 2 * quarter for place in range(4 * quarter)]
    asked = [f"{side.capitalize()} pleural effusion." for side in sides]
    before = [NORMAL if adds else effusion for adds, effusion in zip(added, asked, strict=True)]
    after = [effusion if adds else NORMAL for adds, effusion in zip(added, asked, strict=True)]
    return Edits(pixels[rows], before, after, sides, added)


def measured(
    word: str,
    edits: Edits,
    seen: Tensor,
    images: Tensor,
    hole: Tensor | None,
    measure: PhantomAdherence,
    judge: Judge | None,
    facts: Mapping[str, Any],
) -> dict[str, Metric]:
    """The rates of one row.

    Args:
        seen: what the VAE makes of the given images, `[N,1,H,W]`.
        images: after the edit.
    """
    shows = measure.measure(images)
    assert measure.threshold is not None
    wanted = [side if adds else None for side, adds in zip(edits.sides, edits.added, strict=True)]
    changed = [shown == asked for shown, asked in zip(shows, wanted, strict=True)]
    other = torch.tensor([int(side == SIDES[0]) for side in edits.sides])[:, None]
    there, before = ((effusion_scores(each).gather(1, other)[:, 0] > measure.threshold) for each in (images, seen))
    another = (there & ~before).numpy()
    if judge is not None:
        kept = [place for place, name in enumerate(judge.classes) if EFFUSION not in name and name != "no finding"]
        found, known = (judge.probabilities(each.split(64))[:, kept] > 0.5 for each in (images, seen))
        another = another | (found & ~known).any(axis=1)
    stated = dict(facts) | ({} if judge is None else {"classifier": judge.sha256, "other_findings": len(kept)})
    metrics = {
        f"changed_{word}": rate(changed, "edits", stated),
        f"another_{word}": replace(rate(another.tolist(), "edits", stated), higher_is_better=False),
    }
    for adds, name in ((True, "added"), (False, "removed")):
        hits = [hit for hit, kind in zip(changed, edits.added, strict=True) if kind == adds]
        metrics[f"{name}_{word}"] = rate(hits, "edits", stated)
    if hole is not None:
        given = edits.pixels
        outside = over_places((images - given).abs(), ~hole), over_places((seen - given).abs(), ~hole)
        reach = round(RIM * hole.shape[-1])
        rim = hole & (functional.max_pool2d((~hole).float(), 2 * reach + 1, 1, reach) > 0)
        seam = over_places(steep(images), rim), over_places(steep(seen), rim)
        for name, (ours, plain) in (("outside", outside), ("seam", seam)):
            metrics[f"{name}_{word}"] = ratio(ours, plain, stated)
    return metrics


def steep(images: Tensor) -> Tensor:
    """Absolute difference of each pixel from its right and its lower neighbour, their mean, `[N,1,H,W]`."""
    framed = functional.pad(images, (0, 1, 0, 1), mode="replicate")
    return ((framed[..., :-1, 1:] - images).abs() + (framed[..., 1:, :-1] - images).abs()) / 2


def over_places(values: Tensor, places: Tensor) -> np.ndarray:
    """Mean of each image over the places `[N,1,H,W]` that are True, [N]."""
    return ((values * places).sum(dim=(1, 2, 3)) / places.sum(dim=(1, 2, 3))).double().numpy()


def ratio(ours: np.ndarray, plain: np.ndarray, stated: Mapping[str, Any]) -> Metric:
    """Ratio of two means over the same images, with an interval by the delta method."""
    value = float(ours.mean() / plain.mean())
    error = float(np.std(ours - value * plain, ddof=1) / np.sqrt(len(ours)) / plain.mean())
    ends = normal_interval(value, error)
    return Metric(value, len(ours), False, ci95=ends, settings=dict(stated), over="edits")


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    words = [name.removeprefix("changed_") for name in content if name.startswith("changed_")]
    heads = ("changed", "added", "removed", "another", "outside", "seam")
    lines = ["# Do edits change what was asked, and nothing else?", "", INTRO, ""]
    lines += [f"| drawn | {' | '.join(heads)} |", "| :--- |" + " ---: |" * len(heads)]
    for word in words:
        lines.append(f"| {word} | {' | '.join(cell(content.get(f'{head}_{word}')) for head in heads)} |")
    first = content[f"changed_{words[0]}"]
    lines += [
        "",
        f"{first['n']} edits a row. On real phantoms with an effusion alone or none the same reading of the side is "
        f"right in {cell(content.get('adherence_side_real'))}, and of whether there is one in "
        f"{cell(content.get('adherence_finding_real'))}.",
        "",
        "## Run",
        "",
    ]
    lines += [f"- {key}: `{value}`" for key, value in content["run"].items()]
    return "\n".join(lines) + "\n"
