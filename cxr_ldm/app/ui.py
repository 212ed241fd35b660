"""What the pages share: the banner, errors as sentences, choices, pictures, and what is kept in memory."""

import gc
import html
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
import torch
from PIL import Image
from torch import Tensor

from cxr_ldm.app import library
from cxr_ldm.app.examples import examples_of
from cxr_ldm.app.generation import Request
from cxr_ldm.app.sharing import InTurns
from cxr_ldm.app.turns import Turns
from cxr_ldm.assets import CONF, UPSCALERS
from cxr_ldm.data.prepared.browse import Catalogue
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.imaging import contrast as statistics
from cxr_ldm.imaging.enlarging import Enlarger
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.metrics.copies.memorisation import NearCopies
from cxr_ldm.metrics.copies.neighbours import References, neighbours
from cxr_ldm.pipeline import TextToCXR

BANNER = "Synthetic images, for research and teaching. Not for diagnosis."
PATIENTS = "Radiographs of patients; what is drawn beside them is synthetic. Not for diagnosis."
SHOWN = 320  # pixels that a small picture is enlarged to at least
SKETCH = 256  # likewise, of what is drawn while the visitor types
STATISTICS = {
    "Michelson contrast": statistics.michelson_contrast,
    "RMS contrast": statistics.rms_contrast,
    "sharpness": statistics.sharpness,
    "entropy (bits)": statistics.entropy,
}


def header(title: str, of_patients: bool = False) -> None:
    """The top of every page: its name, and what its images are."""
    st.subheader(title)
    st.warning(PATIENTS if of_patients else BANNER, icon=":material/warning:")


def literal(text: str) -> str:
    """Text of a visitor as Markdown that shows it letter for letter: no picture is fetched, and no link made.

    >>> print(literal("![x](https://a.b)"))
    \\!\\[x\\]\\(https\\:\\/\\/a\\.b\\)
    """
    return re.sub(r"([^\w\s,;])", r"\\\1", text)


@contextmanager
def messages() -> Iterator[None]:
    """Show what the user can mend as one sentence, and go on living."""
    try:
        yield
    except UserError as error:
        st.error(str(error))


def forget(released: TextToCXR) -> None:
    """A model that makes room for another is no longer in memory."""
    in_memory().discard(released.sha256)


@st.cache_resource(max_entries=3, show_spinner="Loading the model …", on_release=forget)
def pipeline(folder: Path, sha256: str) -> TextToCXR:
    """A model in memory, by its folder and what is in it."""
    found, backend = TextToCXR.from_bundle(folder), os.environ.get(library.COMPILE)
    found = found.compile(backend) if backend else found
    # Streamlit collects garbage after each run of a page, for half a second with all libraries to look at; these stay
    gc.collect()
    gc.freeze()
    return found


@st.cache_resource
def enlarger() -> Enlarger:
    """The package's network for larger images, in memory."""
    name, folder = next(iter(UPSCALERS.items()))
    return Enlarger.load(folder, name)


@st.cache_resource(max_entries=3, show_spinner="Reading the collection …")
def catalogue(folder: Path, made: float) -> Catalogue:
    """A prepared collection in memory, by its folder and the time of its record."""
    return Catalogue(Prepared(folder))


@st.cache_resource(max_entries=2, show_spinner="Reading the training images …")
def references(folder: Path, made: float) -> References:
    """A collection's training images in memory, as small as they are compared, by its folder and its record's time."""
    return References.of(Prepared(folder))


@st.cache_resource
def turns() -> Turns:
    """The queue of everyone who generates on this machine."""
    return Turns()


def waiting(show: Callable[[str], Any]) -> Callable[[int], None]:
    """What the queue calls: says how many are ahead."""

    def tell(ahead: int) -> None:
        show(f"Waiting: {ahead} before you.")

    return tell


def loaded(model: library.Model) -> TextToCXR:
    """The pipeline of a model in the list."""
    sha256 = library.bundle_sha256(model.folder)
    found = pipeline(model.folder, sha256)
    in_memory().add(sha256)
    return found


def shared(model: library.Model, show: Callable[[str], Any]) -> InTurns:
    """The pipeline of a model in the list, for many images; `show` says how many are ahead."""
    return InTurns(loaded(model), turns(), waiting(show))


def ready(model: library.Model) -> TextToCXR | None:
    """The pipeline of a model that was loaded before; None where that would take time."""
    return loaded(model) if library.bundle_sha256(model.folder) in in_memory() else None


@st.cache_resource
def in_memory() -> set[str]:
    """Which models were loaded in this process, by their sha256."""
    return set()


def sketched(request: Request) -> np.ndarray:
    """The picture of a request of one image, by a student, whose scale of guidance is held within what it learnt."""
    pipeline = loaded(request.model)
    low, high = pipeline.denoiser.network.learnt_scales  # type: ignore[misc]
    scale = min(max(request.rule.scale, low), high)
    patient = tuple(request.patient.items())
    return _sketched(pipeline, pipeline.sha256, request.prompt, request.seed, request.steps, scale, patient)


@st.cache_data(max_entries=64, show_spinner=False)
def _sketched(
    _pipeline: TextToCXR, sha256: str, prompt: str, seed: int, steps: int, scale: float, patient: tuple[Any, ...]
) -> np.ndarray:
    """A picture that was sketched once is kept; `sha256` stands for the pipeline."""
    people = [dict(patient)] if patient else None
    with turns().turn(lambda ahead: None):
        images = _pipeline(prompt, seeds=seed, steps=steps, guidance=scale, patients=people, precision="auto")
    return picture(images[0], SKETCH)


def opened(folder: Path) -> Catalogue:
    """The catalogue of a collection in the list."""
    return catalogue(folder, made(folder))


def made(folder: Path) -> float:
    """When a collection was prepared: another time, another content."""
    return (folder / library.RECORD).stat().st_mtime


def choose_model(label: str = "Model", key: str = "model") -> library.Model:
    """A list of what can be chosen, and nothing else: no path can be typed."""
    found = {model.name: model for model in library.models()}
    return found[st.selectbox(label, list(found), key=key)]


def examples(key: str = "model") -> dict[str, str]:
    """Prompts to begin with for the model that is chosen in the list of this key, or that stands first in it."""
    found = {model.name: model for model in library.models()}
    chosen = found.get(st.session_state.get(key, ""), next(iter(found.values())))
    return examples_of(chosen.kind)


def choose_collection(key: str = "collection") -> Path:
    """The prepared collections in a list; stops the page with a sentence where there is none."""
    found = library.collections()
    if not found:
        st.info("No prepared collection is there yet: `python -m cxr_ldm.prepare data=phantom` makes one in seconds.")
        st.stop()
    return found[st.selectbox("Collection", list(found), key=key)]


def chosen_collection(key: str = "collection") -> Path | None:
    """The collection in the list, or its first; None where there is none."""
    found = library.collections()
    return found.get(st.session_state.get(key, ""), next(iter(found.values()), None))


def options(group: str) -> list[str]:
    """Names in a config group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def picture(pixels: Tensor | np.ndarray, side: int = SHOWN) -> np.ndarray:
    """Pixels `[1,H,W]` in [-1, 1] as uint8 for the screen; small ones are enlarged (bicubic), for the eye alone."""
    grey = to_uint8(torch.as_tensor(pixels)[0])
    factor = -(-side // grey.shape[1])
    image = Image.fromarray(grey)
    return np.asarray(image.resize((grey.shape[1] * factor, grey.shape[0] * factor), Image.Resampling.BICUBIC))


def measured(images: Tensor) -> list[dict[str, float]]:
    """The image statistics of each of `[N,1,H,W]`."""
    columns = {name: measure(images).tolist() for name, measure in STATISTICS.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def nearest(model: library.Model, images: Tensor) -> tuple[NearCopies, list[int], Catalogue] | None:
    """The nearest training images, their rows and their collection; None where that is not here."""
    folder = library.collection_of(model)
    if folder is None:
        return None
    found, training = neighbours(images, references(folder, made(folder)))
    return found, [int(training[index]) for index in found.index.tolist()], opened(folder)


def compare_slider(before: np.ndarray, after: np.ndarray, labels: Sequence[str] = ("before", "after")) -> None:
    """Two pictures in one place with a divider that can be dragged, or moved by the arrow keys."""
    from cxr_ldm.app.divider import divider

    st.iframe(divider(before, after, *labels))


def coloured(text: str, spans: Sequence[Any]) -> str:
    """A text as HTML with its findings marked: present, uncertain, or absent, by colour, underline and title."""
    style: Mapping[str, str] = {
        "present": "background:rgba(217,83,25,.28);border-bottom:2px solid #d95319",
        "uncertain": "background:rgba(237,177,32,.28);border-bottom:2px dashed #edb120",
        "absent": "background:rgba(70,130,180,.22);border-bottom:2px dotted #4682b4",
    }
    parts, end = [], 0
    for span in spans:
        side = f", {span.side}" if span.side else ""
        title = html.escape(f"{span.name}: {span.certainty}{side}", quote=True)
        marked = html.escape(text[span.start : span.end])
        parts += [html.escape(text[end : span.start])]
        parts += [f'<mark style="color:inherit;{style[span.certainty]}" title="{title}">{marked}</mark>']
        end = span.end
    return f"<p>{''.join([*parts, html.escape(text[end:])])}</p>"
