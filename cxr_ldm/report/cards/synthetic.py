"""The card of a model's images as data, after the Synthetic Medical Data card of Zamzmi et al. (arXiv 2406.11143).

Theirs is written for a finished set of images, with a part that describes it and seven criteria: congruence, coverage,
constraint, completeness, compliance, comprehension, consistency. A model is a set that is drawn when it is asked for,
so this card describes what a model draws, by the images that its evaluation measured.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from cxr_ldm.card import KINDS, WARNING
from cxr_ldm.imaging.provenance import provenance
from cxr_ldm.report.cards.facts import NOT_MEASURED, Facts
from cxr_ldm.report.cards.model import NOT_USES, USES, failures, guidance
from cxr_ldm.report.cards.parts import Block, Card, Section, listed
from cxr_ldm.report.cards.tables import composition, figure_table, spelt, terms_blocks
from cxr_ldm.report.html import table
from cxr_ldm.report.terminal import GROUPS, cell, number

FILE = "data_card"
Criterion = Callable[[Facts], Sequence[Block]]
CONGRUENCE = ("fid_", "kid_", "precision_", "density_", "contrast_", "sharpness", "entropy", "ssim", "psnr", "mae")
COVERAGE = ("recall_", "coverage_", "pairwise_")
CONSTRAINT = ("adherence_", "side_", "auroc_mean", "auroc_own_mean", "prompt_retrieval")
COMPLIANCE = ("near_copies", "feature_copies", "nearest_", "nearer_", "closer_", "copies_", "extract")
TASK = ("auroc_trained_",)


def data_card(facts: Facts) -> Card:
    """The card of what a diffusion model draws."""
    sections = [description(facts), generation(facts), use(facts)]
    sections += [Section(f"{title}: {question}", find(facts)) for (title, question), find in CRITERIA.items()]
    sections += [task(facts), limits(facts)]
    return Card(FILE, f"Synthetic data card: images of {facts.name}", WARNING, sections)


def description(facts: Facts) -> Section:
    """What the images are."""
    n = facts.run.get("data", {}).get("images") if facts.run else None
    made = {entry["n"] for name, entry in (facts.content or {}).items() if name.startswith("kid_")}
    pairs = [
        ("name", facts.name),
        ("version", f"bundle {facts.sha256}"),
        ("made by", str(facts.config_json["software"])),
        ("modality", "synthetic chest radiographs; as DICOM Secondary Capture (OT), never DX"),
        (
            "size of an image",
            f"{facts.info['size']} × {facts.info['size']} pixels" if facts.info.get("size") else "any",
        ),
        ("levels of grey", "8 bits, standard display: the patient's right is at the left of the image"),
        (
            "number of images",
            "as many as are asked for; each has a prompt and a seed of its own, and can be drawn again",
        ),
        ("images that were measured", f"{max(made):,}" if made else NOT_MEASURED),
        ("real images beside them", f"a collection of {n:,}" if n else NOT_MEASURED),
        ("owner and contact", "whoever runs the model; not stated in a bundle"),
        ("date", "of each image in its DICOM header; of the measurement: not stated"),
    ]
    return Section("Description", [listed("", pairs)])


def generation(facts: Facts) -> Section:
    """How they are made, and from whose images the model learnt."""
    info = facts.info
    pairs = [
        ("method", f"generative: {KINDS.get(facts.kind, 'a model').lower()}; no physics, no patient model"),
        ("asked for by", "a text" + (", view, age and sex" if "attributes" in facts.config_json["parts"] else "")),
        ("findings in its training texts", ", ".join(info.get("findings", [])) or "not stated"),
        ("guidance", guidance(info.get("guidance", {}))),
        ("sampler", spelt(facts.sampling) or NOT_MEASURED),
    ]
    return Section("Generation", [listed("", pairs), *terms_blocks(facts), *composition(facts.people)])


def use(facts: Facts) -> Section:
    """For what, for what not, and on which terms."""
    terms = "Terms: those of the collections above hold for what learnt from them, as far as their owners say so."
    return Section("Intended use and terms", [USES[facts.kind], NOT_USES, terms])


def starting(facts: Facts, starts: Sequence[str]) -> list[dict[str, Any]]:
    """Figures whose names begin so, those on curves left out."""
    return [row for row in facts.figures if row["name"].startswith(tuple(starts)) and "_at_" not in row["name"]]


def congruence(facts: Facts) -> list[Block]:
    """Distances from real images, and statistics of pixels."""
    return [figure_table("", starting(facts, CONGRUENCE))]


def coverage(facts: Facts) -> list[Block]:
    """How much of the real variety is there."""
    return [figure_table("", starting(facts, COVERAGE))]


def constraint(facts: Facts) -> list[Block]:
    """Whether an image shows what was asked for; anatomy is judged on phantoms alone, whose geometry is known."""
    rows = [row for row in facts.figures if row["name"].startswith(CONSTRAINT)]
    geometry = any(row["name"].startswith("adherence_") for row in rows)
    words = "read by the phantom's geometry, above" if geometry else NOT_MEASURED
    return [figure_table("", rows), f"Anatomy and physics of the images: {words}."]


def completeness(facts: Facts) -> list[Block]:
    """What stands beside each image."""
    named = [name for name in inspect.signature(provenance).parameters if name != "more"]
    fields = ", ".join(["synthetic", *named, "software"])
    pairs = [
        ("beside each image and within it", fields),
        ("label", "the prompt that it was asked for by; whether it shows that is under constraint"),
        ("masks and boxes", "none"),
        ("share of images with all fields", NOT_MEASURED),
    ]
    return [listed("", pairs)]


def compliance(facts: Facts) -> list[Block]:
    """Privacy, and the standards of the files."""
    pairs = [
        ("differential privacy", "none was applied"),
        ("k-anonymity, l-diversity, t-closeness", NOT_MEASURED),
        ("marks", "PNG and DICOM say that they are synthetic; an invisible mark and a C2PA signature where asked for"),
        ("standard of the files", "DICOM PS3.3 Secondary Capture with Synthetic Data (0008,001C)"),
    ]
    return [figure_table("Copies of training images", starting(facts, COMPLIANCE)), listed("", pairs)]


def comprehension(facts: Facts) -> list[Block]:
    """Whether people can tell how the images were made, and what readers make of them."""
    pairs = [
        ("documentation", "this card, the model card, config.json of the bundle, and provenance in each image"),
        ("clarity of the documentation", NOT_MEASURED),
    ]
    told = [
        row
        for content in facts.readers.values()
        for row in table(content)
        if row["name"].startswith(("accuracy_which_", "accuracy_real_", "kappa_which", "kappa_real"))
    ]
    about = "Accuracy is one half by chance; kappa is their agreement beyond it."
    return [listed("", pairs), figure_table("Readers who tell real from synthetic", told, about)]


def consistency(facts: Facts) -> list[Block]:
    """How the same figure differs over findings, and over groups of people where that was measured."""
    rows = [(f"AUROC over findings, {what}", between(facts, start)) for what, start in SPREADS.items()]
    groups = [(f"by {group}", by_group(facts, group)) for group in GROUPS]
    return [listed("", [*rows, *groups, ("over time and versions", NOT_MEASURED)])]


SPREADS = {"texts of the collection": "auroc_", "prompts in our own words": "auroc_own_"}


def between(facts: Facts, start: str) -> str:
    """The lowest and the highest of the figures of single findings."""
    other = tuple(each for each in (*SPREADS.values(), "auroc_trained_") if each != start and each.startswith(start))
    shown = {row["name"] for row in facts.figures}
    found = {
        name: entry["value"]
        for name, entry in (facts.content or {}).items()
        if name in shown and name.startswith(start) and not (other and name.startswith(other)) and "mean" not in name
    }
    if len(found) < 2:
        return NOT_MEASURED
    low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    names = [each.removeprefix(start).replace("_", " ") for each in (low, high)]
    return f"{number(found[low])} ({names[0]}) to {number(found[high])} ({names[1]}), {len(found)} findings"


def by_group(facts: Facts, group: str) -> str:
    """Figures of one kind of group in a line, each with all its groups."""
    said: dict[str, list[str]] = {}
    for name, entry in (facts.content or {}).items():
        figure, found, member = name.partition(f"_{group}_")
        if found:
            called = f"{figure} on real images" if member.endswith("_real") else figure
            said.setdefault(called, []).append(f"{member.removesuffix('_real').replace('_', ' ')} {cell(entry)}")
    return "; ".join(f"{called} for {', '.join(members)}" for called, members in said.items()) or NOT_MEASURED


CRITERIA: dict[tuple[str, str], Criterion] = {
    ("Congruence", "are they like real ones?"): congruence,
    ("Coverage", "is the variety of real ones there?"): coverage,
    ("Constraint", "do they show what they should?"): constraint,
    ("Completeness", "is all there that a task needs?"): completeness,
    ("Compliance", "privacy and standards"): compliance,
    ("Comprehension", "can people tell what they are?"): comprehension,
    ("Consistency", "is the quality the same throughout?"): consistency,
}


def task(facts: Facts) -> Section:
    """What a classifier learns from them."""
    about = (
        "A classifier that is trained on generated images, or on the real ones of the same texts, on real test images."
    )
    return Section("Performance on a task", [figure_table("", starting(facts, TASK), about)])


def limits(facts: Facts) -> Section:
    """Ethics and limits: what the measurement itself found wrong."""
    ethics = (
        "The images show nobody, yet they come of images of people, and repeat what is uneven in these. A rare "
        "finding, a rare group or a device may be missing or wrong, and an image may look right and be wrong."
    )
    return Section("Ethics and limits", [ethics, *failures(facts).blocks])
