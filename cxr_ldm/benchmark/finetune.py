"""docs/results/finetune.md: a tuned model beside itself untouched and beside training from scratch.

Nothing is measured anew here; conf/suite/finetune.yaml lists the commands.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_ldm.artifacts import read_json
from cxr_ldm.benchmark.student import KID, contents
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric
from cxr_ldm.ranges import Place, Word

ROWS = {
    "untouched": "as it was",
    "full": "every weight tuned",
    "lora": "attention tuned (LoRA)",
    "scratch": "from scratch",
    "old": "every weight tuned; texts and training images of its ancestor",
}
COPIES = ("copies_excess_pixels", "copies_excess_efficientnet_lite0")
FIGURES = (KID, "coverage_efficientnet_lite0", *COPIES, "near_copies", "pairwise_ssim")
MOST = 0.01  # excess of copies, the upper end of its interval
INTRO = """`init=chest256` on images that the package's model never saw, at the lengths and settings of
conf/suite/finetune.yaml, beside the model as it was and beside the same network from fresh weights in the same latents,
for as many steps. KID is against held-out patients, ± its standard error. *Copies* is the excess of samples that stand
alone at a training image of the new collection, in pixels and in features, with 95 % intervals, whose upper end needs
400 images and more to come below 0.01. Minutes are of two CPU cores, which did other work besides."""
AIMS = """Aims: KID of a tuned model below the untouched one's and below the one from scratch of the same seed, by more
than both standard errors together; the upper end of the copies' excess at most 0.01. What misses an aim is in bold."""
HEADS = ("model", "seed", "guidance", "minutes", "KID", "coverage", "copies, pixels", "copies, features", "near copies")


def run(outputs: Place, collections: Mapping[str, Mapping[str, Sequence[Word]]]) -> dict[str, Metric]:
    """`kid_NAME` of each evaluation; in the settings what the page shows.

    Args:
        collections: for each collection the evaluations of each key of `ROWS`.

    Raises:
        UserError: an evaluation is missing, or a key is unknown.
    """
    metrics = {}
    for collection, rows in collections.items():
        for role, names in rows.items():
            if role not in ROWS:
                raise UserError(f"suite.run.collections.{collection}.{role} is not one of {', '.join(ROWS)}.")
            for name in names:
                content = contents(Path(outputs) / "evaluation" / name)
                kid = content[KID]
                settings: dict[str, Any] = {
                    "collection": collection,
                    "role": role,
                    "seed": seed_of(name),
                    "command": content["run"]["command"],
                    "commit": content["run"]["git_commit"],
                    "guidance": content["run"]["guidance"]["scale"],
                    "minutes": minutes(Path(outputs) / "ldm" / name),
                    "figures": {key: content[key] for key in FIGURES if key in content},
                }
                metrics[f"kid_{name}"] = Metric(
                    kid["value"], kid["n"], False, tuple(kid["ci95"]), settings, over=kid["ci95_over"]
                )
    return metrics


def seed_of(name: str) -> str:
    """The seed that a name ends with, or nothing.

    >>> seed_of("indiana_full_2"), seed_of("indiana_untouched")
    ('2', '')
    """
    last = name.rpartition("_")[2]
    return last if last.isdigit() else ""


def minutes(folder: Path) -> float | None:
    """How long a run trained; None where nothing of this name was trained."""
    record = folder / "run.json"
    return round(read_json(record)["seconds"] / 60, 1) if record.is_file() else None


def missed(row: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the KID of a tuned model is not clearly below the untouched one's and, of its seed, that from scratch."""
    if row["role"] not in ("full", "lora"):
        return False
    value, error = kid_of(row)
    rivals = [
        other
        for other in others
        if other["role"] == "untouched" or (other["role"] == "scratch" and other["seed"] == row["seed"])
    ]
    return any(kid_of(rival)[0] - value <= error + kid_of(rival)[1] for rival in rivals)


def kid_of(row: Mapping[str, Any]) -> tuple[float, float]:
    """Value and standard error."""
    entry = row["figures"][KID]
    return entry["value"], entry["settings"]["standard_error"]


def excess(entry: Mapping[str, Any] | None) -> str:
    """An excess of copies with its interval, in bold where that reaches above the aim."""
    if entry is None:
        return "–"
    low, high = entry["ci95"]
    text = f"{entry['value']:.3f} ({low:.3f} to {high:.3f})"
    return f"**{text}**" if high > MOST else text


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    rows = [entry["settings"] for name, entry in content.items() if name.startswith("kid_")]
    lines = ["# Fine-tuning", "", INTRO, "", AIMS]
    for collection in dict.fromkeys(row["collection"] for row in rows):
        own = [row for row in rows if row["collection"] == collection]
        n = own[0]["figures"][KID]["n"]
        lines += ["", f"## {collection}", "", f"{n} images each.", ""]
        lines += [f"| {' | '.join(HEADS)} |", "| --- |" + " ---: |" * (len(HEADS) - 1)]
        for row in own:
            value, error = kid_of(row)
            kid = f"{value:.3f} ± {error:.3f}"
            figures = row["figures"]
            cells = [
                ROWS[row["role"]],
                row["seed"] or "–",
                f"{row['guidance']:g}",
                "–" if row["minutes"] is None else f"{row['minutes']:g}",
                f"**{kid}**" if missed(row, own) else kid,
                f"{figures['coverage_efficientnet_lite0']['value']:.3f}",
                *(excess(figures.get(key)) for key in COPIES),
                f"{figures['near_copies']['value']:g}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Made by", ""]
    lines += [f"- `{row['command']}` (commit {row['commit']})" for row in rows]
    lines += ["", "## Run", "", *(f"- {key}: `{value}`" for key, value in content["run"].items())]
    return "\n".join(lines) + "\n"
