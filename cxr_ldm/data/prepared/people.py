"""Age and sex of a patient, and the view, as tables write them."""

import re
from typing import Literal

Sex = Literal["female", "male"]
View = Literal["PA", "AP", "frontal", "lateral"]

OLDEST = 120.0
AGE_BANDS = {"under 18": (0, 18), "18 to 64": (18, 65), "65 and older": (65, OLDEST + 1)}  # from, and below, in years
UNITS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
# Each projection by its words, and words that say how the patient was placed and change none. Any other word, such as
# decubitus, oblique or lordotic, is of a picture that is none of the four.
PROJECTIONS: dict[View, str] = {
    "PA": "pa posteroanterior",
    "AP": "ap anteroposterior",
    "frontal": "frontal",
    "lateral": "lateral lat ll rl",
}
PLACED = """
    bedside chest cxr erect film frontal large left mobile port portable projection radiograph ray right semi semierect
    semiupright single sitting standing supine thorax upright view x xr xray
"""
WORDS: dict[str, View] = {word: view for view, words in PROJECTIONS.items() for word in words.split()}
SEXES: dict[str, Sex] = {"F": "female", "FEMALE": "female", "M": "male", "MALE": "male"}


def years(cell: str) -> float | None:
    """An age in years; DICOM's unit letters Y, M, W and D are read, years are meant where there is none.

    None where no age is written, or one above 120 years, which is a typing error.

    >>> years("58"), years("014Y"), years("6M"), years("412"), years("45.0"), years("")
    (58.0, 14.0, 0.5, None, 45.0, None)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([YMWD]?)", cell.strip().upper())
    age = float(match[1]) * UNITS[match[2]] if match else None
    return age if age is not None and age <= OLDEST else None


def sex_of(cell: str) -> Sex | None:
    """The sex as a word; None where it is not stated.

    >>> sex_of("M"), sex_of("Female"), sex_of("O")
    ('male', 'female', None)
    """
    return SEXES.get(cell.strip().upper())


def view_in(cell: str) -> View | None:
    """The view that a cell names in words, in either case; None where it names none, or more than one.

    >>> [view_in(cell) for cell in ("AP Supine", "PORTABLE CHEST, antero-posterior", "left lateral", "Frontal PA")]
    ['AP', 'AP', 'lateral', 'PA']
    >>> [view_in(cell) for cell in ("left lateral decubitus", "PA and LAT", "AP oblique", "")]
    [None, None, None, None]
    """
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=ero)[\W_]+", "", cell.lower()))
    if not {*words} <= {*WORDS, *PLACED.split()}:
        return None
    views = {WORDS[word] for word in words if word in WORDS}
    exact = views - {"frontal"} if views & {"PA", "AP"} else views  # each is a frontal view
    return exact.pop() if len(exact) == 1 else None
