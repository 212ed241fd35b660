"""What a table leaves open, and what a setting asks of it in vain: number of rows by what is said of them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cxr_ldm.data.readers.columns import Row


def of_patients(ids: Sequence[str]) -> dict[str, int]:
    """Rows without a patient, and rows whose patient may be another one's, written in another way.

    >>> list(of_patients(["7", "007", "", "8"]).items())
    [('without a patient, each a patient of its own', 1), ("of patients '007' and '7', who count as two people", 2)]
    """
    empty = sum(not each for each in ids)
    said = {"without a patient, each a patient of its own": empty} if empty else {}
    alike: dict[str, set[str]] = {}
    for each in filter(None, ids):
        alike.setdefault(re.sub(r"^0+(?=\w)|\.0+$", "", each.casefold()), set()).add(each)
    groups = [sorted(group) for group in alike.values() if len(group) > 1]
    if groups:
        first, second = groups[0][:2]
        more = f", and {len(groups) - 1} more such pairs" if len(groups) > 1 else ""
        several = {each for group in groups for each in group}
        rows = sum(each in several for each in ids)
        said[f"of patients {first!r} and {second!r}, who count as two people{more}"] = rows
    return said


def unread(cells: Iterable[str], read: Callable[[str], Any], what: str) -> dict[str, int]:
    """Rows whose cell is not empty and still not read.

    >>> unread(["12", "", "x", "y"], lambda cell: int(cell) if cell.isdigit() else None, "number")
    {"whose number is not read, such as 'x'": 2}
    """
    found = [cell for cell in cells if cell and read(cell) is None]
    return {f"whose {what} is not read, such as {found[0]!r}": len(found)} if found else {}


def unparted(rows: Sequence[Row], column: str, separator: str) -> dict[str, int]:
    """Rows whose classes have another separator between them, where no row has the one that is set.

    >>> unparted([{"kind": "Edema;Mass"}, {"kind": "Mass"}], "kind", "|")
    {"whose 'kind' has ';' and is one class, since data.reader.separator is '|'": 1}
    """
    cells = [row[column] for row in rows]
    if any(separator in cell for cell in cells):
        return {}
    found = {other: sum(other in cell for cell in cells) for other in ";|,"}
    return {
        f"whose {column!r} has {other!r} and is one class, since data.reader.separator is {separator!r}": count
        for other, count in found.items()
        if count
    }


def unmet(rows: Sequence[Row], wanted: Mapping[str, Iterable[str]], key: str) -> dict[str, int]:
    """0 for each cell of a column that a setting names and no row has.

    >>> unmet([{"view": "pa"}], {"view": ["PA", "pa"]}, "data.reader.values")
    {"whose 'view' is 'PA' (data.reader.values)": 0}
    """
    there = {column: {row[column] for row in rows} for column in wanted}
    return {
        f"whose {column!r} is {cell!r} ({key})": 0
        for column, cells in wanted.items()
        for cell in cells
        if cell not in there[column]
    }
