"""python -m cxr_ldm.benchmark.prose: figures in the prose of README.md and docs/*.md, from the tables of docs/results.

A figure stands between marks, `<!--figure NAME-->0.66<!--/-->`; docs/figures.toml says of which cells NAME is made.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cxr_ldm.artifacts import write_text
from cxr_ldm.errors import UserError

MARKED = re.compile(r"<!--figure (?P<name>[\w-]+)-->(?P<text>.*?)<!--/-->")
Cell = Mapping[str, str]
Row = tuple[tuple[str, ...], dict[str, str]]


def updated(text: str, figures: Mapping[str, Mapping[str, Any]], results: Path) -> str:
    """The text of a page with every marked figure as the result pages have it.

    Raises:
        UserError: a mark has no figure, or a figure no cell.
    """

    def filled(mark: re.Match[str]) -> str:
        name = mark["name"]
        if name not in figures:
            raise UserError(f"the figure {name} is marked in the prose and not in figures.toml.")
        return f"<!--figure {name}-->{value(name, figures[name], results)}<!--/-->"

    return MARKED.sub(filled, text)


def value(name: str, figure: Mapping[str, Any], results: Path) -> str:
    """A figure as text: its cell, and where it has `over` or `less` another cell, their ratio or difference."""
    number = read_cell(name, figure["cell"], results)
    if "over" in figure:
        number /= read_cell(name, figure["over"], results)
    if "less" in figure:
        number -= read_cell(name, figure["less"], results)
    return format(number, figure["format"])


def read_cell(name: str, cell: Cell, results: Path) -> float:
    """The number that a cell begins with.

    Args:
        cell: `page`, the first cell of its `row`, its `column`, and, where a page has several such tables, `under`: the
            last headings above it, joined by " / ".

    Raises:
        UserError: the page has no such cell, or several.
    """
    page = results / cell["page"]
    try:
        rows = list(table_rows(page.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"the figure {name} needs {page}, which cannot be read ({error.strerror}).") from None
    found = [
        row[cell["column"]]
        for headings, row in rows
        if " / ".join(headings).endswith(cell.get("under", ""))
        and next(iter(row.values())).strip("`") == cell["row"]
        and cell["column"] in row
    ]
    numbers = [re.match(r"-?[\d,]+(\.\d+)?(e-?\d+)?", text) for text in found]
    if len(numbers) != 1 or numbers[0] is None:
        raise UserError(f"the figure {name} needs one number at {dict(cell)}, and {page} has {found or 'none'} there.")
    return float(numbers[0][0].replace(",", ""))


def table_rows(markdown: str) -> Iterator[Row]:
    """Rows of all tables of a page by column, each with the headings above it.

    >>> list(table_rows("# One\\n## Two\\n| a | b |\\n| --- | ---: |\\n| x | 0.5 |\\n"))
    [(('One', 'Two'), {'a': 'x', 'b': '0.5'})]
    """
    headings: dict[int, str] = {}
    columns: list[str] = []
    for line in markdown.splitlines():
        if line.startswith("#"):
            marks, _, words = line.partition(" ")
            headings = {level: text for level, text in headings.items() if level < len(marks)} | {len(marks): words}
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not columns:
            columns = cells
        elif not set(line) <= set("|-: "):
            yield tuple(headings.values()), dict(zip(columns, cells, strict=False))


def pages(root: Path) -> list[Path]:
    """The pages that people write; those of docs/results are written by commands."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def figures_of(root: Path) -> dict[str, Any]:
    """docs/figures.toml."""
    return tomllib.loads((root / "docs" / "figures.toml").read_text(encoding="utf-8"))


def main(root: Path) -> None:
    """Write every figure anew, and say which pages changed."""
    figures = figures_of(root)
    for page in pages(root):
        before = page.read_text(encoding="utf-8")
        after = updated(before, figures, root / "docs" / "results")
        if after != before:
            write_text(page, after)
        print(
            f"  {page.relative_to(root)}: {len(MARKED.findall(after))} figures{', changed' if after != before else ''}"
        )


if __name__ == "__main__":
    main(Path(__file__).resolve().parents[2])
