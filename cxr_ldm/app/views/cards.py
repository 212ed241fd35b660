"""The cards of a model: what it is, what it learnt from and on which terms, what was measured, and where it fails."""

from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from cxr_ldm.app import library, ui
from cxr_ldm.app.viewer import viewer
from cxr_ldm.imaging.grids import cells
from cxr_ldm.report.cards.facts import facts_of
from cxr_ldm.report.cards.pages import cards_of
from cxr_ldm.report.cards.parts import Card, Picture, block_lines, html, markdown

COLUMNS = 4  # of the picture of the worst images, see `evaluation.memory.extremes`


@st.cache_data(max_entries=8, show_spinner="Reading what was measured …")
def made(folder: Path, sha256: str, outputs: Path, measured: tuple[str, ...]) -> list[Card]:
    """The cards of a model; a new evaluation makes them anew."""
    return cards_of(facts_of(folder, outputs))


def show(card: Card, name: str) -> None:
    """A card below two buttons that keep it as a file."""
    left, right = st.columns(2)
    page, text = f"{name}_{card.file}.html", f"{name}_{card.file}.md"
    left.download_button("As a page (HTML)", html(card), page, "text/html", key=page, width="stretch")
    right.download_button("As Markdown", markdown(card), text, "text/markdown", key=text, width="stretch")
    st.info(card.about, icon=":material/info:")
    for section in card.sections:
        st.subheader(section.title)
        for block in section.blocks:
            if isinstance(block, Picture):
                with Image.open(block.path) as sheet:
                    pictures = cells(np.asarray(sheet.convert("L")), COLUMNS)
                viewer(pictures, [""] * len(pictures), f"{card.file}_picture", columns=COLUMNS)
                st.caption(block.caption)
            else:
                st.markdown(block_lines(block))


# Markdown has no table without headings; on a phone its cells break where they must
STYLE = """<style>
thead:not(:has(th:not(:empty))) { display: none }
thead:not(:has(th:not(:empty))) ~ tbody td:last-child { overflow-wrap: anywhere }
</style>"""

ui.header("Cards")
st.html(STYLE)
with ui.messages():
    model = ui.choose_model()
    outputs = library.outputs().resolve()
    cards = made(model.folder, library.bundle_sha256(model.folder), outputs, tuple(library.measurements(model)))
    for tab, card in zip(st.tabs([each.title.split(":")[0] for each in cards]), cards, strict=True):
        with tab:
            show(card, model.name.split(" ")[0])
