"""cxr-ldm runs: what stands below outputs/, side by side, and deleted with what hangs on it said."""

import argparse
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cxr_ldm import artifacts
from cxr_ldm.bundle import CONFIG, SUMS, bundle_sha256
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import read_metrics
from cxr_ldm.report.terminal import number

STAGES = ("vae", "ldm", "classifier")
EVALUATION = "evaluation"
# columns of a list, each with the beginnings of its figures' names; the first that an entry has is shown
FIGURES = {
    "loss": ("val_loss",),
    "KID": ("kid_",),
    "AUROC": ("val_auroc_mean", "auroc_mean"),
    "PSNR": ("val_psnr", "psnr"),
}


@dataclass(frozen=True)
class Entry:
    """A run or an evaluation.

    Attributes:
        kind: its stage, or evaluation.
        record: its run.json.
        metrics: its metrics.json without the run entry; empty where it has none yet.
        bundle: identity of the bundle that it made, or that it measured; None where there is none yet.
        size: of its images, in pixels; None where nothing says it.
    """

    folder: Path
    kind: str
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]
    bundle: str | None
    size: int | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def images(self) -> int | None:
        """Seen in training."""
        seen: int | None = self.record["settings"].get("training", {}).get("images")
        return seen


def main(words: Sequence[str]) -> None:
    """`cxr-ldm runs`, `runs compare A B …`, `runs rm NAME`, `runs sweep NAME`, `runs workspace ENTITY/PROJECT`."""
    parser = argparse.ArgumentParser("cxr-ldm runs", description=__doc__)
    parser.add_argument("--outputs", default="outputs", help="where runs stand (paths.outputs)")
    commands = parser.add_subparsers(dest="what", metavar="compare | rm | sweep | workspace")
    compare = commands.add_parser("compare", help="settings that differ, and all figures")
    compare.add_argument("names", nargs="+")
    remove = commands.add_parser("rm", help="delete a run or an evaluation")
    remove.add_argument("name")
    remove.add_argument("--force", action="store_true", help="also where others were made from it")
    sweep = commands.add_parser("sweep", help="the trials of a search by hydra/sweeper=optuna")
    sweep.add_argument("name")
    view = commands.add_parser(
        "workspace", help="make a view of a W&B project: curves, tables and pictures of our runs"
    )
    view.add_argument("project", help="ENTITY/PROJECT")
    asked = parser.parse_args(words)
    if asked.what == "sweep":
        from cxr_ldm.commands.studies import print_study  # its libraries are needed for nothing else

        return print_study(Path(asked.outputs), asked.name)
    if asked.what == "workspace":
        from cxr_ldm.report.workspace import save

        return print(save(asked.project))
    found = list(entries(Path(asked.outputs)))
    if asked.what == "compare":
        print_compared([chosen(found, name) for name in asked.names])
    elif asked.what == "rm":
        delete(chosen(found, asked.name), found, asked.force)
    else:
        print_list(found, Path(asked.outputs))


def entries(outputs: Path) -> Iterator[Entry]:
    """Runs of every stage and evaluations, each kind by date."""
    for kind in (*STAGES, EVALUATION):
        folders = [path.parent for path in (outputs / kind).glob(f"*/{artifacts.RECORD}")]
        records = {folder: artifacts.read_record(folder) for folder in folders}
        for folder, record in sorted(records.items(), key=lambda each: date(each[1])):
            metrics = read_metrics(folder / "metrics.json") if (folder / "metrics.json").is_file() else {}
            made = bundle_sha256(folder / "bundle") if (folder / "bundle" / SUMS).is_file() else None
            bundle = record["settings"].get("bundle") if kind == EVALUATION else made
            data = metrics.get("run", {}).get("data", {})  # of an evaluation
            known = {"data": data["name"]} if "name" in data else {}
            config = folder / "bundle" / CONFIG
            size = artifacts.read_json(config)["info"]["size"] if config.is_file() else data.get("size")
            figures = {key: each for key, each in metrics.items() if key != "run"}
            yield Entry(folder, kind, known | dict(record), figures, bundle, size)


def date(record: Mapping[str, Any]) -> str:
    """When it was finished, for people and for sorting; behind all others where it was not."""
    return str(record["finished"])[:16].replace("T", " ") if record["complete"] and "finished" in record else "~"


def chosen(found: Sequence[Entry], name: str) -> Entry:
    """An entry by its name or its folder; raises UserError where there is none or several."""
    named = [entry for entry in found if name in (entry.name, str(entry.folder), f"{entry.kind}/{entry.name}")]
    if not named:
        raise UserError(f"there is no run {name}; there are {', '.join(entry.name for entry in found) or 'none'}.")
    if len(named) > 1:
        raise UserError(f"{name} is several: {', '.join(f'{entry.kind}/{entry.name}' for entry in named)}.")
    return named[0]


def figure(entry: Entry, starts: Sequence[str]) -> str:
    """The first figure whose name begins so.

    >>> metrics = {"kid_x": {"value": 0.25}, "val_loss": {"value": 1.0}}
    >>> figure(Entry(Path("a"), "ldm", {"settings": {}}, metrics, None), ["psnr", "kid_"])
    '0.2500'
    """
    values = [value["value"] for start in starts for name, value in entry.metrics.items() if name.startswith(start)]
    return number(values[0]) if values else "–"


def print_list(found: Sequence[Entry], outputs: Path) -> None:
    """One line for each."""
    if not found:
        print(f"{outputs} holds no run yet.")
        return
    columns = {name: starts for name, starts in FIGURES.items() if any(figure(each, starts) != "–" for each in found)}
    table = Table(box=None, pad_edge=False)
    for heading in ("path", "data", "size", "images seen", *columns, "finished (UTC)"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "images seen" else "left")
    for entry in found:
        seen = "–" if entry.images is None else f"{entry.images:,}"
        when = date(entry.record)
        state = when if when != "~" else ("complete" if entry.record["complete"] else "unfinished")
        state += ", of a sweep" if entry.record.get("arm") else ""
        figures = (figure(entry, starts) for starts in columns.values())
        about = str(entry.record.get("data", "–")), str(entry.size or "–"), seen
        table.add_row(str(entry.folder), *about, *figures, state)
    show(table)


def print_compared(compared: Sequence[Entry]) -> None:
    """Settings that differ, then every figure that one of them has."""
    settings, differ = differing(compared)
    table = Table(box=None, pad_edge=False)
    for heading in ("", *(entry.name for entry in compared)):
        table.add_column(heading, overflow="fold")
    for key in differ:
        table.add_row(key, *(str(each.get(key, "–")) for each in settings))
    table.add_section()
    for name in dict.fromkeys(name for entry in compared for name in entry.metrics):
        values = (entry.metrics.get(name) for entry in compared)
        table.add_row(name, *("–" if value is None else number(value["value"]) for value in values))
    show(table)


def print_swept(swept: Sequence[Entry]) -> None:
    """A row for each run of a sweep: the settings that differ among them, and every figure; then the runs' names."""
    settings, differ = differing(swept)
    figures = list(dict.fromkeys(name for entry in swept for name in entry.metrics))
    table = Table(box=None, pad_edge=False)
    for heading in ("run", *differ, *figures):
        table.add_column(heading, overflow="fold")
    for count, (entry, stated) in enumerate(zip(swept, settings, strict=True)):
        values = (number(entry.metrics[name]["value"]) if name in entry.metrics else "–" for name in figures)
        table.add_row(str(count), *(str(stated.get(key, "–")) for key in differ), *values)
    show(table)
    for count, entry in enumerate(swept):
        print(f"run {count}: {entry.name}")


def differing(compared: Sequence[Entry]) -> tuple[list[dict[str, Any]], list[str]]:
    """The settings of each by dotted key, and the keys whose values differ among them."""
    settings = [dict(artifacts.flatten(entry.record["settings"])) for entry in compared]
    keys = sorted({key for each in settings for key in each})
    return settings, [key for key in keys if len({repr(each.get(key)) for each in settings}) > 1]


def show(table: Table) -> None:
    """Print a table as wide as the terminal, or wide enough for a file."""
    console = Console()
    console.width = max(console.width, 80 if console.is_terminal else 160)
    console.print(table)


def hanging(entry: Entry, found: Sequence[Entry]) -> list[Entry]:
    """Runs and evaluations that name the bundle of this one in their settings."""
    if entry.bundle is None or entry.kind == EVALUATION:
        return []
    others = [other for other in found if other is not entry]
    return [other for other in others if entry.bundle in dict(artifacts.flatten(other.record["settings"])).values()]


def delete(entry: Entry, found: Sequence[Entry], force: bool) -> None:
    """Remove its folder; raises UserError where others were made from it and `force` is not said."""
    others = hanging(entry, found)
    names = ", ".join(f"{other.kind}/{other.name}" for other in others)
    if others and not force:
        raise UserError(f"{names} {'was' if len(others) == 1 else 'were'} made from {entry.name}; --force deletes it.")
    shutil.rmtree(entry.folder)
    print(f"deleted {entry.folder}" + (f"; made from it: {names}" if names else ""))
