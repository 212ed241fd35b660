"""What tables and reports hold besides text: marks of a missing value, marks of a removed name, list numbers."""

import re
from collections import Counter

MARK = re.compile(r"(?<![\w'/-])([\w'/-]*?)X{4,}([\w'/-]*)")
LIST_NUMBER = re.compile(r"(?:^\s*|(?<=\S)\s+)(\d{1,2})[.)](?=\s+\S|[A-Z])")
REMOVED = ("marks", "words joined to marks", "numbers", "stray punctuation", "whitespace")
# What pandas.read_csv takes for a missing value, in lower case: exports of it and of spreadsheets write these words.
MARKS = "#n/a|#n/a n/a|#na|-1.#ind|-1.#qnan|-nan|1.#ind|1.#qnan|<na>|n/a|na|nan|nat|none|null"
NO_VALUE = frozenset(MARKS.split("|"))


def stated(cell: str) -> str:
    """The cell, or nothing where it holds a mark of a missing value.

    >>> stated("NaN"), stated(" None "), stated("None seen.")
    ('', '', 'None seen.')
    """
    return "" if cell.strip().lower() in NO_VALUE else cell


def clean(section: str, removed: Counter[str] | None = None) -> str:
    """Report text without de-identification marks and list numbers, whitespace folded.

    A word joined to a mark goes with it, but for "x-XXXX", which was "x-ray" before the name Ray was removed.

    Args:
        section: one section, since each has a numbering of its own.
        removed: counts by REMOVED are added to it; "whitespace" counts its runs, "stray punctuation" characters.

    >>> clean("Normal chest x-XXXX.  XXXX-year-old with XXXX XXXX, clear lungs .")
    'Normal chest x-ray. with, clear lungs.'
    >>> removed = Counter()
    >>> clean("1. Effusion of 1. 5 cm in  XXXX. 2) No 3.5 cm nodule", removed)
    'Effusion of 1. 5 cm in. No 3.5 cm nodule'
    >>> dict(removed)
    {'marks': 1, 'numbers': 2, 'stray punctuation': 0, 'whitespace': 1, 'words joined to marks': 0}
    """
    count = Counter(dict.fromkeys(sorted(REMOVED), 0))

    def without_mark(match: re.Match[str]) -> str:
        count["marks"] += 1
        if match[1].lower() == "x-" and not match[2]:
            return "x-ray"
        count["words joined to marks"] += bool(re.search(r"\w", match[1] + match[2]))
        return " "

    text, count["numbers"] = _without_numbers(MARK.sub(without_mark, section))
    folded = re.sub(r"\s+([.,;:)])", r"\1", " ".join(text.split()))
    count["whitespace"] = len(re.findall(r"\s{2,}|^\s|\s$", section))
    text = re.sub(r"([.,;:])[.,;:]+", r"\1", folded)
    text = text if re.search(r"\w", text) else ""
    count["stray punctuation"] = len(folded) - len(text)
    if removed is not None:
        removed.update(count)
    return text


def _without_numbers(text: str) -> tuple[str, int]:
    """Text without the numbers of a list that counts from 1, and how many they were.

    Only a number that continues the count is one of the list: "T12. No" and "1.5 cm" are not. Where a sentence ran
    into the next number without a stop, it gets one.
    """
    parts, position, number = [], 0, 1
    for match in LIST_NUMBER.finditer(text):
        part = text[position : match.start()]
        if int(match[1]) == number and (number > 1 or part[-1:] in ("", ".", ":")):
            parts.append(part + (" " if part[-1:] in ("", *".,;:!?") else ". "))
            position, number = match.end(), number + 1
    return "".join([*parts, text[position:]]), number - 1
