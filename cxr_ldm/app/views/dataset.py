"""A prepared collection: filtered, distributed, one image with its report, and a generated one beside it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from cxr_ldm.app import ui
from cxr_ldm.app.gallery import gallery
from cxr_ldm.app.generation import Request
from cxr_ldm.app.viewer import viewer
from cxr_ldm.data.findings.highlights import highlights
from cxr_ldm.data.prepared.browse import Catalogue, Query
from cxr_ldm.imaging.grids import to_uint8

PER_PAGE = 24
SIDE = 140  # of a small picture, in pixels of the screen
CERTAINTIES = ["present", "uncertain", "absent"]
ANY = "any"


def query(catalogue: Catalogue) -> Query:
    """The filters."""
    text = st.text_input("Text holds", key="text", help="All of these words or parts of words, in any case.")
    findings = st.multiselect("Findings", catalogue.names(), key="findings")
    certainty = st.multiselect("said to be", CERTAINTIES, default=["present"], key="certainty")
    side = st.selectbox("on the side", [ANY, "right", "left", "bilateral"], key="side")
    chosen = {
        f"{name}s" if name != "sex" else "sexes": st.multiselect(name.capitalize(), values, key=name)
        for name in ("view", "sex", "split", "source")
        if len(values := catalogue.values(name)) > 1
    }
    known = catalogue.ages[np.isfinite(catalogue.ages)]
    ages = None
    if len(known) and known.min() < known.max():
        whole = (int(known.min()), int(np.ceil(known.max())))
        picked = st.slider("Age", *whole, whole, key="age")
        ages = None if picked == whole else picked  # the whole range keeps those of unknown age
    return Query(findings, certainty, None if side == ANY else side, ages=ages, text=text, **chosen)


def pictures(catalogue: Catalogue, rows: np.ndarray) -> None:
    """One page of pictures with what they show; a click opens one in place."""
    pages = max(1, -(-len(rows) // PER_PAGE))
    page = st.number_input(f"Page of {pages}", 1, pages, 1, key="page") if pages > 1 else 1
    part = rows[(page - 1) * PER_PAGE : page * PER_PAGE]
    if not len(part):
        st.info("Nothing matches. Take a filter away.")
        return
    entries = [catalogue.prepared.entry(int(row)) for row in part]
    small = [ui.picture(pixels, SIDE) for pixels in catalogue.prepared.pixels(part)]
    titles = [f"{entry['image_id']}: {entry['text']}" for entry in entries]
    clicked = gallery(small, [shows(entry) for entry in entries], "pictures", titles=titles, side=SIDE)
    if clicked is not None:
        st.session_state["chosen_row"] = int(part[clicked])
    if st.session_state.get("chosen_row") in part:
        opened(catalogue, st.session_state["chosen_row"])


def shows(entry: Mapping[str, Any]) -> str:
    """The findings of an image in a few words, by its report."""
    present = [found["name"] for found in entry["findings"] or [] if found["certainty"] == "present"]
    return ", ".join(dict.fromkeys(present)) or ("no finding" if entry["findings"] is not None else "not read")


def closed() -> None:
    """The dialog was put away."""
    st.session_state.pop("chosen_row", None)


@st.dialog("Image", width="large", on_dismiss=closed)
def opened(catalogue: Catalogue, row: int) -> None:
    """One image over the page."""
    with ui.messages():
        detail(catalogue, row)


def detail(catalogue: Catalogue, row: int) -> None:
    """One image, its report with the findings marked, and a generated image of the same text."""
    entry = catalogue.prepared.entry(row)
    left, right = st.columns([1, 1], gap="large")
    with left:
        viewer([to_uint8(catalogue.prepared.pixels([row])[0][0])], [entry["image_id"]], "real", columns=1)
    with right:
        st.html(ui.coloured(entry["text"], highlights(entry["text"])))
        st.caption("Marked: present (solid line), uncertain (dashed), absent (dotted), as the rules read them.")
        st.dataframe(entry["findings"] or [], hide_index=True)
        shown = ("view", "age", "sex", "split", "source", "height", "width")
        known = {name: entry[name] for name in shown if entry.get(name) is not None}
        if "age" in known:
            known["age"] = f"{known['age']:g}"
        st.caption(", ".join(f"{name} {value}" for name, value in known.items()))
        model = ui.choose_model("Model for a generated image of this text")
        if st.button("Generate from this report", key="beside"):
            request = Request(model, entry["text"], n=1)
            progress = st.empty()
            pipeline = ui.loaded(model)
            with ui.turns().turn(ui.waiting(progress.info)), st.spinner("Generating"):
                st.session_state["beside_image"] = (catalogue.prepared.folder, row), request.generate(pipeline)[0]
            progress.empty()
    if st.session_state.get("beside_image", (None,))[0] == (catalogue.prepared.folder, row):
        with left:
            drawn = to_uint8(st.session_state["beside_image"][1][0])
            viewer([drawn], ["synthetic, drawn from the same text"], "beside_drawn", columns=1)


top = st.container()  # what its images are is known once a collection is chosen
with ui.messages():
    with top:
        chosen = ui.chosen_collection()
        ui.header("Dataset", of_patients=chosen is not None and ui.opened(chosen).prepared.kind != "phantom")
    folder = ui.choose_collection()
    catalogue = ui.opened(folder)
    left, right = st.columns([1, 3], gap="large")
    with left:
        rows = catalogue.select(query(catalogue))
    with right:
        st.markdown(f"**{len(rows):,}** of {len(catalogue.prepared):,} images")
        images, distributions = st.tabs(["Images", "Distributions"])
        with images:
            pictures(catalogue, rows)
        with distributions:
            for name, table in catalogue.counts(rows).items():
                if len(table):
                    st.markdown(f"**{name.capitalize()}**")
                    st.bar_chart(table, x=name, y="images", horizontal=True, sort=False)
