"""A quiz for readers: phantoms with the answer shown on the image, or a model's images beside a collection's."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st

from cxr_ldm.app import library, ui
from cxr_ldm.errors import UserError
from cxr_ldm.quiz.page import render, tables
from cxr_ldm.quiz.questions import Quiz
from cxr_ldm.quiz.score import Scores, read_answers
from cxr_ldm.quiz.sources import drawing, of_collection, of_phantoms
from cxr_ldm.report.tables import lines

PHANTOMS, PAIRS, SINGLES = "Learn on phantoms", "Which is real?", "Real or not, which finding, which side?"
SIDE = 256  # pixels of a phantom
HEIGHT = 900  # of the frame that the quiz is in
ASKED = {"real": "real or not", "finding": "finding", "side": "side"}


def made() -> Quiz:
    """The quiz that the settings ask for."""
    n, seed = int(st.session_state["quiz_n"]), int(st.session_state["quiz_seed"])
    if st.session_state["quiz_kind"] == PHANTOMS:
        return of_phantoms(n, SIDE, seed)
    model = next(each for each in library.models() if each.name == st.session_state["quiz_model"])
    prepared = ui.opened(library.collections()[st.session_state["quiz_collection"]]).prepared
    place = st.empty()
    pipeline = ui.shared(model, place.caption)
    draw = drawing(pipeline, prepared, seed, precision="auto")
    kind = "pair" if st.session_state["quiz_kind"] == PAIRS else "single"
    ask = [name for name, word in ASKED.items() if word in st.session_state.get("quiz_ask", [])]
    if kind == "single" and not ask:
        raise UserError("choose what is asked of an image.")
    facts: dict[str, Any] = {"bundle_sha256": pipeline.sha256}
    teach = bool(st.session_state["quiz_teach"])
    with st.spinner("Drawing the model's images …"):
        return of_collection(prepared, "test", draw, kind, ask, n, seed, teach, facts)  # type: ignore[arg-type]


def choose() -> None:
    """What the quiz is about."""
    st.radio("Quiz", [PHANTOMS, PAIRS, SINGLES], key="quiz_kind", horizontal=True)
    left, right = st.columns(2)
    left.number_input("Questions", 2, 100, 10, key="quiz_n")
    right.number_input("Seed of images and order", 0, 2**31, 0, key="quiz_seed")
    if st.session_state["quiz_kind"] == PHANTOMS:
        st.caption(
            "Generated phantoms, whose truth is known: each answer is shown on the image, and errors come again."
        )
        return
    ui.choose_model(key="quiz_model")
    ui.choose_collection(key="quiz_collection")
    if st.session_state["quiz_kind"] == SINGLES:
        st.pills("Asked", list(ASKED.values()), default=list(ASKED.values()), selection_mode="multi", key="quiz_ask")
    st.toggle("Teach: say after each answer what is right, and ask again what was wrong", key="quiz_teach")


def score(key: dict[str, Any]) -> None:
    """What the answers of one or more readers say."""
    files = st.file_uploader("Files of answers to this quiz", "csv", accept_multiple_files=True, key="quiz_answers")
    if not files:
        return
    with TemporaryDirectory() as folder, ui.messages():
        paths = []
        for place, file in enumerate(files):
            paths.append(Path(folder) / f"{place}.csv")
            paths[-1].write_bytes(file.getvalue())
        scores = Scores.of(key, read_answers(paths, key))
        for table in tables(scores):
            st.markdown(f"**{table.title}**")
            st.caption(table.about)
            # names of readers come from the files
            rows = [[ui.literal(" ".join(cell.split())) for cell in row] for row in table.rows]
            st.markdown("\n".join(lines(replace(table, rows=rows))))


ui.header("Quiz")
with ui.messages():
    choose()
    if st.button("Make the quiz", type="primary", key="quiz_make"):
        st.session_state["quiz"] = made()
    quiz = st.session_state.get("quiz")
    if quiz is not None:
        page, key = render(quiz), quiz.key()
        st.iframe(page, height=HEIGHT)
        left, right = st.columns(2)
        left.download_button(
            "The quiz as a file (HTML)", page, f"quiz_{quiz.identity}.html", "text/html", width="stretch"
        )
        right.download_button(
            "Its key, which readers must not see",
            json.dumps(key, indent=2, ensure_ascii=False),
            f"key_{quiz.identity}.json",
            "application/json",
            width="stretch",
        )
        st.subheader("Score")
        score(key)
