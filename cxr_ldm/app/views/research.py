"""Comparisons in a grid, where the model looks for a word, and curves from sweeps; each with its figure and data."""

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
import torch
from PIL.PngImagePlugin import PngInfo

from cxr_ldm.app import library, ui
from cxr_ldm.app.asking import LARGEST_SEED
from cxr_ldm.app.generation import Request
from cxr_ldm.app.viewer import viewer
from cxr_ldm.data.readers.columns import defused
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.curves import points
from cxr_ldm.imaging.grids import KEY, grid, to_uint8
from cxr_ldm.inspection.attention import attention_maps
from cxr_ldm.report.figures import AXES, curve_figure

MOST = 36  # images of one comparison


@dataclass(frozen=True)
class Compared:
    """What a comparison drew.

    Attributes:
        figure: the grid as PNG.
        data: settings, statistics and command of each image.
        pictures: uint8 `[H,W]` each, row by row.
        captions: of each.
        columns: images in a row.
    """

    figure: bytes
    data: pd.DataFrame
    pictures: list[np.ndarray]
    captions: list[str]
    columns: int


def values(axis: str, key: str) -> list[Any]:
    """What an axis runs over."""
    if axis == "finding":
        prompts = ui.examples()
        chosen = st.multiselect("Findings", list(prompts), list(prompts)[:3], key=key)
        return [prompts[name] for name in chosen]
    if axis == "prompt":
        text = st.text_area(
            "Prompts, one a line", "Normal chest X-ray, clear lungs.\nLarge left pleural effusion.", key=key
        )
        return [line.strip() for line in text.splitlines() if line.strip()]
    if axis == "model":
        models = {model.name: model for model in library.models()}
        return [models[name] for name in st.multiselect("Models", list(models), list(models)[:2], key=key)]
    defaults = {"guidance scale": "0, 1, 2, 4", "steps": "5, 10, 20", "seed": "0, 1, 2"}
    kind = float if axis == "guidance scale" else int
    text = st.text_input(f"Values of {axis}, parted by commas", defaults[axis], key=key)
    try:
        found = [kind(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"{axis}: {text!r} is no list of numbers parted by commas.") from None
    low, high = {"steps": (1, 1000), "seed": (0, LARGEST_SEED), "guidance scale": (0, 100)}[axis]
    if not all(low <= value <= high for value in found):
        raise UserError(f"{axis}: {text!r} holds a number that is not from {low} to {high}.")
    return found


FIELDS = {
    "finding": "prompt",
    "prompt": "prompt",
    "guidance scale": "guidance",
    "steps": "steps",
    "seed": "seed",
    "model": "model",
}


def compare() -> None:
    """A grid over one or two settings, everything else alike."""
    columns = st.columns(2)
    with columns[0]:
        down = st.selectbox("Rows", list(FIELDS), 0, key="rows")
        rows = values(down, f"values_rows_{down}")
    with columns[1]:
        across = st.selectbox("Columns", [a for a in FIELDS if FIELDS[a] != FIELDS[down]], 1, key="columns")
        across_values = values(across, f"values_columns_{across}")
    with st.expander("Everything else"):
        model = ui.choose_model()
        prompt = st.text_input("Prompt", ui.examples()["pleural effusion"], key="base_prompt")
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="base_seed")
        steps = st.number_input("Steps", 1, 1000, 20, key="base_steps")
        guidance = st.number_input(
            "Guidance scale", 0.0, 20.0, None, key="base_guidance", placeholder="each model's own"
        )
    base = {"model": model, "prompt": prompt, "seed": int(seed), "steps": int(steps), "guidance": guidance}
    if st.button("Compare", type="primary", key="compare"):
        if not rows or not across_values or len(rows) * len(across_values) > MOST:
            raise UserError(f"{len(rows)} × {len(across_values)} images: choose at least one and at most {MOST}.")
        st.session_state["comparison"] = run_grid(base, (down, rows), (across, across_values))
    if "comparison" in st.session_state:
        show_grid(st.session_state["comparison"])


def run_grid(base: dict[str, Any], down: tuple[str, list[Any]], across: tuple[str, list[Any]]) -> Compared:
    """Draw an image for each pair of values, and nothing else different."""
    requests = [
        Request(**{**base, FIELDS[down[0]]: row, FIELDS[across[0]]: column}, n=1)
        for row in down[1]
        for column in across[1]
    ]
    bar = st.progress(0.0)
    images = []
    for number, request in enumerate(requests, 1):
        images.append(request.generate(ui.shared(request.model, lambda text: bar.progress(0.0, text))))
        bar.progress(number / len(requests), f"{number} of {len(requests)}")
    bar.empty()
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        side = max(image.shape[-1] for image in images)
        images = [torch.nn.functional.interpolate(image, (side, side), mode="bicubic").clamp(-1, 1) for image in images]
    pixels = torch.cat(images)

    def named(axis: str, request: Request) -> str:
        value = getattr(request, FIELDS[axis])
        return value.name if axis == "model" else f"{value}" if axis in ("finding", "prompt") else f"{axis} {value:g}"

    captions = [f"{named(down[0], request)} | {named(across[0], request)}" for request in requests]
    buffer = io.BytesIO()
    chunk = PngInfo()
    chunk.add_itxt(KEY, json.dumps({"synthetic": True, "commands": [request.command() for request in requests]}))
    grid(pixels, len(across[1]), captions).save(buffer, "PNG", pnginfo=chunk)
    data = pd.DataFrame(
        {
            "prompt": request.prompt,
            "model": request.model.name,
            "seed": request.seed,
            "steps": request.steps,
            "guidance": request.rule.scale,
            **numbers,
            "command": request.command(),
        }
        for request, numbers in zip(requests, ui.measured(pixels), strict=True)
    )
    return Compared(buffer.getvalue(), data, [to_uint8(each[0]) for each in pixels], captions, len(across[1]))


def show_grid(compared: Compared) -> None:
    """The figure, its images in the viewer, its numbers, and both as files."""
    st.image(compared.figure)
    with st.expander("Look closely"):
        viewer(compared.pictures, compared.captions, "compared", compared.columns)
    st.dataframe(compared.data, hide_index=True)
    row = st.container(horizontal=True)
    row.download_button("Figure (PNG)", compared.figure, "comparison.png")
    row.download_button("Data (CSV)", as_csv(compared.data), "comparison.csv")


def as_csv(table: pd.DataFrame) -> str:
    """A table as CSV, whose text no spreadsheet takes for a formula."""
    return table.map(lambda cell: defused(cell) if isinstance(cell, str) else cell).to_csv(index=False)


def attention() -> None:
    """Cross-attention of chosen words over the image."""
    st.caption(
        "Shares of cross-attention, averaged over heads, layers and steps (Tang et al. 2023): what the text's words "
        "contributed to, not what the model understood."
    )
    model = ui.choose_model(key="attention_model")
    prompt = st.text_input("Prompt", ui.examples("attention_model")["pleural effusion"], key="attention_prompt")
    columns = st.columns(2)
    seed = columns[0].number_input("Seed", 0, 2**31 - 1, 0, key="attention_seed")
    steps = columns[1].number_input("Steps", 1, 1000, 20, key="attention_steps")
    if st.button("Draw and look", type="primary", key="attention"):
        pipeline = ui.loaded(model)
        with ui.turns().turn(ui.waiting(st.toast)), st.spinner("Generating"):
            st.session_state["maps"] = attention_maps(pipeline, prompt, int(seed), steps=int(steps))
    if "maps" not in st.session_state:
        return
    maps = st.session_state["maps"]
    numbered = {f"{index + 1}. {word}": index for index, word in enumerate(maps.words)}
    picked = st.multiselect("Words", list(numbered), list(numbered)[:6], key="words")
    from cxr_ldm.app.figures import attention_figure

    if picked:
        figure = attention_figure(maps, [numbered[name] for name in picked])
        st.image(figure)
        st.download_button("Figure (PNG)", figure, "attention.png", key="attention_figure")
    table = pd.DataFrame({"word": maps.words, "mean share": maps.maps.mean((1, 2)).tolist()})
    st.dataframe(table, hide_index=True)
    st.download_button("Data (CSV)", as_csv(table), "attention.csv", key="attention_data")


def curves() -> None:
    """Curves over guidance and steps that an evaluation measured."""
    found = {name: content for name, content in library.evaluations() if any(points(content, axis) for axis in AXES)}
    if not found:
        st.info("No evaluation holds curves yet: `python evaluate.py stage=ldm metrics=full` measures them.")
        return
    name = st.selectbox("Evaluation", list(found), key="evaluation")
    for axis in AXES:
        figure = curve_figure(found[name], axis)
        if figure is None:
            continue
        st.html(figure.decode())
        table = pd.DataFrame(
            {"metric": metric, axis: setting, "value": entry["value"], "ci95": str(entry["ci95"]), "n": entry["n"]}
            for metric, each in points(found[name], axis).items()
            for setting, entry in each
        )
        row = st.container(horizontal=True)
        row.download_button("Figure (SVG)", figure, f"{axis}.svg", key=f"svg_{axis}")
        row.download_button("Data (CSV)", as_csv(table), f"{axis}.csv", key=f"csv_{axis}")


ui.header("Research")
grids, looks, sweeps = st.tabs(["Compare", "Attention", "Curves"])
with grids, ui.messages():
    compare()
with looks, ui.messages():
    attention()
with sweeps, ui.messages():
    curves()
