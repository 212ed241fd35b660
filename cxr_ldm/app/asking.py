"""What a visitor asks for: the prompt with its button first, the rest under Advanced, and settings from a link."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from cxr_ldm.app import library, ui
from cxr_ldm.app.generation import Request
from cxr_ldm.app.live import SCRIPT
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.finish import Finish
from cxr_ldm.imaging.presets import presets
from cxr_ldm.text.attributes import CLASSES

HIGHEST = 10.0  # guidance scale of the slider
LARGEST_SEED = 2**31 - 1
MOST = 16  # images of one generation
LONGEST = 2000  # letters of all prompts
FIRST = "pleural effusion"  # example that stands in a new page
UNSTATED = "not stated"
SIZES = {"the model's own": None, **{f"{side} × {side}": side for side in (128, 256, 512, 1024)}}
# whole numbers that a link may state, with their ends
WHOLE = {"n": (1, MOST), "seed": (0, LARGEST_SEED), "steps": (1, 1000)}


def requests() -> list[Request]:
    """The left side of the page: one request for each prompt, all alike but for that.

    Raises:
        UserError: more images than MOST.
    """
    prompts = ui.examples()
    prompted(prompts)
    written = st.text_area("Prompt", key="prompt", height=86, max_chars=LONGEST, help="Several: one a line.")
    said = st.container()  # what the model does not know of it
    ask = st.container()
    st.pills("Examples", list(prompts), key="example", wrap=True, on_change=lambda: take_example(prompts))
    with st.expander("Advanced"):
        request = advanced()
    lines = list(dict.fromkeys(line.strip() for line in written.splitlines() if line.strip())) or [""]
    wanted = [replace(request, prompt=line) for line in lines]
    with said:
        readings(wanted)
    with ask:
        st.button("Generate", type="primary", width="stretch", key="generate", on_click=new_seed)
    if len(wanted) * request.n > MOST:
        raise UserError(f"{len(wanted)} prompts of {request.n} images are more than {MOST}; ask for fewer.")
    return wanted


def readings(wanted: list[Request]) -> None:
    """What the model cuts off or does not know of the prompts; nothing while it is being loaded."""
    pipeline = ui.ready(wanted[0].model)
    if pipeline is None:
        return
    for sentence in dict.fromkeys(said for each in wanted for said in pipeline.reading(each.prompt).sentences()):
        st.warning(ui.literal(sentence))


def prompted(prompts: Mapping[str, str]) -> None:
    """A prompt for a new page; an example of one model becomes that of another, which knows other words."""
    state = st.session_state
    before = state.get("examples_of", prompts)
    named = next((name for name, text in before.items() if text == state.get("prompt")), None)
    if "prompt" not in state:
        state["prompt"] = prompts.get(FIRST, next(iter(prompts.values())))
    elif before != prompts and named is not None and named in prompts:
        state["prompt"] = prompts[named]
    state["examples_of"] = dict(prompts)


def take_example(prompts: Mapping[str, str]) -> None:
    """Write the clicked example into the prompt."""
    if st.session_state["example"] in prompts:
        st.session_state["prompt"] = prompts[st.session_state["example"]]


def new_seed() -> None:
    """Another seed where the one on the page has been drawn already and is not locked."""
    state = st.session_state
    drawn = state["result"].requests[0].seed if "result" in state else None
    if not state.get("locked") and state.get("seed") == drawn:
        state["seed"] = secrets.randbelow(LARGEST_SEED - MOST)


def advanced() -> Request:
    """Model, number, seed, sampling, patient and files; the request has no prompt yet."""
    model, state = ui.choose_model(), st.session_state
    st.caption(library.quality(model))
    columns = st.columns(2)
    n = columns[0].number_input("Images", 1, MOST, 4, key="n", help="Of each prompt.")
    seed = columns[1].number_input("Seed", 0, LARGEST_SEED, 0, key="seed", help="Image i has the seed seed + i.")
    st.toggle("Keep the seed", key="locked", help="The same prompt then draws the same images again.")
    own = model.guidance.scale
    # another model brings its own; and after a visit to another page the widgets have lost their values
    if state.get("guidance_of") != (model.argument, own) or "guidance" not in state:
        state["guidance_of"] = model.argument, own
        state["guidance"] = min(float(own), HIGHEST)
        state["sampler"], state["steps"] = model.sampling
    sampler = columns[0].selectbox("Sampler", ui.options("sampler"), key="sampler")
    steps = columns[1].number_input("Steps", 1, 1000, key="steps")
    about = f"{own:g} is this model's own; 1 is the plain model at half the time, above 1 stresses the text."
    guidance = st.slider("Guidance scale", 0.0, HIGHEST, step=0.05, key="guidance", help=about)
    student = library.is_student(model)
    negative = st.text_input(
        "Away from",
        key="negative",
        max_chars=500,
        disabled=guidance <= 1 or student,
        help="A text that the images move away from; needs a guidance scale above 1, and a model that is no student.",
    )
    people, done = patient(model), finish()
    negative = "" if guidance <= 1 or student else negative.strip()
    return Request(model, "", int(n), int(seed), sampler, int(steps), float(guidance), people, done, negative)


def patient(model: library.Model) -> dict[str, object]:
    """View, age and sex, where the model was trained on them."""
    if "attributes" not in library.read_json(model.folder / "config.json")["parts"]:
        return {}
    view = st.selectbox("View", [UNSTATED, *CLASSES["view"]], key="view")
    sex = st.selectbox("Sex", [UNSTATED, *CLASSES["sex"]], key="sex")
    age = st.number_input("Age in years", 0, 120, None, key="age")
    stated = {"view": view, "sex": sex, "age": age}
    return {name: value for name, value in stated.items() if value not in (UNSTATED, None)}


def finish() -> Finish:
    """What happens to the images before they are handed on."""
    found = {preset.label: preset for preset in presets().values()}
    label = st.selectbox("Enhancement", ["none", *found], key="enhance")
    resolution = SIZES[st.selectbox("Size of the files", list(SIZES), key="resolution")]
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
        quick = replace(request, model=student, n=1, sampler=sampler, steps=steps, finish=Finish(), negative="")
        st.image(ui.sketched(quick), caption=f"seed {request.seed}, in {steps} steps", width=ui.SKETCH)


def settings_of(wanted: list[Request]) -> dict[str, Any]:
    """What a link and the history keep of a generation, as JSON values."""
    first = wanted[0]
    stated = {
        "prompt": "\n".join(each.prompt for each in wanted),
        "model": first.model.name,
        "n": first.n,
        "seed": first.seed,
        "sampler": first.sampler,
        "steps": first.steps,
        "guidance": first.rule.scale,
        "negative": first.negative,
        "watermark": int(first.finish.watermark),
        "upscale": int(first.finish.enlarger is not None),
    }
    size = next((label for label, side in SIZES.items() if side == first.finish.resolution), None)
    enhanced = next((each.label for each in presets().values() if each.name == first.finish.enhance), "none")
    return stated | {"resolution": size, "enhance": enhanced} | dict(first.patient)


def link(stated: Mapping[str, Any]) -> str:
    """Address of the page with these settings in it."""
    return f"{(st.context.url or '').partition('?')[0]}?{urlencode(stated)}"


def restore(stated: Mapping[str, Any]) -> None:
    """Settings of a link or of the history into the page, before its widgets are made; what is impossible is left out.

    Args:
        stated: as of `settings_of`; numbers may be text.
    """
    state = st.session_state
    models = {model.name: model for model in library.models()}
    if stated.get("model") in models:
        state["model"] = stated["model"]
        state["examples_of"] = {}
    if {"model", "guidance", "sampler", "steps"} & stated.keys():  # in place of what the model brings
        model = models.get(state.get("model", ""), next(iter(models.values())))
        state["guidance_of"] = model.argument, model.guidance.scale
        state["guidance"] = min(float(model.guidance.scale), HIGHEST)
        state["sampler"], state["steps"] = model.sampling
    for key, length in (("prompt", LONGEST), ("negative", 500)):
        if isinstance(stated.get(key), str):
            state[key] = stated[key][:length]
    for key, (low, high) in WHOLE.items():
        number = number_in(stated.get(key), low, high)
        if number is not None:
            state[key] = int(number)
    guidance = number_in(stated.get("guidance"), 0.0, HIGHEST)
    if guidance is not None:
        state["guidance"] = guidance
    choices = {"sampler": ui.options("sampler"), "resolution": list(SIZES)}
    choices |= {"enhance": ["none", *(each.label for each in presets().values())]}
    choices |= {key: [UNSTATED, *CLASSES[key]] for key in ("view", "sex")}
    for key, possible in choices.items():
        if stated.get(key) in possible:
            state[key] = stated[key]
    for key in ("watermark", "upscale"):
        switched = number_in(stated.get(key), 0, 1)
        if switched is not None:
            state[key] = bool(switched)
    age = number_in(stated.get("age"), 0, 120)
    if age is not None:
        state["age"] = int(age)


def number_in(value: Any, low: float, high: float) -> float | None:
    """A number from `low` to `high`, from itself or its text; None where it is none.

    >>> number_in("20", 1, 1000), number_in("nan", 0, 10), number_in("1e9", 0, 10), number_in(None, 0, 1)
    (20.0, None, None, None)
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if low <= number <= high else None
