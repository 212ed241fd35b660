"""The files of a bundle's cards."""

import json
import shutil
from pathlib import Path

from cxr_ldm.artifacts import building
from cxr_ldm.errors import UserError
from cxr_ldm.report.cards import model, synthetic
from cxr_ldm.report.cards.facts import PEOPLE, WORST, Facts
from cxr_ldm.report.cards.parts import Card, html, markdown

ENDINGS = {".md": markdown, ".html": html}
KNOWN = {f"{file}{end}" for file in (model.FILE, synthetic.FILE) for end in ENDINGS} | {PEOPLE, WORST}


def cards_of(facts: Facts) -> list[Card]:
    """The model card, and the card of its images where it draws any."""
    return [model.model_card(facts), *([synthetic.data_card(facts)] if facts.kind == "ldm" else [])]


def files(facts: Facts) -> dict[str, bytes]:
    """Every card in both forms, by file name, the pictures that the Markdown names, and who is in the data as JSON."""
    cards = cards_of(facts)
    found = {f"{card.file}{end}": write(card).encode() for card in cards for end, write in ENDINGS.items()}
    if facts.people is not None:
        found[PEOPLE] = (json.dumps(facts.people, indent=1) + "\n").encode()
    return found | {picture.path.name: picture.path.read_bytes() for card in cards for picture in card.pictures}


def write_cards(facts: Facts, folder: Path) -> list[Path]:
    """Write the cards in a folder, whole or not at all, in place of older cards and of nothing else.

    Raises:
        UserError: the folder holds something that is no card.
    """
    made = files(facts)
    if folder.is_dir():
        foreign = sorted(path.name for path in folder.iterdir() if path.name not in KNOWN)
        if foreign:
            raise UserError(f"out={folder} holds {foreign[0]}, which is no card; name another folder.")
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with building(folder) as partial:
        for name, content in made.items():
            (partial / name).write_bytes(content)
    return sorted(folder.iterdir())
