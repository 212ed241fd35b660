"""Age and sex of a patient as tables write them."""

import re
from typing import Literal

Sex = Literal["female", "male"]

OLDEST = 120.0
UNITS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
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
