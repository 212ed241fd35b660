"""Tables as rows of text: CSV files, their columns, and templates over these."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from string import Formatter

from cxr_ldm.data.findings.cleaning import stated
from cxr_ldm.errors import UserError

Row = dict[str, str]


def require_columns(wanted: Sequence[str], existing: Sequence[str], place: str) -> None:
    """Raise UserError naming the first wanted column that is not there once, and those that are."""
    for column in wanted:
        if column not in existing:
            raise UserError(f"{place} has no column {column!r}; it has {', '.join(map(repr, existing)) or 'none'}.")
        if existing.count(column) > 1:
            raise UserError(
                f"{place} has {existing.count(column)} columns {column!r}; give each a name of its own, since no name "
                "says which is meant."
            )


def table_file(path: Path) -> Path:
    """The path, or where there is no such file the one with or without the ending .gz that is there."""
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
    return other if other.is_file() and not path.is_file() else path


def read_csv(path: Path, columns: Sequence[str]) -> list[Row]:
    """Rows of a CSV with a header as text, empty where a cell is or holds a mark of a missing value such as nan.

    Raises:
        UserError: the file is missing or no CSV in UTF-8, a row has more cells than the header, or one of `columns` is
            not in it once.
    """
    header, rows = read_rows(path)
    require_columns(columns, header, str(path))
    return rows


def read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Header and rows of a CSV, as `read_csv` gives them; packed by gzip where its name ends in .gz."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            return _rows(file, path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; it is the table that names the images.") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error}).") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a complete file of gzip ({error}); fetch it again.") from None


def _rows(file: Iterable[str], path: Path) -> tuple[list[str], list[Row]]:
    """Header and rows; cells beyond the header may be there where they are empty, as after a separator at the end.

    A cell too many is a comma that its writer did not quote, which moves all cells after it into other columns.
    """
    reader = csv.reader(file, strict=True)
    header: list[str] = []
    rows: list[Row] = []
    line = 1  # where a row begins: an open quote swallows the lines after it
    try:
        for cells in reader:
            if any(cells[len(header) :]) and header:
                raise UserError(
                    f"{path}: line {line} has {len(cells)} cells and the header {len(header)}; "
                    "put a cell that holds a comma in quotes."
                )
            if header and cells:
                rows.append(dict(zip_longest(header, map(stated, cells[: len(header)]), fillvalue="")))
            header, line = header or cells, reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path} is not a CSV file: {error} in the row that begins in line {line}; a cell that holds a quote is "
            "put in quotes, and its own are doubled."
        ) from None
    return header, rows


def read_joined(
    root: Path, name: str, beside: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[Row], dict[str, int]]:
    """Header and rows of a CSV with the further columns of others, empty where another one has no row for it.

    Args:
        beside: for each other CSV, the columns that both have and that its rows are found by; of several the first.

    Returns:
        header, rows, and for each other CSV the number of rows that it has none for.

    Raises:
        UserError: one of them has a row for none, as where ids are 7 in the one and 007 in the other.
    """
    header, rows = read_rows(table_file(root / name))
    alone = {}
    for other, keys in beside.items():
        path = table_file(root / other)
        more, its_rows = read_rows(path)
        require_columns(keys, header, str(root / name))
        require_columns(keys, more, str(path))
        by_keys: dict[tuple[str, ...], Row] = {}
        for row in its_rows:
            by_keys.setdefault(tuple(row[key] for key in keys), row)
        own = [tuple(row[key] for key in keys) for row in rows]
        alone[other] = sum(each not in by_keys for each in own)
        if rows and alone[other] == len(rows):
            shown = [" ".join(each) for each in (own[0], next(iter(by_keys), ("nothing",)))]
            raise UserError(
                f"data.reader.beside: {path} has a row for none of the {len(rows)} of {root / name}, whose "
                f"{', '.join(keys)} is such as {shown[0]!r} and there {shown[1]!r}; write both alike."
            )
        empty = dict.fromkeys(more, "")
        rows = [empty | by_keys.get(each, {}) | row for each, row in zip(own, rows, strict=True)]
        header += [column for column in more if column not in header]
    return header, rows, alone


def split_columns(
    header: Sequence[str], rows: Sequence[Row], parts: Mapping[str, str], place: str
) -> tuple[list[str], Iterator[Row | str]]:
    """Names of the groups of the expressions, and each row with them, or its cell that an expression is not found in.

    Args:
        parts: column → regular expression with named groups.
    """
    expressions = {}
    require_columns(list(parts), header, place)
    for column, text in parts.items():
        try:
            expressions[column] = re.compile(text)
        except re.error as error:
            raise UserError(f"data.reader.parts.{column}={text!r} is not a regular expression ({error}).") from None

    def split(row: Row) -> Row | str:
        found: Row = {}
        for column, expression in expressions.items():
            match = expression.search(row[column])
            if match is None:
                return row[column]
            found |= match.groupdict(default="")
        return row | found

    return [group for expression in expressions.values() for group in expression.groupindex], map(split, rows)


def defused(cell: str) -> str:
    """A cell of a table that people open: what a spreadsheet would run as a formula becomes text, and numbers stay.

    >>> [defused(cell) for cell in ("=1+1", "@x", "-0.5", "+1e3", "-x", "a=b")]
    ["'=1+1", "'@x", '-0.5', '+1e3', "'-x", 'a=b']
    """
    if not cell.lstrip().startswith(("=", "+", "-", "@")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def has_words(text: str) -> bool:
    """Whether a text holds a word of two letters or more, and not tags, entities and signs alone.

    >>> [has_words(text) for text in ("No.", "5 mm", "-", "0", "[]", "\\u200b", "_x000D_", "<br>&nbsp;</p>")]
    [True, True, False, False, False, False, False, False]
    """
    return re.search(r"[^\W\d_]{2}", re.sub(r"</?[a-zA-Z][^<>]*>|&#?\w+;", " ", text)) is not None


def columns_of(text: str) -> list[str]:
    """Columns that a column name or a template uses; the names may hold anything but braces, colons and `!`.

    >>> columns_of("Chest X-ray, {view} view. {note}"), columns_of("note"), columns_of("{Image.Index}")
    (['view', 'note'], ['note'], ['Image.Index'])
    """
    return [text] if "{" not in text else [name for _, name, _ in _pieces(text) if name is not None]


def fill(text: str, row: Row) -> str:
    """The cell of a column, or a template filled with the cells of its columns; whitespace folded.

    A column may carry a format of Python: of numbers such as `:04d`, where the cell is one, or of text such as `:.2`.

    >>> fill("{Image.Index}/{id:04d}_{id:.1}", {"Image.Index": "a", "id": "17"})
    'a/0017_1'

    Raises:
        UserError: a cell does not have the format.
    """
    if "{" not in text:
        return " ".join(row[text].split())
    filled = (
        before + ("" if name is None else _formatted(row[name], form, name)) for before, name, form in _pieces(text)
    )
    return " ".join("".join(filled).split())


def _pieces(text: str) -> list[tuple[str, str | None, str]]:
    """Of a template, each text with the column after it (None at the end) and its format."""
    try:
        pieces = [(before, name, form or "", turn) for before, name, form, turn in Formatter().parse(text)]
        if any("{" in form or turn or name == "" for _, name, form, turn in pieces):
            raise ValueError("a column has a name and at most a plain format")
    except ValueError as error:
        raise UserError(f"{text!r} is not a template such as 'X-ray, {{view}} view' ({error}).") from None
    return [(before, name, form) for before, name, form, _ in pieces]


def _formatted(cell: str, form: str, name: str) -> str:
    if not form:
        return cell
    kinds = (str,) if not re.search(r"[bcdeEfFgGnoxX%]$|^0\d", form) else (int, _whole, float)
    for kind in kinds:
        try:
            return format(kind(cell), form)
        except ValueError:
            continue
    raise UserError(f"column {name!r} holds {cell!r}, which the format {form!r} of a template does not fit.")


def _whole(cell: str) -> int:
    """The whole number that a table may write as 7.0."""
    if not float(cell).is_integer():
        raise ValueError
    return int(float(cell))
