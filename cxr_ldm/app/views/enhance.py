"""An image through a chain of enhancements: before and after, every stage, and what changed in numbers."""

from typing import Any

import numpy as np
import streamlit as st
import torch

from cxr_ldm.app import ui
from cxr_ldm.app.signing import png_file
from cxr_ldm.app.sources import source
from cxr_ldm.app.viewer import viewer
from cxr_ldm.imaging.enhance import STEPS, Parameter
from cxr_ldm.imaging.presets import apply, presets


def shown(image: np.ndarray) -> np.ndarray:
    """`[H,W]` in [0, 1] for the screen."""
    return ui.picture(torch.from_numpy(image[None] * 2 - 1), 512)


def chain() -> list[dict[str, Any]]:
    """The steps, their order and their parameters."""
    found = presets()
    labels = {preset.label: preset for preset in found.values()}
    label = st.selectbox("Preset", list(labels), key="preset")
    preset = labels[label]
    st.caption(preset.description)
    own = {str(step["step"]): step for step in preset.steps}
    order = st.multiselect(
        "Steps, in the order in which they are applied",
        list(STEPS),
        default=list(own),
        format_func=lambda name: STEPS[name].label,
        key=f"order_{label}",
        help="Take one out and choose it again to move it to the end.",
    )
    steps: list[dict[str, Any]] = []
    for name in order:
        with st.expander(STEPS[name].label, expanded=False):
            st.caption(STEPS[name].help)
            values = {
                parameter.name: slider(label, name, parameter, own.get(name, {}).get(parameter.name, parameter.default))
                for parameter in STEPS[name].parameters
            }
        steps.append({"step": name, **values})
    return steps


def slider(preset: str, step: str, parameter: Parameter, value: Any) -> Any:
    """One parameter, of the type of its default."""
    kind = type(parameter.default)
    low, high, stride = kind(parameter.low), kind(parameter.high), kind(parameter.step)
    key = f"{preset}_{step}_{parameter.name}"
    return st.slider(parameter.name.replace("_", " "), low, high, kind(value), stride, key=key)


def show(image: np.ndarray, steps: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """Before and after, the stages, the numbers, the file."""
    stages = apply(image, steps)
    after = stages[-1].image if stages else image
    view = st.segmented_control("View", ["divider", "side by side", "stages"], default="divider", key="view_mode")
    if view == "side by side":
        viewer([shown(image), shown(after)], ["before", "after"], "enhanced", columns=2)
    elif view == "stages":
        captions = ["before", *(f"{number}. {stage.label}" for number, stage in enumerate(stages, 1))]
        viewer([shown(image), *(shown(stage.image) for stage in stages)], captions, "stages", columns=3)
    else:
        ui.compare_slider(shown(image), shown(after))
    before_numbers, after_numbers = ui.measured(torch.from_numpy(np.stack([image, after])[:, None] * 2 - 1))
    st.dataframe(
        [{"statistic": n, "before": before_numbers[n], "after": after_numbers[n]} for n in before_numbers],
        hide_index=True,
    )
    stated = {**facts, "enhance": {"steps": steps}}
    pixels = torch.from_numpy(after[None] * 2 - 1)
    name = "enhanced.png"
    st.download_button("PNG of the result", lambda: png_file(pixels, stated, name), name)


ui.header("Enhance")
left, right = st.columns([1, 2], gap="large")
with left, ui.messages():
    steps = chain()
with right, ui.messages():
    found = source("")
    if found is None:
        st.info("Choose an image; presets and sliders then act on it at once.")
    else:
        show(found[0], steps, found[1])
