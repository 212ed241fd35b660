"""Age and sex of a patient, and the view, as tables write them."""

import re
from typing import Literal

Sex = Literal["female", "male"]
View = Literal["PA", "AP", "frontal", "lateral"]

OLDEST = 120.0
AGE_BANDS = {"under 18": (0, 18), "18 to 64": (18, 65), "65 and older": (65, OLDEST + 1)}  # from, and below, in years
UNITS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
AGE = re.compile(r"(\d+(?:\.\d+|,\d{1,2})?)\s*(Y(?:EARS?|RS?)?\.?|M(?:ONTHS?)?|W(?:EEKS?)?|D(?:AYS?)?)?")
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
SEXES: dict[str, Sex] = {
    **dict.fromkeys(("F", "FEMALE", "WOMAN"), "female"),  # no W, which is a woman in German and white in English
    **dict.fromkeys(("M", "MALE", "MAN"), "male"),
}


def years(cell: str) -> float | None:
    """An age in years; DICOM's unit letters Y, M, W and D are read, and their words; years are meant where none is.

    None where no age is written, or one above 120 years, which is a typing error.

    >>> years("58"), years("014Y"), years("6M"), years("412"), years("45.0"), years("")
    (58.0, 14.0, 0.5, None, 45.0, None)
    >>> years("58 years"), years("18 months"), years("45,5"), years("1,058"), years("90+")
    (58.0, 1.5, 45.5, None, None)
    """
    match = AGE.fullmatch(cell.strip().upper())
    age = float(match[1].replace(",", ".")) * UNITS[(match[2] or "")[:1]] if match else None
    return age if age is not None and age <= OLDEST else None


def sex_of(cell: str) -> Sex | None:
    """The sex as a word; None where it is not stated.

    >>> sex_of("M"), sex_of("Female"), sex_of("F."), sex_of("O"), sex_of("W")
    ('male', 'female', 'female', None, None)
    """
    return SEXES.get(cell.strip().removesuffix(".").upper())


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
