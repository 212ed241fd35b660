"""A quiz as one HTML file that needs nothing beside it, and what its readers answered as a Markdown page."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from cxr_ldm.metrics.results import Metric
from cxr_ldm.quiz.questions import NONE, SIDES, Question, Quiz, Shown
from cxr_ldm.quiz.score import Scores
from cxr_ldm.report.tables import Table, lines
from cxr_ldm.report.terminal import number

TEMPLATE = "quiz.html.jinja"
COLOUR, FAINT = (255, 75, 75), 110  # of the mask, and how much it covers, of 255
WORDS = {
    "which": "Which of the two is a real radiograph?",
    "real": "Is this a real radiograph, or synthetic?",
    "finding": "What does it show?",
    "side": "On which side of the patient?",
}
NOTICE = (
    "For teaching and research, not for diagnosis. The patient's right side is at the left of the image. Some or all "
    "images of this page are synthetic."
)


def render(quiz: Quiz) -> str:
    """The page of a quiz; it holds the right answers only where it teaches."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True
    )
    data = {
        "id": quiz.identity,
        "kind": quiz.kind,
        "teach": quiz.teach,
        "none": NONE,
        "words": {asked: WORDS[asked] for asked in quiz.choices},
        "order": list(quiz.choices),  # which the template's JSON sorts by name
        "choices": {asked: list(words) for asked, words in quiz.choices.items()},
        "sided": sided(quiz),
        "questions": [asked_of(question, quiz.teach) for question in quiz.questions],
    }
    return environment.get_template(TEMPLATE).render(title=quiz.title, notice=NOTICE, data=data)


def sided(quiz: Quiz) -> list[str]:
    """Findings of which a side is asked: those that have one in any image."""
    return sorted({image.finding for question in quiz.questions for image in question.images if image.side in SIDES})


def asked_of(question: Question, teach: bool) -> dict[str, Any]:
    """What the page knows of a question: its images, and where it teaches, the truth."""
    known: dict[str, Any] = {"images": [picture(image.levels) for image in question.images]}
    if teach:
        known |= {"right": dict(question.answers), "masks": [mask_of(image) for image in question.images]}
        known["shows"] = [said(image) for image in question.images]
    return known


def said(image: Shown) -> str:
    """The truth of an image in words.

    >>> said(Shown(np.zeros((1, 1)), None, "mass", "left"))
    'mass, left'
    """
    return ", ".join(filter(None, [image.finding, image.side]))


def picture(levels: np.ndarray) -> str:
    """A grey picture as text, without a name, a date or a word in it that could tell what it is."""
    return _uri(Image.fromarray(levels))


def mask_of(image: Shown) -> str | None:
    """Where the finding is, as a red veil over the picture."""
    if image.mask is None:
        return None
    veil = np.zeros((*image.mask.shape, 4), np.uint8)
    veil[image.mask] = (*COLOUR, FAINT)
    return _uri(Image.fromarray(veil))


def _uri(drawn: Image.Image) -> str:
    buffer = BytesIO()
    drawn.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def tables(scores: Scores) -> list[Table]:
    """Accuracy and times, agreement, confusions, and accuracy by finding."""
    found = scores.metrics()
    accuracy = [
        accuracy_row(name, found[name], found.get(name.replace("accuracy", "seconds", 1)))
        for name in found
        if name.startswith("accuracy")
    ]
    heads = ["asked", "reader", "right", "accuracy", "95 % interval", "chance", "p against chance", "seconds (median)"]
    made = [Table("Accuracy", "Of first answers.", heads, accuracy)]
    agreed = [
        [name.removeprefix("kappa_"), str(m.settings["kappa"]), number(m.value), ends(m), str(m.n)]
        for name, m in found.items()
        if name.startswith("kappa")
    ]
    if agreed:
        heads = ["asked", "kappa", "value", "95 % interval", "questions"]
        made.append(Table("Agreement between readers", "1 is complete, 0 what chance gives.", heads, agreed))
    for asked in scores.key["choices"]:
        if scores.of_asked(asked):
            made += confusion_tables(scores, asked)
    return made


def accuracy_row(name: str, entry: Metric, time: Metric | None) -> list[str]:
    """One reader, or all, on one thing that is asked."""
    asked = name.split("_")[1]
    reader, right = entry.settings.get("reader", "all"), entry.settings.get("right")
    counted = f"{right} of {entry.n}" if right is not None else f"{entry.n} answers"
    p_value = entry.settings.get("p_value")
    return [
        asked,
        str(reader),
        counted,
        number(entry.value),
        ends(entry),
        number(entry.settings["chance"]),
        "–" if p_value is None else number(p_value),
        "–" if time is None else number(time.value),
    ]


def ends(entry: Metric) -> str:
    """An interval as text, or why there is none."""
    return f"none: {entry.reason}" if entry.ci95 is None else " to ".join(number(end) for end in entry.ci95)


def confusion_tables(scores: Scores, asked: str) -> list[Table]:
    """What was answered for what, and how often it was right by what the images show."""
    rows, columns, counts = scores.confusion(asked)
    about = "A row for each right answer, a column for each that was given, all readers together."
    cells = [[row, *map(str, line)] for row, line in zip(rows, counts, strict=True) if line.sum()]
    made = [Table(f"Answers to: {WORDS[asked]}", about, ["right answer", *(each or "none" for each in columns)], cells)]
    if asked in ("which", "real"):
        about = "What the images show, or were asked to show."
        shares = [[name, f"{right} of {n}"] for name, (right, n) in scores.by_finding(asked).items()]
        made.append(Table("Told right, by finding", about, ["finding", "right"], shares))
    return made


def markdown(scores: Scores) -> str:
    """The page of a quiz's answers."""
    found = [f"# Readers of the quiz {scores.key['quiz']}", str(scores.key.get("images", ""))]
    for table in tables(scores):
        found += [f"## {table.title}", table.about, "\n".join(lines(table))]
    return "\n\n".join(each for each in found if each) + "\n"
