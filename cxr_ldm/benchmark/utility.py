"""suite=utility: does synthetic data help a classifier of real radiographs?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cxr_ldm import lineage, naming
from cxr_ldm.benchmark.utility_arms import Design, Source, all_scores, arms
from cxr_ldm.benchmark.utility_figures import POWER, figures
from cxr_ldm.bundle import Bundle, load_bundle
from cxr_ldm.data.findings.targets import Targets, all_targets, is_sided, learnable
from cxr_ldm.data.findings.words import NO_FINDING
from cxr_ldm.data.prepared.folder import Prepared, to_pixels
from cxr_ldm.data.prepared.splits import SPLITS, Split
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.fitting import Recipe
from cxr_ldm.evaluation.generated import to_file
from cxr_ldm.evaluation.groups import groups_of
from cxr_ldm.evaluation.model import Model
from cxr_ldm.metrics.results import Metric
from cxr_ldm.networks.classifier import Classifier
from cxr_ldm.networks.precision import resolved
from cxr_ldm.ranges import Count, NotNegative, Pixels, Place, Positive, Seed
from cxr_ldm.register import described
from cxr_ldm.report.markdown import render_markdown
from cxr_ldm.report.terminal import number
from cxr_ldm.stages.optimisation import MakeOptimizer

AT_ONCE = 512  # images that are drawn before they are made small
INTRO = """A classifier is trained on real images (*real once*), on real and synthetic ones at several ratios (*plus*),
on synthetic ones alone, and on the same real images twice (*real twice*), which is the control: as many images, and
nothing new. Every arm takes the same number of optimiser steps of whole batches, without augmentation and without early
stopping, so a gain may be one that augmentation would give as well. Patients are cross-fitted: each real image is
scored by classifiers that saw neither its patient nor an image drawn from that patient's texts, and only images of one
fold are compared.

The primary outcome, fixed beforehand, is `utility_gain`: AUROC, as the mean over the findings and over the seeds, at
one synthetic image for each real one, less that of the control. Everything else is secondary; its p-values are
corrected together. `utility_placebo` is the control less the real images once: both see the same images as often, so
what it is beside nothing is chance, and a gain should hold over both. Intervals are
over patients and seeds, which have their own weights, order, folds and choice of synthetic images; the generator was
trained once, and what another training of it would change is in no interval."""


@dataclass(frozen=True)
class Seen:
    """What the generator saw of the real images.

    Attributes:
        rows: of the prepared folder, that are measured.
        leaked: how many of them it was trained on, as far as its bundle says.
        sentence: the same in words.
    """

    rows: np.ndarray
    leaked: int
    sentence: str


def run(
    outputs: Place,
    prepared: Place | None,
    bundle: Place | None,
    external: bool,
    split: Literal["train", "val", "test", "all"] | None,
    ratios: Sequence[Positive],
    seeds: Sequence[Seed],
    folds: Count,
    passes: Count,
    batch_size: Count,
    size: Pixels,
    min_images: Count,
    network: Callable[..., Classifier],
    optimizer: MakeOptimizer,
    steps: Count | None,
    guidance: NotNegative | None,
    precision: Literal[32, "32", "bf16", "auto"],
    seed: Seed,
) -> dict[str, Metric]:
    """`utility_gain` and all beside it, see `figures`.

    Args:
        outputs: where runs and the cache stand.
        prepared: folder of the real images.
        bundle: name or folder of the model; None is the newest.
        external: whether the model saw none of these patients.
        split: that is measured, see `seen`.
        ratios: synthetic images for each real one.
        seeds: of the classifiers.
        folds: of patients.
        passes: over twice the real images.
        batch_size: images a step.
        size: pixels to which larger images are averaged down.
        min_images: that show a class, and that do not.
        network: of each classifier, for its classes.
        optimizer: of its parameter groups.
        steps, guidance, precision: of sampling; None is as the bundle says.
        seed: of the synthetic images' noise, and of the bootstrap.

    Raises:
        UserError: no folder is named, ratio 1 is missing, the model may have seen the patients, or no finding is
            frequent enough.
    """
    if prepared is None:
        raise UserError("suite=utility needs real images: prepared=FOLDER.")
    if 1 not in ratios or len(set(ratios)) < len(ratios):
        raise UserError(f"suite.run.ratios={list(ratios)} must hold 1, the primary outcome, and none twice.")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"suite.run.seeds={list(seeds)} must name one seed or more, and none twice.")
    data, device = Prepared(Path(prepared)), "cuda" if torch.cuda.is_available() else "cpu"
    place = naming.model_bundle(None if bundle is None else str(bundle), Path(outputs))
    made, store = load_bundle(place.said(), "ldm"), Path(outputs) / "cache"
    known = seen(made, data, external, split)
    model = model_of(made, store, device, steps, guidance, str(precision))
    recipe = Recipe(lambda classes: network(classes=list(classes)), optimizer, passes, batch_size, size, device)
    fitted = {"network": described(network), "optimizer": described(optimizer), "passes": passes}
    fitted |= {"batch_size": batch_size, "size": size, "device": device}
    replicas = int(np.ceil(max(ratios)))
    design = Design(arms(ratios), list(seeds), folds, recipe, plain(fitted), replicas)
    targets = classes_of(data, known.rows, min_images)
    source = source_of(data, known.rows, targets, model, recipe, seed)
    facts = {"data": data.name, "folds": folds, "fitted": design.settings}
    facts |= {"bundle_sha256": made.sha256, "sampling": model.facts(), "guidance": model.sampling.rule.settings()}
    said = {"generator_saw": known.sentence, "leaked": known.leaked, "classes_left_out": targets.left_out}
    return figures(source, design, all_scores(source, design, store), facts, said, seed)


def plain(value: Any) -> Any:
    """Lists and dicts in place of a config's own, as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return value if isinstance(value, str) or not isinstance(value, Sequence) else [plain(each) for each in value]


def seen(bundle: Bundle, data: Prepared, external: bool, split: str | None) -> Seen:
    """The rows that are measured, and how many of them the generator or its autoencoder was trained on.

    Args:
        split: None is the test split of a collection that the model was trained on, else all of it.

    Raises:
        UserError: the images are of another size, the model may have seen them, or the split is empty.
    """
    if bundle.info["size"] != data.size:
        raise UserError(
            f"{bundle.folder} makes images of {bundle.info['size']} pixels and {data.folder} has {data.size}."
        )
    own = lineage.knows(bundle.info, data.fingerprint)
    if not own and not external:
        raise UserError(
            f"{bundle.folder} was trained on {bundle.info['data']['name']} as it was prepared then, and not on "
            f"{data.folder}, so nothing says which of its patients it saw; prepared=FOLDER names the right one, and "
            "external=true says that these patients are others."
        )
    chosen = split or ("test" if own else "all")
    chosen_splits: list[Split] = [each for each in SPLITS if chosen in (each, "all")]
    rows = np.sort(np.concatenate([data.rows(each) for each in chosen_splits]))
    if len(rows) == 0:
        raise UserError(f"the {chosen} split of {data.folder} holds no image.")
    leaked = sum(len(data.rows("train")) for each in chosen_splits if own and each == "train")
    return Seen(rows, leaked, saw(bundle, chosen, own, leaked, len(rows)))


def saw(bundle: Bundle, chosen: str, own: bool, leaked: int, count: int) -> str:
    """What the generator saw, in words."""
    which = "all images" if chosen == "all" else f"the {chosen} split"
    if leaked:
        text = (
            f"Leakage: the generator, its autoencoder or what they started from was trained on {leaked:,} of the "
            f"{count:,} real images, so a gain may be what it remembers of the patients that are scored."
        )
    elif own:
        text = (
            f"Real images are {which} of the collection, of whose patients the generator was trained on none. It was "
            "trained on other images of the collection: a gain may be what these show, and no arm says what a "
            "classifier would gain by them directly."
        )
        text += " Its training was stopped and its guidance chosen by the validation split." if chosen != "test" else ""
    else:
        text = (
            f"Real images are {which} of a collection that the generator was not trained on; that it saw no patient of "
            "it otherwise is the word of whoever ran this (external=true)."
        )
    if "init" in bundle.info.get("settings", {}) and "init_data" not in bundle.info:
        text += " It began from another model, whose training images its bundle does not name."
    return text


def classes_of(data: Prepared, rows: np.ndarray, least: int) -> Targets:
    """What the images show, of the findings without their sides that enough of `rows` show and do not.

    Raises:
        UserError: there is none.
    """
    found = all_targets(data.manifest)
    columns = [at for at, name in enumerate(found.classes) if not is_sided(name) and name != NO_FINDING]
    names = [found.classes[at] for at in columns]
    return learnable(Targets(names, found.values[:, columns], found.sources), rows, least, "suite.run.min_images")


def model_of(
    bundle: Bundle, store: Path, device: str, steps: int | None, guidance: float | None, precision: str
) -> Model:
    """The model as it is sampled: as its bundle says, where nothing is stated."""
    own = Sampling.of_bundle(bundle.info)
    rule = None if guidance is None else Guidance(float(guidance))
    where = torch.device(device)
    sampling = replace(own, steps=steps or own.steps, guidance=rule, precision=resolved(precision, where))
    return Model.of(bundle, sampling, store, where)


def source_of(data: Prepared, rows: np.ndarray, targets: Targets, model: Model, recipe: Recipe, seed: int) -> Source:
    """The images of `rows`, and those that a model draws of their texts, each once.

    A replica of all rows is drawn when it is first asked for, and held at the classifier's size in 16 bits.
    """
    texts = data.texts(rows)
    told = data.people(rows) if model.pipeline.conditioner.takes_patients else None

    @cache
    def replica(index: int) -> np.ndarray:
        parts = []
        for start in range(0, len(rows), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            seeds = [seed + index * len(rows) + at for at in range(len(rows))[part]]
            images = model.draw(texts[part], seeds, told and told[part])
            parts.append(to_file(recipe.shown(images).cpu()))
        return np.concatenate(parts)

    def synthetic(places: np.ndarray, index: int) -> Tensor:
        return to_pixels(replica(index)[places])

    values = targets.values[rows]
    return Source(
        targets.classes,
        values,
        data.patients(rows),
        data.column("source").astype(str)[rows],
        lambda places: data.pixels(rows[places]),
        synthetic,
        values,
        groups_of(data, rows),
        {"data": data.identity, "rows": rows.tolist(), "targets": targets.digest},
        {"bundle": model.bundle.sha256, "guidance": model.sampling.rule.settings(), "seed": seed, **model.facts()},
    )


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    gain = content["utility_gain"]
    stated, said = gain["settings"], verdict(gain, content["utility_gain_over_real_once"])
    parts = [INTRO, f"**{said}**", stated["generator_saw"]]
    left = [f"{name} ({count})" for name, count in stated["classes_left_out"].items()]
    left += [f"{name} (by patients)" for name in stated["fewer_patients"]["classes"]]
    named = ", ".join(stated["findings"])
    parts.append(f"{gain['n']:,} real images of {stated['patients']:,} patients. Findings: {named}.")
    parts.append(f"Too few images show, or do not show: {', '.join(left) or 'none'}.")
    groups = ", ".join(name.replace("_", " ") for name in stated["subgroups_left_out"])
    parts.append(f"Subgroups of too few patients: {groups or 'none'}.")
    return render_markdown(content, "Does synthetic data help?", "\n\n".join(parts))


def verdict(entry: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """What the primary outcome says, in words, with the smallest gain that the design could see.

    Args:
        base: the gain over the real images once, which the control is not better than but by chance.

    >>> gain = {"value": 0.01, "ci95": [-0.01, 0.03], "settings": {"smallest_gain": 0.03}}
    >>> verdict(gain, gain).split(",")[0]
    'No gain was found: 0.0100 (-0.0100 to 0.0300) over the control'
    >>> verdict(gain | {"ci95": [0.005, 0.015]}, gain).split(":")[0]
    'Synthetic images help over the control alone'
    """
    ends, smallest = entry["ci95"], entry["settings"].get("smallest_gain")
    if ends is None or smallest is None:
        return f"Nothing can be said: {entry.get('ci95_reason', 'there is no interval')}."
    found = "No gain was found"
    if ends[0] > 0:
        alone = base["ci95"] is None or base["ci95"][0] <= 0
        found = "Synthetic images help over the control alone" if alone else "Synthetic images help"
    elif ends[1] < 0:
        found = "Synthetic images harm"
    return (
        f"{found}: {spanned(entry)} over the control, {spanned(base)} over the real images once. The design sees "
        f"gains of {number(smallest)} and more with a power of {POWER:g}."
    )


def spanned(entry: Mapping[str, Any]) -> str:
    """A figure with its interval."""
    ends = entry["ci95"]
    return number(entry["value"]) + ("" if ends is None else f" ({number(ends[0])} to {number(ends[1])})")
