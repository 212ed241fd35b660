"""docs/results/student.md: a student beside its teacher, from evaluations that were made alike.

Nothing is measured anew here: `evaluate.py` measured the teacher and the student at each number of steps, on the same
texts and seeds; conf/suite/student.yaml lists the commands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric, read_metrics
from cxr_ldm.ranges import Place, Word

KID = "kid_efficientnet_lite0"
INTRO = """A student (`python train.py stage=distill`) and the model that it learnt from, on the same texts and seeds:
what is left of the teacher where the network runs a few times in place of many. Each row says how many steps of which
sampler. KID is against real images of held-out patients, ± its standard error. The last column says how many times the
teacher evaluates its network for each evaluation here."""
JUDGED = """A classifier that was trained on real images judges the images of the teacher and of the student, which were
drawn of the same texts with the same seeds; the truth is what the text says. The interval of the loss is of a paired
bootstrap over the patients of the texts."""
END = "_difference"
LOSS = 0.03  # of AUROC, at most


@dataclass(frozen=True)
class Figure:
    """A column.

    Attributes:
        key: in metrics.json.
        head: of the column.
        ratio: the aim is on the figure over the teacher's; else on what it is above or below it.
        aim: how far it may be worse than the teacher's.
        higher: whether a larger value is better.
    """

    key: str
    head: str
    aim: float
    ratio: bool = False
    higher: bool = False

    def missed(self, value: float, teacher: float) -> bool:
        """Whether a student's value is further from the teacher's than the aim allows."""
        if self.ratio:
            return value > self.aim * teacher
        return (teacher - value if self.higher else value - teacher) > self.aim

    def said(self) -> str:
        """The aim in words.

        >>> Figure("kid", "KID", 1.2, ratio=True).said()
        'KID at most 1.2 times'
        """
        if not self.aim:
            return f"{self.head} no more"
        return f"{self.head} at most {self.aim:g} times" if self.ratio else f"{self.head} within {self.aim:g}"


FIGURES = (
    Figure(KID, "KID", 1.2, ratio=True),
    Figure("adherence_finding", "finding shown", 0.02, higher=True),
    Figure("adherence_side", "on the side asked for", 0.02, higher=True),
    Figure("pairwise_ssim_within_prompt", "SSIM within a prompt", 0.02),
    Figure("copies_excess_pixels", "copies' excess", 0.005),
    Figure("near_copies", "near copies", 0),
)


def run(outputs: Place, evaluations: Sequence[Word], comparisons: Sequence[Word] = ()) -> dict[str, Metric]:
    """`kid_ratio_NAME`, KID over the teacher's, of each evaluation; in the settings what the page shows.

    And `auroc_loss_NAME`, the mean loss of AUROC, of each comparison.

    Args:
        evaluations: names below `outputs`/evaluation, the teacher's first.
        comparisons: likewise, of `evaluate.py compare=[TEACHER,STUDENT]` with a classifier.

    Raises:
        UserError: one is missing, or was not measured like the first, or compared without a classifier.
    """
    if len(evaluations) < 2:
        raise UserError("suite.run.evaluations names the teacher's evaluation and one or more of its student.")
    found = [evaluation(Path(outputs) / "evaluation" / name) for name in evaluations]
    for each in found[1:]:
        if each["measured"] != found[0]["measured"]:
            raise UserError(f"{each['folder']} was measured otherwise than {found[0]['folder']}; measure both alike.")
    teacher = found[0]["metrics"][KID]["value"]
    return {
        f"kid_ratio_{each['folder']}": Metric(
            each["metrics"][KID]["value"] / teacher,
            each["metrics"][KID]["n"],
            False,
            settings={"teacher": found[0], "student": each},
            reason="a ratio of two figures whose standard errors stand beside them",
        )
        for each in found[1:]
    } | {f"auroc_loss_{name}": loss(Path(outputs) / "evaluation" / name) for name in comparisons}


def loss(folder: Path) -> Metric:
    """Mean loss of AUROC of a comparison, with that of each finding and its interval in the settings."""
    content = contents(folder)
    found = {name: entry for name, entry in content.items() if name.startswith("auroc_") and name.endswith(END)}
    if f"auroc_mean{END}" not in found:
        raise UserError(f"{folder} compares no AUROC; name a classifier of these data by classifier=.")
    made, sampling = content["run"], content["run"]["sampling"]
    mean = found[f"auroc_mean{END}"]
    rows = {name.removeprefix("auroc_").removesuffix(END): entry for name, entry in found.items()}
    settings = {
        "command": made["command"],
        "commit": made["git_commit"],
        "sampling": sampling if isinstance(sampling, list) else [sampling] * 2,
        "findings": {
            name: {key: entry[key] for key in ("value", "ci95", "n")}
            | {key: entry["settings"][key] for key in ("first", "second") if key in entry["settings"]}
            for name, entry in rows.items()
        },
    }
    ends = None if mean["ci95"] is None else (mean["ci95"][0], mean["ci95"][1])
    over, reason = mean.get("ci95_over"), mean.get("ci95_reason")
    return Metric(mean["value"], mean["n"], False, ci95=ends, settings=settings, over=over, reason=reason)


def contents(folder: Path) -> dict[str, Any]:
    """metrics.json of a finished evaluation."""
    if not (folder / "metrics.json").is_file():
        raise UserError(f"{folder} holds no finished evaluation; the suite's file in conf/suite lists the commands.")
    return read_metrics(folder / "metrics.json")


def evaluation(folder: Path) -> dict[str, Any]:
    """What an evaluation measured, of which model, and how."""
    content = contents(folder)
    made = content["run"]
    guidance, steps = made["guidance"], made["sampling"]["steps"]
    sampler = made["sampling"]["sampler"]["step"]["part"]
    twice = sampler != "flow_map" and guidance["scale"] not in (0.0, 1.0)
    return {
        "folder": folder.name,
        "command": made["command"],
        "commit": made["git_commit"],
        "steps": steps,
        "sampler": sampler,
        "guidance": guidance["scale"],
        "evaluations": steps * (2 if twice else 1),
        "measured": {"data": made["data"]["name"], "split": made.get("split"), "n": content[KID]["n"]},
        "metrics": {
            figure.key: {
                "value": content[figure.key]["value"],
                "n": content[figure.key]["n"],
                "error": content[figure.key]["settings"].get("standard_error"),
            }
            for figure in FIGURES
            if figure.key in content
        },
    }


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    settings = [entry["settings"] for name, entry in content.items() if name.startswith("kid_ratio_")]
    compared = {name: entry["settings"] for name, entry in content.items() if name.startswith("auroc_loss_")}
    teacher, students = settings[0]["teacher"], [each["student"] for each in settings]
    shown = [figure for figure in FIGURES if figure.key in teacher["metrics"]]
    heads = ["model", *(figure.head for figure in shown), "KID over the teacher's", "evaluations"]
    lines = ["# A student in few steps", "", INTRO, "", f"| {' | '.join(heads)} |"]
    lines.append("| --- |" + " ---: |" * (len(heads) - 1))
    for each in (teacher, *students):
        name = f"{'student' if each['sampler'] == 'flow_map' else 'teacher'}, {each['steps']} of {each['sampler']}"
        value, known = each["metrics"], teacher["metrics"]
        cells = [cell(figure, value, known) for figure in shown]
        cells += [f"{value[KID]['value'] / known[KID]['value']:.2f}"]
        cells += [f"{teacher['evaluations'] / each['evaluations']:g} × fewer" if each is not teacher else "1"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    aims = ", ".join(figure.said() for figure in shown)
    measured = teacher["measured"]
    lines += [
        "",
        f"Aims beside the teacher's figures: {aims}. What misses its aim is in bold.",
        f"KID over {measured['n']} images; guidance scale {teacher['guidance']:g}.",
        "",
        *losses(compared),
        "## Made by",
        "",
        *(f"- `{each['command']}` (commit {each['commit']})" for each in (teacher, *students, *compared.values())),
        "",
        "## Run",
        "",
        *(f"- {key}: `{value}`" for key, value in content["run"].items()),
    ]
    return "\n".join(lines) + "\n"


def losses(content: Mapping[str, Any]) -> list[str]:
    """A section for the comparisons: what each finding loses of its AUROC, with its interval."""
    if not content:
        return []
    lines = ["## Does it still show what the prompt says?", "", JUDGED, ""]
    lines += ["| student | finding | AUROC, teacher | AUROC, student | loss (95 % interval) | prompts |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    for each in content.values():
        student = f"{each['sampling'][1]['steps']} of flow_map"
        for name, found in each["findings"].items():
            ends = found["ci95"]
            span = "" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})"
            text = f"{found['value']:.3f}{span}"
            high = found["value"] if ends is None else ends[1]
            both = [f"{found[side]:.3f}" if side in found else "–" for side in ("first", "second")]
            text = f"**{text}**" if high > LOSS else text
            lines.append(f"| {student} | {name.replace('_', ' ')} | {' | '.join(both)} | {text} | {found['n']:,} |")
    return [*lines, "", f"Aim: the upper end of a loss at most {LOSS:g}. What misses it is in bold.", ""]


def cell(figure: Figure, found: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """A figure with its standard error where it has one, in bold where it misses its aim beside `base`."""
    if figure.key not in found:
        return "–"
    value, error = found[figure.key]["value"], found[figure.key]["error"]
    text = f"{value:.3g}" if error is None else f"{value:.3g} ± {error:.1g}"
    return f"**{text}**" if figure.missed(value, base[figure.key]["value"]) else text
