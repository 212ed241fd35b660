"""A given image anew, whole or in part; or a prompt before and after a finding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from cxr_ldm.app import library, ui
from cxr_ldm.app.brush import brush
from cxr_ldm.app.generation import dicom_files, png_files, zip_bytes
from cxr_ldm.app.sources import source
from cxr_ldm.app.viewer import viewer
from cxr_ldm.bundle import load_bundle
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.editing import REGIONS, Original, hole_of, pasted, square_of
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.judge import Judge
from cxr_ldm.imaging.differences import difference
from cxr_ldm.imaging.finish import Finish
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.imaging.provenance import provenance
from cxr_ldm.text.changing import with_finding, without_finding

IMAGE, PROMPT = "an image", "a prompt: before and after a finding"
BRUSH, WHOLE = "by brush", "all of it"
PARTS = {BRUSH: None, WHOLE: None, **{name.replace("_", " "): name for name in REGIONS}}
MARKED = Finish(watermark=True, label=True)


@dataclass(frozen=True)
class Edit:
    """What is asked for.

    Attributes:
        prompt: of the images after.
        before: the prompt of the images before, or None where those are the given image.
        original: the given image, or None.
        paste: whether the given pixels outside the part are put back.
    """

    model: library.Model
    prompt: str
    before: str | None
    original: Original | None
    paste: bool
    n: int
    seed: int
    steps: int
    guidance: float

    @property
    def seeds(self) -> list[int]:
        return [self.seed + index for index in range(self.n)]

    def sampling(self) -> Sampling:
        """With the model's own sampler."""
        own = Sampling.preset(self.model.sampling[0], self.steps)
        return replace(own, guidance=self.model.guidance.with_stated(scale=self.guidance))


@dataclass(frozen=True)
class Edited:
    """What was drawn.

    Attributes:
        before, after: `[n,1,H,W]`; `finished` is what goes into files.
        facts: provenance of each.
        judged: classes, and their probabilities before and after; None without a classifier.
        learnt: whether the model learnt to fill holes.
    """

    edit: Edit
    before: Tensor
    after: Tensor
    finished: Tensor
    facts: list[dict[str, Any]]
    judged: tuple[Sequence[str], np.ndarray, np.ndarray] | None
    learnt: bool


def settings() -> Edit | None:
    """The left side of the page; None while there is nothing to draw from."""
    model = ui.choose_model(key="edit_model")
    kind = st.radio("Edit", [IMAGE, PROMPT], key="edit_kind")
    prompt = st.text_area("Prompt", "Left pleural effusion.", key="edit_prompt", height=80, max_chars=2000).strip()
    original, before, paste = None, None, False
    if kind == PROMPT:
        change = st.radio("Change", ["add", "remove"], key="edit_change", horizontal=True)
        finding = st.text_input("Finding", "right pleural effusion", key="edit_finding", max_chars=200).strip()
        before = prompt
        prompt = with_finding(prompt, finding) if change == "add" else without_finding(prompt, finding)
        st.caption(f"After: {prompt}")
    columns = st.columns(2)
    n = columns[0].number_input("Images", 1, 4, 2, key="edit_n")
    seed = columns[1].number_input("Seed", 0, 2**31 - 1, 0, key="edit_seed")
    steps = columns[0].number_input("Steps", 1, 1000, model.sampling[1], key=f"edit_steps_{model.name}")
    guidance = columns[1].number_input(
        "Guidance scale", 0.0, 10.0, float(min(model.guidance.scale, 10.0)), 0.25, key=f"edit_guidance_{model.name}"
    )
    if kind == IMAGE:
        found = source("edit_", nobody=True)
        if found is None:
            st.info("Choose an image; its pixels alone are read, and all that is drawn from it is marked.")
            return None
        original, paste = given(found[0], ui.loaded(model).size)
        if original is None:
            st.info("Paint over the part that is drawn anew.")
            return None
    return Edit(model, prompt, before, original, paste, int(n), int(seed), int(steps), float(guidance))


def given(image: np.ndarray, size: int) -> tuple[Original | None, bool]:
    """The image at the model's size with what is drawn anew, and whether the rest is put back; None until painted."""
    square = square_of(np.rint(image * 255).astype(np.uint8), size)
    part = st.selectbox("What is drawn anew", list(PARTS), key="edit_part")
    if part == WHOLE:
        strength = st.slider("Strength", 0.05, 0.95, 0.6, 0.05, key="edit_strength", help="0.3 redraws textures.")
        st.image(ui.picture(square[0]), width=320)
        return Original(square, strength), False
    paste = st.checkbox("Keep the image's own pixels outside", key="edit_paste")
    if part == BRUSH:
        mask = brush(ui.picture(square[0], 512), size, "edit_brush")
        hole = None if mask is None else torch.from_numpy(mask > 0)[None, None]
    else:
        hole = hole_of((size, size), size, region=PARTS[part])
        st.image(outlined(square, hole), width=320)
    return (None if hole is None else Original(square, hole=hole)), paste


def outlined(square: Tensor, hole: Tensor | None) -> np.ndarray:
    """The image with what stays darkened, for the screen."""
    return ui.picture(square[0] if hole is None else torch.where(hole[0], square[0], (square[0] - 1) / 2))


def draw(edit: Edit) -> Edited:
    """Wait for the turn, draw, and keep what the page shows."""
    if not edit.prompt:
        raise UserError("The prompt is empty: write what the image should show.")
    bar = st.progress(0.0, "Waiting …")
    pipeline = ui.shared(edit.model, lambda text: bar.progress(0.0, text))
    total, done = edit.n * edit.steps * (1 if edit.before is None else 2), 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        bar.progress(min(done / total, 1.0), f"Drawing, {done} of {total} image-steps")

    sampling = edit.sampling()
    after = pipeline.draw([edit.prompt] * edit.n, edit.seeds, sampling, progress=progress, original=edit.original)
    if edit.original is not None:
        pixels, hole = edit.original.pixels, edit.original.hole
        after = pasted(after, pixels, hole) if edit.paste and hole is not None else after
        before = pixels.expand(edit.n, -1, -1, -1)
    else:
        before = pipeline.draw([str(edit.before)] * edit.n, edit.seeds, sampling, progress=progress)
    bar.empty()
    facts = sampling.facts() | {"bundle_sha256": pipeline.sha256}
    finish = MARKED if edit.original is not None else Finish()
    facts |= finish.facts()
    if edit.original is not None:
        facts |= edit.original.facts("learnt" if pipeline.fills else "held", edit.paste)
    judge = judge_of(edit.model)
    judged = None
    with ui.turns().turn(lambda ahead: None):  # as heavy as drawing
        if judge is not None:
            judged = judge.classes, judge.probabilities([before]), judge.probabilities([after])
        finished = finish(after)
    stated = [provenance(prompt=edit.prompt, seed=seed, **facts) for seed in edit.seeds]
    return Edited(edit, before, after, finished, stated, judged, pipeline.fills)


def judge_of(model: library.Model) -> Judge | None:
    """The newest classifier of the model's data and size, where one was trained here."""
    info = library.read_json(model.folder / "config.json")["info"]
    for each in library.models("classifier"):
        known = library.read_json(each.folder / "config.json")["info"]
        if known["data"]["name"] == info["data"]["name"] and known["size"] == info["size"]:
            return Judge(load_bundle(each.folder, "classifier"), torch.device("cpu"))
    return None


def results(result: Edited) -> None:
    """Before and after with a divider, the difference, what a classifier says, and the files."""
    edit = result.edit
    if edit.original is not None and edit.original.hole is not None:
        how = "learnt to fill holes" if result.learnt else "never learnt to fill holes, and is held to the rest"
        st.caption(f"Drawn by a model that {how}.")
    changes = difference(result.before, result.after)
    for index, seed in enumerate(edit.seeds):
        columns = st.columns([3, 2])
        with columns[0]:
            before, after = (ui.picture(images[index], 512) for images in (result.before, result.finished))
            ui.compare_slider(before, after)
            with st.expander("Look closely"):
                pair = [to_uint8(images[index][0]) for images in (result.before, result.finished)]
                viewer(pair, ["before", "after"], f"edited_{index}")
        shown, words = np.moveaxis(to_uint8(changes[index]), 0, -1), f"seed {seed}; red: brighter, blue: darker"
        columns[1].image(shown, caption=words, width="stretch")
        if result.judged is not None:
            names, first, second = result.judged
            rows = zip(names, first[index], second[index], strict=True)
            columns[1].dataframe(
                [{"finding": name, "before": round(float(a), 3), "after": round(float(b), 3)} for name, a, b in rows],
                hide_index=True,
            )
    if result.judged is None:
        st.caption("No classifier of this model's data was trained here, so none says what changed.")
    made, row = (result.finished, result.facts), st.container(horizontal=True)
    row.download_button("PNG (ZIP)", lambda: zip_bytes(png_files(*made)), "edit.zip")
    row.download_button("DICOM (ZIP)", lambda: zip_bytes(dicom_files(*made)), "edit.dicom.zip")


ui.header("Edit")
left, right = st.columns([1, 1], gap="large")
asked, edit = False, None
with left, ui.messages():
    edit = settings()
    asked = st.button("Draw", type="primary", width="stretch", key="edit_draw", disabled=edit is None)
with right, ui.messages():
    if asked and edit is not None:
        st.session_state["edited"] = draw(edit)
    if "edited" in st.session_state:
        results(st.session_state["edited"])
    else:
        st.info("What is drawn from a given image shows a finding that nobody has; every file of it says so.")
