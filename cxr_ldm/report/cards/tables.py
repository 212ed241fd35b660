"""Tables that both cards show: measured figures, collections and their terms, and who is in the training data."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_ldm import lineage
from cxr_ldm.artifacts import flatten
from cxr_ldm.card import collections, uncounted
from cxr_ldm.report.cards.facts import NOT_MEASURED, Facts
from cxr_ldm.report.cards.parts import Block
from cxr_ldm.report.tables import Table

FIGURES = ["figure", "value", "95 % interval", "real images", "n"]


def figure_table(title: str, rows: Sequence[Mapping[str, Any]], about: str = "") -> Table:
    """Rows of a report as a table; one row that says so where nothing was measured."""
    shown = [
        [
            f"{row['name']}: {row['meaning']} ({row['direction']})" if row["meaning"] else row["name"],
            row["value"] + (f" ± {row['error']} SE" if row["error"] else ""),
            row["interval"] + interval_of(row),
            row["real"],
            row["n"],
        ]
        for row in rows
    ]
    return Table(title, about, FIGURES, shown or [[NOT_MEASURED, "–", "–", "–", "–"]])


def interval_of(row: Mapping[str, Any]) -> str:
    """What an interval is over, or why there is none.

    >>> interval_of({"over": "–", "reason": "a count"}), interval_of({"over": "patients", "reason": None})
    (' (a count)', ', over patients')
    """
    if row["over"] == "–":
        return f" ({row['reason']})" if row["reason"] else ""
    return ", over what is not stated" if row["over"] == "not stated" else f", over {row['over']}"


def spelt(stated: Any) -> str:
    """Settings in words: each with its key, those of parts behind a dot.

    >>> spelt({"size": 2560, "part": {"lr": 0.5}}), spelt("test"), spelt({"gpu": None})
    ('size 2,560; part.lr 0.5', 'test', 'gpu none')
    """
    if not isinstance(stated, Mapping):
        return str(stated)
    return "; ".join(f"{key} {said(value)}" for key, value in flatten(stated) if not key.endswith("_partial_"))


def said(value: Any) -> str:
    """A number with its thousands, and words for what is none."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def terms_blocks(facts: Facts) -> list[Block]:
    """The collections that made a model, its VAE and what it started from, with their terms."""
    own, vae = facts.info.get("data", {}), facts.info.get("vae_data")
    blocks = [collection_block("The model learnt from", own)]
    blocks += [
        collection_block("It, or its autoencoder, started from a model that learnt from", each)
        for each in facts.info.get("init_data", [])
    ]
    if vae is not None and vae.get("fingerprint") != own.get("fingerprint"):
        blocks.append(collection_block("Its autoencoder learnt from", vae))
    return blocks


def collection_block(title: str, data: Mapping[str, Any]) -> Block:
    """Training images by collection with their terms, or why they are not known."""
    rows = [[known.title, f"{count:,}", known.terms, known.cite or "–"] for known, count in collections(data)]
    if not rows:
        return f"{title}: {uncounted(data)}"
    return Table(title, "", ["collection", "training images", "terms", "to name"], rows, words=True)


def to_name(facts: Facts) -> list[tuple[str, str]]:
    """Collections, and whom to name where the model or its images are used, each once."""
    data = lineage.learnt_from(facts.info)
    return list(
        dict.fromkeys((known.title, known.cite) for each in data for known, _ in collections(each) if known.cite)
    )


def composition(content: Mapping[str, Any] | None) -> list[Block]:
    """Splits, view, sex, age and findings of the training collection; one sentence without a people.json."""
    if content is None:
        return [
            "Splits, patients, view, sex, age and findings of the training collection: not measured, since its "
            "manifest is not here; prepared=FOLDER names it."
        ]
    splits = [[name, *(f"{count:,}" for count in counts)] for name, *counts in content["splits"]]
    groups = [[group, name, f"{count:,}"] for group, name, count in content["groups"]]
    read = [[name, f"{count:,}"] for name, count in content["findings"]]
    return [
        Table("Images and patients by split", "", ["split", "images", "patients"], splits),
        Table("Who is in the training images", "", ["", "", "images"], groups),
        Table(
            "What their texts say is there", "", ["finding", "images"], read or [["none was read from the texts", "–"]]
        ),
    ]
