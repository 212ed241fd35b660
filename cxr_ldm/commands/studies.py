"""cxr-ldm runs sweep NAME: the trials of a study, what mattered, and its best as an experiment."""

import math
import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from scipy import stats

from cxr_ldm import naming
from cxr_ldm.commands.runs import show
from cxr_ldm.commands.sweeping import JOURNAL, library, opened
from cxr_ldm.errors import UserError
from cxr_ldm.report.terminal import number

ENOUGH = 3  # completed trials, below which a plot says nothing


def print_study(outputs: Path, name: str) -> None:
    """Table of the trials, plots beside the study, and the file of the best.

    Raises:
        UserError: there is no such study, or none of its trials is complete.
    """
    folder = naming.place(outputs / "sweeps", name)
    if not (folder / JOURNAL).is_file():
        known = sorted(path.parent.name for path in (outputs / "sweeps").glob(f"*/{JOURNAL}"))
        raise UserError(f"there is no study {name} in {outputs / 'sweeps'}; there are {', '.join(known) or 'none'}.")
    study = opened(folder, name)
    complete = [trial for trial in study.trials if trial.value is not None and trial.state.name == "COMPLETE"]
    asked = study.user_attrs["asked"]
    keys = sorted(asked["space"])
    table = Table(box=None, pad_edge=False)
    for heading in ("trial", *keys, asked["metric"], "95 % interval", "state"):
        table.add_column(heading, overflow="fold")
    best = study.best_trial.number if complete else None
    for trial in study.trials:
        value = number(trial.value) if trial in complete else "–"
        state = "best" if trial.number == best else trial.state.name.lower()
        chosen = (str(trial.params.get(key, "–")) for key in keys)
        table.add_row(str(trial.number), *chosen, value, interval(trial.user_attrs.get("values", [])), state)
    show(table)
    if len(complete) >= ENOUGH:
        for path in plots(study, folder, asked["metric"]):
            print(f"  {path}")
    for path in sorted((folder / "conf" / "experiment").glob("*.yaml")):
        print(f"  {path}")
        print(f"  train it again: experiment={path.stem} 'hydra.searchpath=[file://{(folder / 'conf').resolve()}]'")


def interval(values: Sequence[float]) -> str:
    """Of the mean over seeds, by Student's t; a dash where there is one seed.

    >>> interval([1.0, 2.0]), interval([1.0])
    ('-4.8531 to 7.8531', '–')
    """
    if len(values) < 2:
        return "–"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{number(statistics.fmean(values) - half)} to {number(statistics.fmean(values) + half)}"


def plots(study: Any, folder: Path, metric: str) -> list[Path]:
    """Optuna's parallel coordinates, history and, where several settings are searched, their importance."""
    library()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.visualization import matplotlib as drawn

    kinds = {
        "parallel": lambda: drawn.plot_parallel_coordinate(study, target_name=metric),
        "history": lambda: drawn.plot_optimization_history(study, target_name=metric),
    }
    if len(study.user_attrs["asked"]["space"]) > 1:
        evaluator = PedAnovaImportanceEvaluator()  # which needs no other library
        kinds["importance"] = lambda: drawn.plot_param_importances(study, evaluator=evaluator, target_name=metric)
    made = []
    for name, draw in kinds.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls its Matplotlib plots experimental
            draw()
        path = folder / f"{name}.png"
        pyplot.savefig(path, dpi=120, bbox_inches="tight")
        pyplot.close("all")
        made.append(path)
    return made
