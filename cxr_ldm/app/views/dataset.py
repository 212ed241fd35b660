"""A prepared collection: filtered, distributed, one image with its report, and a generated one beside it."""

import numpy as np
import streamlit as st

from cxr_ldm.app import ui
from cxr_ldm.app.generation import Request
from cxr_ldm.data.findings.highlights import highlights
from cxr_ldm.data.prepared.browse import Catalogue, Query

PER_PAGE = 24
SIDE = 140  # of a small picture, in pixels of the screen
CERTAINTIES = ["present", "uncertain", "absent"]
ANY = "any"


def query(catalogue: Catalogue) -> Query:
    """The filters."""
    text = st.text_input("Text holds", key="text", help="All of these words or parts of words, in any case.")
    findings = st.multiselect("Findings", catalogue.names(), key="findings")
    certainty = st.multiselect("of certainty", CERTAINTIES, default=["present"], key="certainty")
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


def gallery(catalogue: Catalogue, rows: np.ndarray) -> int | None:
    """One page of pictures; the row that was clicked last, or the first."""
    pages = max(1, -(-len(rows) // PER_PAGE))
    page = st.number_input(f"Page of {pages}", 1, pages, 1, key="page") if pages > 1 else 1
    part = rows[(page - 1) * PER_PAGE : page * PER_PAGE]
    if not len(part):
        st.info("Nothing matches. Take a filter away.")
        return None
    with st.container(horizontal=True):  # wraps, so that a phone shows two a line
        for row, name, pixels in zip(part, catalogue.prepared.ids(part), catalogue.prepared.pixels(part), strict=True):
            with st.container(width=SIDE):
                st.image(ui.picture(pixels, SIDE), width="stretch")
                # the end of a name tells images of one collection apart, and 14 letters of it fit
                if st.button(
                    name if len(name) <= 14 else f"…{name[-13:]}", key=f"row_{row}", width="stretch", help=name
                ):
                    st.session_state["chosen_row"] = int(row)
    chosen = st.session_state.get("chosen_row")
    return chosen if chosen is not None and chosen in rows else int(part[0])


def detail(catalogue: Catalogue, row: int) -> None:
    """One image, its report with the findings marked, and a generated image of the same text."""
    entry = catalogue.prepared.entry(row)
    st.subheader(entry["image_id"])
    left, right = st.columns([1, 1], gap="large")
    left.image(ui.picture(catalogue.prepared.pixels([row])[0], 384), caption="from the collection", width="stretch")
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
                st.session_state["beside_image"] = row, request.generate(pipeline)[0]
            progress.empty()
    if st.session_state.get("beside_image", (None,))[0] == row:
        left.image(
            ui.picture(st.session_state["beside_image"][1], 384),
            caption="generated from the same text",
            width="stretch",
        )


ui.header("Dataset")
with ui.messages():
    folder = ui.choose_collection()
    catalogue = ui.opened(folder)
    if catalogue.prepared.kind != "phantom":
        st.info(
            "The images of this collection are radiographs of patients; what is generated beside them is synthetic."
        )
    left, right = st.columns([1, 3], gap="large")
    with left:
        rows = catalogue.select(query(catalogue))
    with right:
        st.markdown(f"**{len(rows):,}** of {len(catalogue.prepared):,} images")
        images, distributions = st.tabs(["Images", "Distributions"])
        with images:
            row = gallery(catalogue, rows)
            if row is not None:
                st.divider()
                detail(catalogue, row)
        with distributions:
            for name, table in catalogue.counts(rows).items():
                if len(table):
                    st.markdown(f"**{name.capitalize()}**")
                    st.bar_chart(table, x=name, y="images", horizontal=True, sort=False)
