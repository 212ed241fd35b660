"""Where a page takes an image from: the last generation, a collection, or a file of the visitor's."""

from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st
import torch

from cxr_ldm.app import ui, uploads
from cxr_ldm.imaging.finish import Finish

OWN_FILE, LAST, COLLECTION = "a file of mine", "the last generated image", "an image of a collection"


def source(key: str, nobody: bool = False) -> tuple[np.ndarray, dict[str, Any]] | None:
    """Grey levels `[H,W]` in [0, 1] and what they are; None while nothing is chosen.

    Args:
        key: begins those of the widgets.
        nobody: whether a DICOM file that says that its pixels tell who it is must be refused.
    """
    choices = [LAST, COLLECTION, OWN_FILE] if "result" in st.session_state else [OWN_FILE, COLLECTION]
    kind = st.radio("Image", choices, key=f"{key}source", horizontal=True)
    if kind == LAST:
        result = st.session_state["result"]
        number = st.number_input("Number", 1, len(result.images), 1, key=f"{key}number") - 1
        request, reading = result.each[number]
        drawn = replace(request, finish=Finish())  # the image is taken as it was drawn, without its files' mark
        return grey(result.images[number]), drawn.facts(0, result.sha256, reading)
    if kind == COLLECTION:
        catalogue = ui.opened(ui.choose_collection(f"{key}collection"))
        row = st.number_input("Row", 0, len(catalogue.prepared) - 1, 0, key=f"{key}row")
        return grey(catalogue.prepared.pixels([row])[0]), {"synthetic": catalogue.prepared.kind == "phantom"}
    file = st.file_uploader("PNG, JPEG or DICOM", max_upload_size=uploads.LARGEST_FILE // 2**20, key=f"{key}file")
    if file is None:
        return None
    return decoded(file.getvalue(), file.name, nobody), {"synthetic": "unknown: an uploaded file"}


@st.cache_data(max_entries=4, show_spinner="Reading the file …")
def decoded(content: bytes, name: str, nobody: bool) -> np.ndarray:
    """The uploaded file, read once and not at each move of a slider."""
    return uploads.decode(content, name, nobody)


def grey(pixels: torch.Tensor) -> np.ndarray:
    """`[1,H,W]` in [-1, 1] -> `[H,W]` in [0, 1]."""
    return ((pixels[0].numpy() + 1) / 2).clip(0, 1)
