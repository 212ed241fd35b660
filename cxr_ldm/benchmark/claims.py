"""docs/results/claims.md: each figure that the slides state, beside what an evaluation here measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric, read_metrics
from cxr_ldm.report.terminal import cell, meaning

NOT_MEASURED = "not measured"
REAL = ("_floor", "_real", "_of_real")  # endings of what real images score by the same measurement
INTRO = """What the slides of the original project state, how the number came about as far as its public code shows, and
what the same quantity is here, with its 95 % interval, on the data named below. The two columns are of different images
and sizes: they say what a figure is worth, not which model is better. *real images* is the same measurement on real
ones."""


def run(outputs: str, data: str, claims: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
    """Number of figures that are measured; in its settings every row of the page.

    Raises:
        UserError: no evaluation below `outputs` is of such data.
    """
    newest = evaluations(Path(outputs), data)
    if not newest:
        raise UserError(
            f"{outputs}/evaluation holds no evaluation of data whose name begins with {data!r}; make them by "
            "`python evaluate.py stage=vae` and `stage=ldm`, or name others by suite.run.data=NAME."
        )
    rows = [described(claim, newest.get(claim["stage"], {})) for claim in claims]
    measured = sum(row["ours"] is not None for row in rows)
    settings = {"rows": rows, "data": sorted({content["run"]["data"]["name"] for content in newest.values()})}
    return {"claims": Metric(measured, len(rows), True, settings=settings, reason="a count")}


def evaluations(outputs: Path, data: str) -> dict[str, Mapping[str, Any]]:
    """The newest metrics.json of each stage on test images of this name; comparisons of two bundles do not count."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted((outputs / "evaluation").glob("*/metrics.json"), key=lambda path: path.stat().st_mtime):
        content = read_metrics(path)
        evaluated = content["run"]
        named = evaluated.get("data", {}).get("name", "").startswith(data)
        if named and evaluated.get("split", "test") == "test" and "compared" not in evaluated:
            found[evaluated["stage"]] = content
    return found


def described(claim: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """A row: the claim, our entry of metrics.json or None, and that of real images where there is one."""
    name = claim["metric"]
    entry = content.get(name) if name else None
    real = next((content[name + end] for end in REAL if name and name + end in content), None)
    return {**claim, "ours": kept(entry), "real": kept(real)}


def kept(entry: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the page shows of an entry."""
    return None if entry is None else {key: entry[key] for key in ("value", "ci95", "n")}


def page(content: Mapping[str, Any]) -> str:
    """The Markdown page of the suite's metrics.json."""
    settings = content["claims"]["settings"]
    lines = ["# The figures of the slides, and what is measured here", "", INTRO, ""]
    lines += [f"Data: {', '.join(settings['data'])}.", ""]
    lines += ["| figure | slides | how it came about | here | real images | n | what is measured here |"]
    lines += ["| --- | ---: | --- | ---: | ---: | ---: | --- |"]
    for row in settings["rows"]:
        ours = NOT_MEASURED if row["ours"] is None else cell(row["ours"])
        how = f"`{row['metric']}`: {meaning(row['metric'])}".rstrip(": ") if row["ours"] else "–"
        n = f"{row['ours']['n']:,}" if row["ours"] else "–"
        lines.append(
            f"| {row['figure']} | {row['stated']} | {row['origin']} | {ours} | {cell(row['real'])} | {n} | {how} |"
        )
    lines += ["", "## Run", ""]
    lines += [f"- {key}: `{value}`" for key, value in content["run"].items()]
    return "\n".join(lines) + "\n"
