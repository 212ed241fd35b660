"""What a card consists of, and the card as Markdown and as one self-contained HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxr_ldm.report.html import data_uri, environment
from cxr_ldm.report.tables import Table, lines

TEMPLATE = "card.html.jinja"


@dataclass(frozen=True)
class Picture:
    """A PNG file and what it shows."""

    path: Path
    caption: str


Block = str | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: paragraphs, tables and pictures."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Card:
    """A card; `file` is what its files are called, without an ending."""

    file: str
    title: str
    about: str
    sections: Sequence[Section]

    @property
    def pictures(self) -> list[Picture]:
        """In the order of the page."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Picture)]


def listed(title: str, pairs: Sequence[tuple[str, str]]) -> Table:
    """A table of two columns, a name and what is said of it."""
    return Table(title, "", ["", ""], [[name, text] for name, text in pairs], words=True)


def markdown(card: Card) -> str:
    """The card as Markdown; pictures are named as if they lay beside it.

    >>> markdown(Card("a", "A", "About.", [Section("One", ["Text."])]))
    '# A\\n\\nAbout.\\n\\n## One\\n\\nText.\\n'
    """
    found = [f"# {card.title}", card.about]
    for section in card.sections:
        found += [f"## {section.title}", *(block_lines(block) for block in section.blocks)]
    return "\n\n".join(found) + "\n"


def block_lines(block: Block) -> str:
    """One block as Markdown."""
    if isinstance(block, Picture):
        return f"![{block.caption}]({block.path.name})\n\n{block.caption}"
    if isinstance(block, str):
        return block
    rows = [[cell.replace("|", "\\|") for cell in row] for row in block.rows]
    named = [f"### {block.title}"] if block.title else []
    about = [block.about] if block.about else []
    return "\n\n".join([*named, *about, "\n".join(lines(replace(block, rows=rows)))])


def html(card: Card) -> str:
    """The card as one page, its pictures within it; nothing is fetched from anywhere."""
    pictures = {picture.path: data_uri(picture.path, "png") for picture in card.pictures}
    return environment().get_template(TEMPLATE).render(card=card, pictures=pictures, kind=kind)


def kind(block: Block) -> str:
    """What the page asks of a block."""
    return "table" if isinstance(block, Table) else "picture" if isinstance(block, Picture) else "text"
