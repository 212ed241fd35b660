"""The model card, after the sections of Mitchell et al. (2019), Model Cards for Model Reporting."""

from typing import Any

from cxr_ldm.card import DETAIL, KINDS, WARNING, subject
from cxr_ldm.report.by_finding import Row, by_finding, measured
from cxr_ldm.report.cards.facts import NOT_MEASURED, Facts
from cxr_ldm.report.cards.parts import Block, Card, Picture, Section, listed
from cxr_ldm.report.cards.tables import composition, figure_table, spelt, terms_blocks, to_name
from cxr_ldm.report.headline import headline
from cxr_ldm.report.tables import Table, finding_table, headline_table
from cxr_ldm.report.terminal import GROUPS, cell, number

FILE = "model_card"
USES = {
    "ldm": "Research and teaching: to draw images of a text, to study what such a model learns and misses, and to take "
    "part in experiments that say which of their images are synthetic.",
    "vae": "Research and teaching: to bring pictures into latents and back, as the first stage of a diffusion model.",
    "classifier": "Research: to judge generated images beside real ones. It measures models and judges nobody's image.",
    "upscaler": "Research and teaching: to draw larger pictures of generated images.",
}
ABOUT = {
    "ldm": WARNING,
    "upscaler": DETAIL,
    "vae": "What it gives back is near its input and not the same: no basis for a diagnosis or for treatment.",
    "classifier": "What it says of an image is for measuring models, and no basis for a diagnosis or for treatment.",
}
NOT_USES = (
    "Not for: diagnosis, triage or treatment, or any decision about a person; images that are passed off as a "
    "patient's; training or testing a device without real images of those whom it is for."
)
CHANCE = 0.5  # AUROC of a coin
QUALITY = (
    *("Reconstruction", "Distance from real images", "Does the image say what the prompt says?", "Diversity"),
    *("Image statistics", "Further figures"),
)
COPIES = "Memory of the training images"


def model_card(facts: Facts) -> Card:
    """The card of a model."""
    sections = [identity(facts), use(facts), data(facts), attribution(facts), quality(facts), copies(facts)]
    sections += [subgroups(facts), failures(facts), cost(facts), how(facts)]
    return Card(FILE, f"Model card: {facts.name}", ABOUT[facts.kind], sections)


def identity(facts: Facts) -> Section:
    """What it is."""
    info = facts.info
    trained = info.get("settings", {}).get("training", {})
    pairs = [
        ("what", f"{KINDS.get(facts.kind, 'A model')} of {subject(info)}"),
        ("name", facts.name),
        ("size", f"{info['size']} × {info['size']} pixels, grey" if info.get("size") else "any"),
        ("written by", str(facts.config_json["software"])),
        ("sha256 of the bundle", facts.sha256),
        ("parts", ", ".join(f"{name} ({spec['part']})" for name, spec in facts.config_json["parts"].items())),
        ("stored weights", str(info.get("weights", "as trained"))),
        ("licence of the code", "Apache-2.0; of the weights, see data and terms"),
    ]
    if facts.kind == "ldm":
        pairs.append(("guidance", guidance(info.get("guidance", {}))))
    if "teacher" in info:
        pairs.append(("student of", str(info["teacher"])))
    if trained:
        pairs.append(("trained with", spelt(trained)))
    return Section("The model", [listed("", pairs)])


def guidance(stated: Any) -> str:
    """The scale that it is sampled with, and what chose it.

    >>> guidance({"scale": 3.0, "chosen": {"split": "val", "rule": "x"}}), guidance({})
    ('3, chosen on val', 'none stated; 1')
    """
    if "scale" not in stated:
        return "none stated; 1"
    chosen = stated.get("chosen", "stated")
    return f"{stated['scale']:g}, " + (chosen if isinstance(chosen, str) else f"chosen on {chosen['split']}")


def use(facts: Facts) -> Section:
    """What it is for and what it is not for."""
    knows = facts.info.get("findings")
    blocks: list[Block] = [USES[facts.kind], NOT_USES]
    if knows:
        blocks.append(f"Words of findings that its training texts held: {', '.join(knows)}.")
    return Section("Intended use", blocks)


def data(facts: Facts) -> Section:
    """What it learnt from, on which terms, and who is in there."""
    return Section("Data and terms", [*terms_blocks(facts), *composition(facts.people)])


def attribution(facts: Facts) -> Section:
    """Whom to name."""
    own = ("the software", f"{facts.config_json['software']}, by CITATION.cff")
    return Section(
        "Attribution", ["To name where the model or its images are used:", listed("", [*to_name(facts), own])]
    )


def quality(facts: Facts) -> Section:
    """All figures but those of copies and cost."""
    if facts.content is None:
        return Section("Measured quality", [nothing(facts)])
    rows = facts.of_section(*QUALITY)
    top = headline_table(facts.content)
    blocks: list[Block] = [top] if top else []
    blocks.append(figure_table("All figures", rows))
    return Section("Measured quality", blocks)


def nothing(facts: Facts) -> str:
    """What is said where these weights were not measured."""
    return f"Not measured: no metrics.json of exactly these weights ({facts.sha256[:12]}) is at hand."


def copies(facts: Facts) -> Section:
    """Whether it gives its training images back."""
    rows = facts.of_section(COPIES)
    about = "Images that repeat a training image would show a person. Zero found is not zero possible: see n."
    return Section("Copies of training images", [figure_table("", rows, about)])


def subgroups(facts: Facts) -> Section:
    """By finding, and by sex, age and view where an evaluation measured them."""
    content = facts.content or {}
    tables: list[Block] = []
    known = by_finding(content) if content else []
    if known and measured(known)[0]:
        tables.append(finding_rows(known))
    further = finding_table(content) if content else None
    if further is not None:
        tables.append(further)
    if not tables:
        tables.append(f"By finding: {NOT_MEASURED}.")
    return Section("Subgroups", [*tables, *(by_group(facts, group) for group in GROUPS)])


def finding_rows(known: list[Row]) -> Table:
    """The table by finding of a report, generated and real images in columns of their own."""
    filled, _ = measured(known)
    headings = [heading for name in filled.values() for heading in (name, f"{name}, real images")]
    rows = [
        [row.finding, row.count, *(figure.text for name in filled for figure in row.figures[name])] for row in known
    ]
    return Table("By finding", "", ["finding", "images", *headings], rows)


def by_group(facts: Facts, group: str) -> Block:
    """Figures whose names say that they are of one sex, age or view."""
    rows = [row for row in facts.figures if f"_{group}_" in row["name"]]
    return figure_table(f"By {group}", rows) if rows else f"By {group}: {NOT_MEASURED}."


def failures(facts: Facts) -> Section:
    """Aims that were missed, findings that are not told from chance, what was not measured, and the worst images."""
    if facts.content is None:
        return Section("Failures", [nothing(facts)])
    missed = [[row.label, row.value, row.aim] for row in headline(facts.content) if row.missed]
    if missed:
        blocks: list[Block] = [Table("Aims that were missed", "", ["figure", "value", "aim"], missed)]
    else:
        stated = facts.run.get("targets")
        blocks = ["No stated aim was missed." if stated else "No aims were stated for this measurement."]
    weak = at_chance(facts)
    if weak:
        about = "AUROC of generated images whose interval holds that of a coin, so that the finding may not be drawn."
        blocks.append(Table("Findings that are not told from chance", about, ["figure", "value", "n"], weak))
    left_out = [(str(what), str(why)) for what, why in facts.run.get("not_measured", {}).items()]
    blocks += [listed("What this measurement left out", left_out)] if left_out else []
    caption = "The images least like any real one, by their features, as the evaluation found them"
    blocks.append(
        Picture(facts.worst, caption)
        if facts.worst
        else "Worst images: none is shown; the folder of an evaluation that found no copy holds them (evaluation=NAME)."
    )
    return Section("Failures", blocks)


def at_chance(facts: Facts) -> list[list[str]]:
    """AUROC of single findings on generated images whose interval holds one half."""
    rows = {row["name"] for row in facts.figures}
    found = {
        name: entry
        for name, entry in (facts.content or {}).items()
        if name in rows and name.startswith("auroc_") and entry["ci95"] and "mean" not in name
    }
    return [[name, cell(each), f"{each['n']:,}"] for name, each in found.items() if each["ci95"][0] <= CHANCE]


def cost(facts: Facts) -> Section:
    """What it took to train, and what it takes to draw."""
    made = facts.info.get("settings", {})
    recipe, record = made.get("training", {}), facts.record or {}
    seconds = record.get("seconds")
    pairs = [
        ("images seen in training", f"{recipe['images']:,}" if "images" in recipe else "not stated"),
        ("images in a batch", f"{recipe['batch_size']:,}" if "batch_size" in recipe else "not stated"),
        ("optimiser steps", f"{record['steps']:,}" if "steps" in record else NOT_MEASURED),
        ("minutes of training", number(seconds / 60) if seconds is not None else NOT_MEASURED),
        ("precision of training", str(made.get("trainer", {}).get("precision", "not stated"))),
        ("measured on", spelt(facts.run["hardware"]) if facts.run else NOT_MEASURED),
    ]
    return Section("Cost", [listed("", pairs), figure_table("Of drawing", facts.of_section("Cost"))])


def how(facts: Facts) -> Section:
    """What made the figures."""
    if facts.content is None:
        return Section("How it was measured", [nothing(facts)])
    keys = ("command", "git_commit", "seed", "data", "split", "settings_chosen_on", "versions")
    pairs = [("evaluation", str(facts.evaluation)), ("sampling", spelt(facts.sampling) or "nothing was drawn")]
    pairs += [(key, spelt(facts.run[key])) for key in keys if key in facts.run]
    return Section("How it was measured", [listed("", pairs)])
