"""Prompt to images, one after another, with previews while they form, and what was drawn before."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import streamlit as st
import torch
from PIL import Image

from cxr_ldm.app import library, ui
from cxr_ldm.app.asking import requests, restore, settings_of, sketch
from cxr_ldm.app.forming import Drawing
from cxr_ldm.app.gallery import gallery
from cxr_ldm.app.generation import Request, Result, animation
from cxr_ldm.app.results import results
from cxr_ldm.app.viewer import viewer
from cxr_ldm.app.visits import Generation, Visit
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.provenance import png_bytes, read_png


def generate(wanted: list[Request]) -> None:
    """Draw image after image; what is done so far outlives whoever stops it."""
    if not all(request.prompt for request in wanted):
        raise UserError("The prompt is empty: write what the image should show.")
    bar, stop, shown = st.progress(0.0, "Loading the model …"), st.empty(), st.empty()
    pipeline = ui.loaded(wanted[0].model)
    wanted[0].finish.check_size(pipeline.size)  # before anything is drawn
    stop.button("Stop", key="stop")  # any click ends this run of the script at its next word to the page
    drawing = Drawing([one for request in wanted for one in request.each()], bar, shown)
    st.session_state["unfinished"] = drawing
    drawing.run(pipeline)
    bar.progress(1.0, "Comparing with the training images …")
    keep()
    for place in (bar, stop, shown):
        place.empty()


def keep() -> None:
    """What was drawn becomes the result of the page, and goes into the visitor's history.

    A click may end the script at any look at the page's state: until `unfinished` is gone this is done again, and
    behind that the state is not looked at any more.
    """
    drawing: Drawing = st.session_state["unfinished"]
    if not drawing.drawn:
        del st.session_state["unfinished"]
        return
    done, images = drawing.each[: len(drawing.drawn)], torch.cat(drawing.drawn)
    pipeline, history = ui.loaded(done[0].model), visit()
    by_prompt = [list(same) for _, same in groupby(done, key=lambda one: one.prompt)]
    wanted = [replace(same[0], n=len(same)) for same in by_prompt]
    steps = [torch.cat(step) for step in zip(*drawing.frames, strict=True)]
    found = None
    with ui.turns().turn(lambda ahead: None):  # as heavy as drawing
        with ui.messages():  # a damaged collection must not keep the images from who drew them
            found = ui.nearest(wanted[0].model, images)
        finished = wanted[0].finish(images)
    result = Result(
        requests=wanted,
        images=images,
        frames=steps,
        sha256=pipeline.sha256,
        readings=[pipeline.reading(request.prompt) for request in wanted],
        finished=finished,
        found=found,
        numbers=ui.measured(images),
        moving=animation(steps, min(4, len(images))),
    )
    pngs = [png_bytes(image, facts) for image, facts in zip(result.finished, result.facts(), strict=True)]
    stated = settings_of(wanted)
    st.session_state["result"] = result
    st.session_state.pop("looked_at", None)
    st.session_state.pop("unfinished", None)
    history.keep(stated, pngs)


def visit() -> Visit:
    """The visitor's history, found again after a reload by what stands in the address."""
    # another page of ours takes it out of the address
    token = st.query_params.get("visit") or st.session_state.get("visit")
    found = Visit(library.outputs() / "app" / "visits", token)
    st.query_params["visit"] = st.session_state["visit"] = found.token
    return found


def history(kept: list[Generation]) -> None:
    """All generations as a strip; a click takes one's settings and shows it, and two can be compared."""
    if not kept:
        return
    st.markdown("**Drawn before**")
    chosen = st.session_state.get("looked_at")
    place = next((place for place, each in enumerate(kept) if each.number == chosen), None)

    def back(number: int) -> None:
        restore(kept[number].settings)
        st.session_state["looked_at"] = kept[number].number

    said = [f"{each.number + 1}. {each.settings.get('prompt', '')}" for each in kept]
    gallery([each.small() for each in kept], said, "strip", chosen=place, line=True, side=96, on_click=back)
    if len(kept) > 1:
        numbers = {f"{each.number + 1}": each for each in kept}
        pair = st.multiselect("Compare two", list(numbers), max_selections=2, key="compared")
        if len(pair) == 2:
            compare(*(numbers[each] for each in pair))


def compare(one: Generation, other: Generation) -> None:
    """The images of two generations side by side, and which settings differ."""
    count = min(len(one.pictures), len(other.pictures))
    pictures = [each.picture(index) for index in range(count) for each in (one, other)]
    viewer(pictures, [f"{each.number + 1}" for _ in range(count) for each in (one, other)], "pair", columns=2)
    keys = {**one.settings, **other.settings}
    rows = [
        {
            "setting": key,
            f"{one.number + 1}": str(one.settings.get(key)),
            f"{other.number + 1}": str(other.settings.get(key)),
        }
        for key in keys
        if one.settings.get(key) != other.settings.get(key)
    ]
    st.dataframe(rows, hide_index=True) if rows else st.caption("Their settings are the same.")


def first_look(wanted: Request) -> None:
    """What the model drew before anyone asked here."""
    found = library.pictures_of(wanted.model)
    if wanted.model.run is None and found:
        facts = [read_png(path) for path in found]
        said = [f"{each['prompt']} Seed {each['seed']}." for each in facts]
        viewer([np.asarray(Image.open(path).convert("L")) for path in found], said, "first", columns=2)
        st.caption(f"Drawn by {wanted.model.name} before. {library.quality(wanted.model)}")
    elif found:
        st.image(str(found[0]), caption=f"Drawn by {wanted.model.name} at its last validation.", width="stretch")
    else:
        st.info("Choose an example or write a prompt, then press Generate.")


if "taken" not in st.session_state:  # a link states settings once
    st.session_state["taken"] = True
    restore(st.query_params.to_dict())
ui.header("Generate")
left, right = st.columns([2, 3], gap="large")
wanted: list[Request] = []
with left, ui.messages():
    wanted = requests()
with right, ui.messages():
    asked = bool(wanted) and st.session_state["generate"]
    if "unfinished" in st.session_state:
        keep()
    if asked:
        generate(wanted)
    kept = visit().generations()
    looked_at = next((each for each in kept if each.number == st.session_state.get("looked_at")), None)
    if looked_at is not None:
        shown = [looked_at.picture(index) for index in range(len(looked_at.pictures))]
        viewer(shown, [f"{looked_at.number + 1}"] * len(shown), "looked_at", columns=2)
    elif "result" in st.session_state:
        results(st.session_state["result"])
    elif kept:
        shown = [kept[0].picture(index) for index in range(len(kept[0].pictures))]
        viewer(shown, ["drawn before"] * len(shown), "last", columns=2)
    elif wanted:
        first_look(wanted[0])
    history(kept)
with left, ui.messages():
    if wanted and ui.ready(wanted[0].model) is None:
        ui.loaded(wanted[0].model)  # while the visitor reads and writes
        st.rerun()
    if wanted:
        sketch(wanted[0])
