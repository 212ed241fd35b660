"""A metrics.json as a page of docs/results."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_ldm.artifacts import write_text
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.splits import sentence
from cxr_ldm.metrics.results import DIRTY, read_metrics
from cxr_ldm.report.by_finding import ABOUT, Figure, by_finding, measured, notes
from cxr_ldm.report.tables import finding_table, headline_table, markdown, reference_table
from cxr_ldm.report.terminal import plain, rows, title

UNCOMMITTED = "Not to be published: made by code that differs from its commit, so nobody can make it again."


def write_page(folder: Path, page: Path, before: Path | None = None) -> Path:
    """Write a Markdown page from `folder`/metrics.json, and a grid of generated images beside it.

    Args:
        before: a page that an earlier evaluation wrote; its figures stand beside the new ones.

    The grid is that of prompts in our own words where there is one: the other has sentences of the collection's
    reports, which its terms may forbid to show. Pages are published: a grid that shows real radiographs (the
    autoencoder's), or that was not found free of near copies of training images, is left out, and the page says so.
    """
    content = read_metrics(folder / "metrics.json")
    earlier = figures(before) if before is not None else {}
    copies = content.get("near_copies", {}).get("value")
    grid = next((path for name in ("own.png", "grid.png") if (path := folder / name).exists()), None)
    if copies == 0 and grid is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(grid, page.with_suffix(".png"))
        text = render_markdown(content, title(content), image=page.with_suffix(".png").name, earlier=earlier)
    else:
        page.with_suffix(".png").unlink(missing_ok=True)
        why = (
            "near copies of training images were found" if copies else "no picture was found to be free of real images"
        )
        text = render_markdown(content, title(content), intro=f"Without a picture: {why}.", earlier=earlier)
    publish(page, text, content["run"])
    return page


def publish(page: Path, text: str, run: Mapping[str, Any]) -> None:
    """Write a page; one that code without a commit made says so below its heading, and so does the terminal."""
    if str(run["git_commit"]).endswith(DIRTY):
        print(f"{page} is not to be published: the code differs from its commit; commit, and measure again.")
        heading, _, rest = text.partition("\n")
        text = f"{heading}\n\n**{UNCOMMITTED}**\n{rest}"
    write_text(page, text)


def figures(page: Path) -> dict[str, str]:
    """Value of each metric as a page of `write_page` shows it.

    Raises:
        UserError: the page cannot be read, or is none of ours.
    """
    try:
        lines = page.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"before={page} cannot be read ({error}).") from None
    rows = [line.split(" | ") for line in lines if line.startswith("| `")]
    if not rows:
        raise UserError(f"before={page} holds no table of metrics; name a page that evaluate.py wrote.")
    return {row[0].strip("| `"): row[1] for row in rows}


def render_markdown(
    content: Mapping[str, Any],
    heading: str,
    intro: str = "",
    image: str | None = None,
    alt: str = "generated images",
    earlier: Mapping[str, str] | None = None,
) -> str:
    """A page for docs/results.

    Args:
        intro: text without numbers.
        image: path relative to the page; `alt` says what it shows.
        earlier: value of a metric in an earlier evaluation, in a column of their own.
    """
    lines, split = [f"# {heading}", ""], sentence(content["run"])
    lines += [split, ""] if split else []
    lines += [intro, ""] if intro else []
    lines += [f"![{alt}]({image})", ""] if image else []
    top = markdown(headline_table(content))
    lines += top[1:]
    tables = finding_lines(content) + markdown(finding_table(content)) + markdown(reference_table(content))
    if top:  # what is asked first stands first; all the rest opens on a click
        lines += [*tables, "", "## All figures", "", *folded("Every metric", figure_lines(content, earlier))]
    else:
        lines += figure_lines(content, earlier) + tables
    lines += ["", "## Run", "", *(f"- {key}: `{plain(value)}`" for key, value in content["run"].items())]
    settings = [
        f"- `{row['name']}`: `{row['settings']}`" + (f"; no interval: {row['reason']}" if row["reason"] else "")
        for row in rows(content)
    ]
    lines += ["", "## Settings", "", *folded("What each figure is made of", settings)]
    return "\n".join(lines) + "\n"


def folded(summary: str, lines: list[str]) -> list[str]:
    """Markdown behind a line that opens it."""
    return ['<details markdown="1">', f"<summary>{summary}</summary>", "", *lines, "", "</details>"]


def figure_lines(content: Mapping[str, Any], earlier: Mapping[str, str] | None) -> list[str]:
    """A table of every metric."""
    before = ("| before ", "| ---: ") if earlier else ("", "")
    lines = [
        f"| metric | value | 95 % interval | n {before[0]}| interval over | meaning |",
        f"| --- | ---: | ---: | ---: {before[1]}| --- | --- |",
    ]
    for row in rows(content):
        value = row["value"] + (f" ± {row['error']} SE" if row["error"] else "")
        text = f"{row['meaning']} ({row['direction']})" if row["meaning"] else row["direction"]
        then = f"| {earlier.get(row['name'], '–')} " if earlier else ""
        lines.append(f"| `{row['name']}` | {value} | {row['interval']} | {row['n']} {then}| {row['over']} | {text} |")
    return lines


def finding_lines(content: Mapping[str, Any]) -> list[str]:
    """A table with a row for each finding, and why what is missing is missing; nothing where none is known."""
    table = by_finding(content)
    if not table:
        return []
    why, (filled, absent) = notes(table), measured(table)

    def text(each: Figure) -> str:
        return each.text + (f" [{why[each.reason]}]" if each.reason else "")

    lines = ["", "## By finding", "", ABOUT, "", f"| finding | images | {' | '.join(filled.values())} |"]
    lines.append("| --- | ---: |" + " ---: |" * len(filled))
    for row in table:
        pairs = [row.figures[measure] for measure in filled]
        # one dash is enough where both are missing for the same reason
        cells = [text(made) if made == real else f"{text(made)}; real {text(real)}" for made, real in pairs]
        lines.append(f"| {row.finding} | {row.count} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {reason}" for reason, number in why.items())]
    return [*lines, "", *(f"- {reason}" for reason in absent.values())]
