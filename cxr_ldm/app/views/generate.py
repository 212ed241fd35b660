"""Prompt to images, with previews while they form, what they resemble, and the files."""

import time
from dataclasses import replace
from typing import Any

import streamlit as st
from torch import Tensor

from cxr_ldm.app import library, ui
from cxr_ldm.app.generation import Request, animation, zip_bytes
from cxr_ldm.app.live import SCRIPT
from cxr_ldm.data.prepared.browse import Catalogue
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.dicom import Study, dicom_bytes
from cxr_ldm.imaging.finish import Finish
from cxr_ldm.imaging.presets import presets
from cxr_ldm.imaging.provenance import png_bytes
from cxr_ldm.metrics.copies.memorisation import NearCopies
from cxr_ldm.text.attributes import CLASSES
from cxr_ldm.text.reading import Reading

OWN = "my own words"
HIGHEST = 10.0  # guidance scale of the slider
EVERY = 0.15  # seconds between two previews: a browser shows no more


def settings() -> Request:
    """The left side of the page."""
    model = ui.choose_model()
    prompts = ui.examples()
    example = st.selectbox("Example by finding", [*prompts, OWN], index=1, key="example")
    taken = prompts.get(example)  # another model has other words for it
    if (example, taken) != st.session_state.get("example_taken"):
        st.session_state["example_taken"] = example, taken
        if taken is not None:
            st.session_state["prompt"] = taken
    prompt = st.text_area("Prompt", key="prompt", height=100, max_chars=2000)
    place = st.container()
    columns = st.columns(2)
    n = columns[0].number_input("Images", 1, 16, 4, key="n")
    seed = columns[1].number_input("Seed", 0, 2**31 - 1, 0, key="seed", help="Image i has the seed seed + i.")
    own, state = model.guidance.scale, st.session_state
    # another model brings its own; and after a visit to another page the widgets have lost their values
    if state.get("guidance_of") != (model.argument, own) or "guidance" not in state:
        state["guidance_of"] = model.argument, own
        state["guidance"] = min(float(own), HIGHEST)
        state["sampler"], state["steps"] = model.sampling
    sampler = columns[0].selectbox("Sampler", ui.options("sampler"), key="sampler")
    steps = columns[1].number_input("Steps", 1, 1000, key="steps")
    about = f"{own:g} is this model's own; 1 is the plain model at half the time, above 1 stresses the text."
    guidance = st.slider("Guidance scale", 0.0, HIGHEST, step=0.05, key="guidance", help=about)
    people, done = patient(model), finish()
    request = Request(model, prompt.strip(), int(n), int(seed), sampler, int(steps), float(guidance), people, done)
    with place, ui.messages():
        sketch(request)
    return request


def sketch(request: Request) -> None:
    """The first image of a request in a few steps, at each pause in the typing, where the model has a student."""
    student = library.student_of(request.model)
    if student is None:
        return
    sampler, steps = student.sampling
    about = f"One image in {steps} steps by {student.name}, at each pause; Generate draws them by the model itself."
    if not st.toggle("Draw while I type", True, key="live", help=about):
        return
    st.html(SCRIPT, unsafe_allow_javascript=True)
    if request.prompt and not ui.turns().waiting:  # a visitor who generates is not held up
        quick = replace(request, model=student, n=1, sampler=sampler, steps=steps, finish=Finish())
        st.image(ui.sketched(quick), caption=f"seed {request.seed}, in {steps} steps", width=ui.SKETCH)


def patient(model: library.Model) -> dict[str, object]:
    """View, age and sex, where the model was trained on them."""
    with st.expander("Patient: view, age, sex"):
        if "attributes" not in library.read_json(model.folder / "config.json")["parts"]:
            st.caption("This model was trained without them (`attributes=patient` trains one with).")
            return {}
        view = st.selectbox("View", ["not stated", *CLASSES["view"]], key="view")
        sex = st.selectbox("Sex", ["not stated", *CLASSES["sex"]], key="sex")
        age = st.number_input("Age in years", 0, 120, None, key="age")
    stated = {"view": view, "sex": sex, "age": age}
    return {name: value for name, value in stated.items() if value not in ("not stated", None)}


def finish() -> Finish:
    """What happens to the images before they are handed on."""
    with st.expander("Files: size, enhancement, watermark"):
        found = {preset.label: preset for preset in presets().values()}
        label = st.selectbox("Enhancement", ["none", *found], key="enhance")
        sizes = {"the model's own": None, **{f"{side} × {side}": side for side in (128, 256, 512, 1024)}}
        resolution = sizes[st.selectbox("Resolution", list(sizes), key="resolution")]
        drawn = st.checkbox(
            "Draw the detail of larger images",
            key="upscale",
            help="By a network, where interpolation is soft. What is finer than a pixel is invented: averaged down, "
            "the image is the same.",
        )
        watermark = st.checkbox(
            "Invisible watermark", key="watermark", help="Outlives JPEG; `python -m cxr_ldm.imaging.verify` finds it."
        )
    name, steps = (None, []) if label == "none" else (found[label].name, found[label].steps)
    return Finish(name, steps, resolution, watermark, enlarger=ui.enlarger() if drawn else None)


def generate(request: Request) -> None:
    """Wait for the turn, draw with previews, keep the result for this visitor."""
    if not request.prompt:
        raise UserError("The prompt is empty: write what the image should show.")
    bar, shown = st.progress(0.0, "Waiting …"), st.empty()
    frames: list[Tensor] = []
    last = 0.0

    def preview(step: int, images: Tensor) -> None:
        nonlocal last
        frames.append(images)
        bar.progress(step / request.steps, f"Step {step} of {request.steps}")
        if time.monotonic() - last > EVERY:
            shown.image([ui.picture(image, 160) for image in images], width=160)
            last = time.monotonic()

    pipeline = ui.loaded(request.model)
    request.finish.check_size(pipeline.size)  # before anything is drawn
    with ui.turns().turn(ui.waiting(lambda text: bar.progress(0.0, text))):
        images = request.generate(pipeline, preview=preview)
    bar.progress(1.0, "Comparing with the training images …")
    # all that takes time is done once, and not again at each touch of a slider
    st.session_state["result"] = {
        "request": request,
        "images": images,
        "frames": frames,
        "sha256": pipeline.sha256,
        "reading": pipeline.reading(request.prompt),
        "finished": request.finish(images),
        "found": ui.nearest(request.model, images),
        "numbers": ui.measured(images),
        "moving": animation(frames, min(4, len(images))),
    }
    bar.empty()
    shown.empty()


def results(
    request: Request,
    images: Tensor,
    frames: list[Tensor],
    sha256: str,
    reading: Reading,
    finished: Tensor,
    found: tuple[NearCopies, list[int], Catalogue] | None,
    numbers: list[dict[str, float]],
    moving: bytes,
) -> None:
    """Pictures with their numbers, and warnings where one is too close to a training image.

    Numbers and nearness are of the images as they were drawn; the pictures and the files are finished.
    """
    for sentence in reading.sentences():
        st.warning(sentence)
    if found is None:
        st.caption(
            "Nearness to training images was not checked: the collection that this model was trained on is not among "
            "the prepared ones here."
        )
    columns = st.columns(min(4, len(images)))
    for index in range(len(images)):
        with columns[index % len(columns)]:
            st.image(ui.picture(finished[index]), caption=f"seed {request.seeds[index]}", width="stretch")
            if found is not None:
                near, rows, catalogue = found
                likeness = float(near.correlation[index])
                if near.copied[index]:
                    st.error(f"Too close to a training image (correlation {likeness:.3f}, limit {near.limit:.3f}).")
                with st.expander(f"Nearest training image ({likeness:.3f})"):
                    st.image(ui.picture(catalogue.prepared.pixels([rows[index]])[0]), width="stretch")
                    st.caption(catalogue.prepared.texts([rows[index]])[0])
            with st.expander("Measured"):
                st.table({name: f"{value:.3f}" for name, value in numbers[index].items()})
    st.markdown("**The same images again**")
    st.code(request.command(), language="bash", wrap_lines=True)
    facts = [request.facts(index, sha256, reading) for index in range(len(images))]
    downloads(finished, facts, frames, moving)


def downloads(images: Tensor, facts: list[dict[str, Any]], frames: list[Tensor], moving: bytes) -> None:
    """Files, made when they are asked for; each says that it is synthetic."""

    def pngs() -> dict[str, bytes]:
        return {
            f"{i:04d}.png": png_bytes(image, fact) for i, (image, fact) in enumerate(zip(images, facts, strict=True))
        }

    def dicoms() -> dict[str, bytes]:
        study = Study.new()  # one for all of them
        pairs = enumerate(zip(images, facts, strict=True))
        return {f"{i:04d}.dcm": dicom_bytes(image, fact, study, i + 1) for i, (image, fact) in pairs}

    def one_or_zip(files: dict[str, bytes]) -> bytes:
        return next(iter(files.values())) if len(files) == 1 else zip_bytes(files)

    single = len(images) == 1
    row = st.container(horizontal=True)
    row.download_button(
        "PNG" if single else "PNG (ZIP)", lambda: one_or_zip(pngs()), f"cxr.{'png' if single else 'zip'}"
    )
    row.download_button(
        "DICOM" if single else "DICOM (ZIP)", lambda: one_or_zip(dicoms()), f"cxr.{'dcm' if single else 'dicom.zip'}"
    )
    row.download_button("ZIP of all", lambda: zip_bytes(pngs() | dicoms()), "cxr_all.zip")
    with st.expander("The denoising, step by step"):
        shape = st.columns(2)
        st.image(moving, caption="Estimates of the final images")
        shape[0].download_button("GIF", moving, "denoising.gif")
        shape[1].download_button("WebP", lambda: animation(frames, min(4, len(images)), "WEBP"), "denoising.webp")


ui.header("Generate")
left, right = st.columns([1, 2], gap="large")
with left:
    request = settings()
with right, ui.messages():
    ui.loaded(request.model)  # while the visitor reads and writes; the button comes when it can act
with left:
    asked = st.button("Generate", type="primary", width="stretch", key="generate")
with right, ui.messages():
    if asked:
        generate(request)
    if "result" in st.session_state:
        results(**st.session_state["result"])
    else:
        st.info("Choose an example or write a prompt, then press Generate.")
