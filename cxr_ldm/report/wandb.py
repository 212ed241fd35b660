"""An evaluation on W&B: numbers as summary, tables of them, by finding and image by image, and the pictures."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_ldm.evaluation.shown import COLUMNS, NUMBERS, TABLE
from cxr_ldm.report import terminal as report
from cxr_ldm.report.by_finding import MEASURES, by_finding
from cxr_ldm.report.html import PICTURES

METRICS = ("metric", "value", "low", "high", "real images", "n", "direction", "meaning")
Line = list[Any]


def log_evaluation(run: Any, content: Mapping[str, Any], folder: Path) -> None:
    """Log a metrics.json and the pictures beside it under `evaluation/`.

    Args:
        run: of W&B, which keeps it on disk where it is offline.
        folder: of the pictures; those of `nearest` and of an autoencoder show radiographs of the collection.
    """
    import wandb

    columns: Line = [*METRICS]
    logged: dict[str, Any] = {"evaluation/metrics": wandb.Table(columns=columns, data=metric_lines(content))}
    headings, lines = finding_lines(content)
    if lines:
        logged["evaluation/findings"] = wandb.Table(columns=headings, data=lines)
    for name, (_, caption) in PICTURES.items():
        if (folder / f"{name}.png").exists():
            logged[f"evaluation/{name}"] = wandb.Image(str(folder / f"{name}.png"), caption=caption)
    if (folder / TABLE).exists():
        logged["evaluation/shown"] = shown_table(folder)
    run.log(logged)
    run.summary.update({f"evaluation/{name}": entry["value"] for name, entry in content.items() if name != "run"})


def shown_table(folder: Path) -> Any:
    """shown.csv with its pictures in place of their names and its probabilities as numbers."""
    import wandb

    with open(folder / TABLE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [
        [
            wandb.Image(str(folder / cell)) if name == "image" else _number(cell) if name in NUMBERS else cell
            for name, cell in row.items()
        ]
        for row in rows
    ]
    return wandb.Table(columns=[*COLUMNS], data=lines)


def metric_lines(content: Mapping[str, Any]) -> list[Line]:
    """A line for each metric, with METRICS as columns; what real images score stands beside what it belongs to."""
    names = [name for name in content if name != "run"]
    real = {base: content[name]["value"] for name, base in report.beside(names).items()}
    rows = {row["name"]: row for row in report.rows(content)}
    return [
        [
            name,
            *_ends(content[name]),
            real.get(name),
            content[name]["n"],
            rows[name]["direction"],
            rows[name]["meaning"],
        ]
        for name in names
        if name not in report.beside(names)
    ]


def finding_lines(content: Mapping[str, Any]) -> tuple[Line, list[Line]]:
    """Columns and lines of the table by finding: value and interval of each measure, or why there is no value."""
    kinds = ("", " real")
    headings: Line = ["finding", "images"]
    headings += [f"{name}{kind}{part}" for name in MEASURES for kind in kinds for part in ("", " low", " high")]
    lines = []
    for row in by_finding(content):
        figures = [figure for measure in MEASURES for figure in row.figures[measure]]
        parts = [part for figure in figures for part in _ends(figure.entry)]
        missing = [
            f"{name}{kind}: {figure.reason}"
            for name in MEASURES
            for kind, figure in zip(kinds, row.figures[name], strict=True)
            if figure.reason is not None
        ]
        lines.append([row.finding, row.count, *parts, "; ".join(missing)])
    return [*headings, "missing"], lines


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


def _ends(entry: Mapping[str, Any] | None) -> Line:
    """Value and interval, None for what there is not; all as floats, since a column of W&B has one type."""
    if entry is None:
        return [None, None, None]
    low, high = entry["ci95"] or (None, None)
    return [float(entry["value"]), low, high]
