"""A model as it is: its blocks, its training, its measurements; all read from files."""

import pandas as pd
import streamlit as st

from cxr_ldm.app import library, ui
from cxr_ldm.app.drawing import architecture
from cxr_ldm.bundle import read_config
from cxr_ldm.callbacks.history import HISTORY, read_history
from cxr_ldm.inspection.layers import Layer, layers
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.pipeline import TextToCXR


@st.cache_data(show_spinner="Running the model once …")
def structure(_pipeline: TextToCXR, sha256: str) -> list[Layer]:
    """Blocks with the sizes that data have in them, from one step of sampling and one encoding."""
    import torch

    parts = _pipeline.parts()
    halves = {"encoder (VAE)": _pipeline.autoencoder.encoder, "decoder (VAE)": _pipeline.autoencoder.decoder}
    roots = {**{name: part for name, part in parts.items() if name != "autoencoder"}, **halves}

    def run() -> None:
        _pipeline.autoencoder.encode(torch.zeros(1, 1, _pipeline.size, _pipeline.size))
        _pipeline.uncompiled()([""], [0], steps=1, guidance=1.0)

    with ui.turns().turn(lambda ahead: None):
        return layers(roots, run)


def parameters(pipeline: TextToCXR) -> None:
    """Parts with their parameters, and what trains in stage ldm."""
    rows = []
    for name, part in pipeline.parts().items():
        total, trainable = parameter_count(part), parameter_count(part, trainable_only=True)
        if name == "autoencoder":
            trainable = 0  # trained before, and not by the diffusion model
        state = "trained" if trainable == total else "frozen" if trainable == 0 else "partly frozen"
        rows.append(
            {"part": name, "class": type(part).__name__, "parameters": total, "trainable": trainable, "state": state}
        )
    st.dataframe(rows, hide_index=True)
    st.caption("Trainable: in the diffusion model's training; the autoencoder was trained before it.")


def training(model: library.Model) -> None:
    """Curves of the run's folder and the pictures of its validations."""
    if model.run is None:
        st.caption(
            "A model of the package comes without its run folder; conf/experiment lists the commands that make both."
        )
        return
    table = pd.DataFrame(read_history(model.run / HISTORY))
    if table.empty:
        st.caption(f"{model.run} holds no {HISTORY}: it was trained before this was kept.")
    else:
        for name, rows in table.groupby("name"):
            st.markdown(f"**{name}**")
            st.line_chart(rows, x="step", y="value")
    animation = model.run / "samples" / "training.gif"
    if animation.is_file():
        st.image(str(animation), caption="The same prompts and seeds at each validation")


def measurements(model: library.Model) -> None:
    """Evaluations of these weights."""
    found = library.measurements(model)
    if not found:
        st.caption(f"Not measured here: `python evaluate.py stage=ldm bundle={model.argument}` does it.")
    for name, content in found.items():
        st.markdown(f"**{name}**")
        st.dataframe(
            [
                {
                    "metric": key,
                    "value": entry["value"],
                    "95 % interval": "–"
                    if entry["ci95"] is None
                    else f"{entry['ci95'][0]:.4g} to {entry['ci95'][1]:.4g}",
                    "n": entry["n"],
                    "better": "higher" if entry["higher_is_better"] else "lower",
                    "no interval because": entry.get("ci95_reason", ""),
                }
                for key, entry in content.items()
                if key != "run"
            ],
            hide_index=True,
        )
        run = content["run"]
        st.caption(f"`{run['command']}`, commit {run['git_commit']}, seed {run['seed']}, {run['hardware']['cpu']}")


ui.header("Model")
with ui.messages():
    model = ui.choose_model()
    pipeline = ui.loaded(model)
    config = read_config(model.folder)
    facts = {"images": f"{pipeline.size} × {pipeline.size}", "data": config["info"]["data"]["name"]}
    facts |= {"schedule": config["parts"]["schedule"]["part"]}
    facts |= {"predicts": config["parts"]["scaling"]["part"], "sha256": pipeline.sha256[:12]}
    chosen = config["info"].get("guidance", {}).get("chosen", "default")
    how = chosen if isinstance(chosen, str) else f"chosen on {chosen['split']}"
    facts |= {"guidance": f"{model.guidance.scale:g} ({how})"}
    st.caption(" · ".join(f"{name} {value}" for name, value in facts.items()))
    blocks, curves, numbers = st.tabs(["Architecture", "Training", "Measurements"])
    with blocks:
        parameters(pipeline)
        found = structure(pipeline, pipeline.sha256)
        st.graphviz_chart(architecture(found, pipeline.latent_shape), width="content")
        with st.expander("Every block"):
            st.dataframe(
                [
                    {
                        "part": layer.part,
                        "block": layer.name,
                        "class": layer.kind,
                        "output": " × ".join(map(str, layer.shape or ())),
                        "parameters": layer.parameters,
                        "attends to text": layer.attends,
                    }
                    for layer in found
                ],
                hide_index=True,
            )
    with curves:
        training(model)
    with numbers:
        measurements(model)
