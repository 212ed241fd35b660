"""The files of a bundle's cards."""

from pathlib import Path

from cxr_ldm.artifacts import building
from cxr_ldm.report.cards.facts import Facts
from cxr_ldm.report.cards.model import model_card
from cxr_ldm.report.cards.parts import Card, html, markdown
from cxr_ldm.report.cards.synthetic import data_card

ENDINGS = {".md": markdown, ".html": html}


def cards_of(facts: Facts) -> list[Card]:
    """The model card, and the card of its images where it draws any."""
    return [model_card(facts), *([data_card(facts)] if facts.kind == "ldm" else [])]


def files(facts: Facts) -> dict[str, bytes]:
    """Every card in both forms, by file name, and the pictures that the Markdown names."""
    cards = cards_of(facts)
    found = {f"{card.file}{end}": write(card).encode() for card in cards for end, write in ENDINGS.items()}
    return found | {picture.path.name: picture.path.read_bytes() for card in cards for picture in card.pictures}


def write_cards(facts: Facts, folder: Path) -> list[Path]:
    """Write the cards in a new folder, whole or not at all.

    Raises:
        UserError: the folder holds something already.
    """
    made = files(facts)
    with building(folder) as partial:
        for name, content in made.items():
            (partial / name).write_bytes(content)
    return sorted(folder.iterdir())
