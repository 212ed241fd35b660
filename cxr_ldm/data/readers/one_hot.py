"""Label tables with a column for each class, as the labelers of CheXpert and MIMIC-CXR-JPG write them."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from cxr_ldm.errors import UserError

State = Literal["present", "absent", "uncertain"]
STATES: dict[float, State] = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}
WORDS: dict[str, State] = {
    **dict.fromkeys(("present", "true", "yes", "y", "positive"), "present"),
    **dict.fromkeys(("absent", "false", "no", "n", "negative"), "absent"),
    "uncertain": "uncertain",
}
NO_FINDING = "No Finding"
MOST_SHOWN = 5  # cells that a message names

# Labels whose own name would not read as a finding of the chest; the others are used as they are.
PHRASES = {
    "Effusion": "pleural effusion",
    "Edema": "pulmonary edema",
    "Infiltration": "pulmonary infiltration",
    "Fibrosis": "pulmonary fibrosis",
    "Mass": "lung mass",
    "Nodule": "lung nodule",
    "Hernia": "hiatal hernia",
    # "lung" after a comma would begin a clause of its own, which "no" at the head of a list does not reach
    "Lung Opacity": "pulmonary opacity",
    "Lung Lesion": "pulmonary lesion",
    "Pleural Other": "other pleural abnormality",
}


def phrase(label: str) -> str:
    """A class as words of a report.

    >>> phrase("Edema"), phrase("Pleural_Thickening")
    ('pulmonary edema', 'pleural thickening')
    """
    return PHRASES.get(label, label.replace("_", " ").lower())


def states_of(row: Mapping[str, str], columns: Sequence[str]) -> dict[str, State | None]:
    """What a row says of each class; None where it says nothing.

    >>> states_of({"Edema": "-1.0", "Mass": "0", "Hernia": "", "Nodule": "1.0"}, ["Edema", "Mass", "Hernia", "Nodule"])
    {'Edema': 'uncertain', 'Mass': 'absent', 'Hernia': None, 'Nodule': 'present'}

    Raises:
        UserError: a cell says something else.
    """
    return {column: _state(row[column].strip(), column) for column in columns}


def _state(cell: str, column: str) -> State | None:
    if not cell:
        return None
    try:
        return WORDS[cell.lower()] if cell.lower() in WORDS else STATES[float(cell)]
    except (ValueError, KeyError):
        raise UserError(f"{column} is {cell[:20]!r}, and not 1, 0, -1 or nothing") from None


def sentences(states: Mapping[str, State | None]) -> str:
    """What is present, uncertain and absent, in up to three sentences; nothing where nothing is stated.

    >>> sentences({"Edema": "present", "Pneumonia": "uncertain", "Pneumothorax": "absent", "Fracture": "absent"})
    'Pulmonary edema. Possible pneumonia. No pneumothorax or fracture.'
    >>> sentences({"No Finding": "present", "Support Devices": "present", "Edema": None})
    'No acute cardiopulmonary abnormality. Support devices.'
    """
    named = {
        state: [phrase(label) for label, stated in states.items() if stated == state and label != NO_FINDING]
        for state in STATES.values()
    }
    parts = [
        "no acute cardiopulmonary abnormality" if states.get(NO_FINDING) == "present" else "",
        listed(named["present"], "and"),
        *(f"possible {name}" for name in named["uncertain"]),
        f"no {listed(named['absent'], 'or')}" if named["absent"] else "",
    ]
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)


def listed(names: Sequence[str], last: str) -> str:
    """Names as a list in words.

    >>> listed(["a", "b", "c"], "or"), listed(["a"], "or")
    ('a, b or c', 'a')
    """
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def check_classes(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Raises UserError where a column of class names holds but codes, or a list in brackets."""
    for column in columns:
        cells = sorted({row[column].strip() for row in rows} - {""})
        if cells and all(re.fullmatch(r"[+-]?\d+(\.\d*)?", cell) or cell.lower() in WORDS for cell in cells):
            raise UserError(
                f"data.reader.labels names the column {column!r}, whose cells are {', '.join(cells[:MOST_SHOWN])} and "
                "no classes; give the columns of one class each as data.reader.one_hot."
            )
        brackets = next((cell for cell in cells if cell[0] + cell[-1] in ("[]", "{}")), None)
        if brackets:
            raise UserError(
                f"data.reader.labels names the column {column!r}, where {brackets[:40]!r} is a list in brackets and no "
                "class; write the classes of a cell with data.reader.separator between them."
            )
