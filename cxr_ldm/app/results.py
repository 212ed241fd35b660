"""What was drawn: in the viewer, with its numbers, what it resembles, and its files."""

from functools import partial
from typing import Any

import streamlit as st
from torch import Tensor

from cxr_ldm.app import ui
from cxr_ldm.app.asking import link, settings_of
from cxr_ldm.app.generation import Result, animation, dicom_files, png_files, zip_bytes
from cxr_ldm.app.viewer import viewer
from cxr_ldm.imaging.grids import to_uint8


def results(result: Result) -> None:
    """Pictures with their numbers, and warnings where one is too close to a training image.

    Numbers and nearness are of the images as they were drawn; the pictures and the files are finished.
    """
    facts = result.facts()
    viewer([to_uint8(image[0]) for image in result.finished], result.captions(), "drawn", columns=2)
    closeness(result)
    downloads(result.finished, facts, result.frames, result.moving)
    with st.expander("Measured"):
        st.dataframe(
            [{"image": said} | numbers for said, numbers in zip(result.captions(), result.numbers, strict=True)],
            hide_index=True,
        )
    with st.expander("The same images again"):
        for request in result.requests:
            st.code(request.command(), language="bash", wrap_lines=True)
        st.caption("As a link to this page:")
        st.code(link(settings_of(result.requests)), language=None, wrap_lines=True)


def closeness(result: Result) -> None:
    """The nearest training image of each, and which is too close to its own."""
    if result.found is None:
        st.caption(
            "Nearness to training images was not checked: the collection that this model was trained on is not among "
            "the prepared ones here."
        )
        return
    near, rows, catalogue = result.found
    said = result.captions()
    for index in range(len(said)):
        if near.copied[index]:
            likeness = float(near.correlation[index])
            alike = f"correlation {likeness:.3f}, limit {near.limit:.3f}"
            st.error(f"{ui.literal(said[index])} is too close to a training image ({alike}).")
    with st.expander("Nearest training images"):
        pictures = [to_uint8(each[0]) for each in catalogue.prepared.pixels(rows)]
        correlations = [f"of {each}: {float(near.correlation[index]):.3f}" for index, each in enumerate(said)]
        viewer(pictures, correlations, "nearest", columns=4)
        for each, text in zip(said, catalogue.prepared.texts(rows), strict=True):
            st.caption(ui.literal(f"{each}: {text}"))


def downloads(images: Tensor, facts: list[dict[str, Any]], frames: list[Tensor], moving: bytes) -> None:
    """Files, made when they are asked for; each says that it is synthetic."""

    pngs, dicoms = partial(png_files, images, facts), partial(dicom_files, images, facts)

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
    with st.expander("How they formed, step by step"):
        shape = st.columns(2)
        st.image(moving, caption="Estimates of the final images")
        shape[0].download_button("GIF", moving, "denoising.gif")
        shape[1].download_button("WebP", lambda: animation(frames, min(4, len(images)), "WEBP"), "denoising.webp")
