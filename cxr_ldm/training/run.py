"""A run of a stage from an empty folder to its bundle; the same command goes on with one that was ended."""

import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Timer

from cxr_ldm import artifacts, ranks
from cxr_ldm.bundle import bundle_sha256, save_bundle
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.loggers import log_bundle, log_inputs
from cxr_ldm.metrics import results
from cxr_ldm.stages.plan import Plan
from cxr_ldm.training.fit import Machine, MakeLogger, fit
from cxr_ldm.training.memory import fitted


def run(
    plan: Plan,
    folder: Path,
    made_by: Mapping[str, Any],
    machine: Machine,
    make_logger: MakeLogger,
    hydra: Mapping[str, str],
    composed: Any,
    arm: bool = False,
) -> bool:
    """Train a plan in its folder and leave its bundle and metrics there; what is complete stays as it is.

    Args:
        made_by: all that decides the result.
        hydra, composed: as of `begin` and `write_metrics`.
        arm: whether it is one run of a sweep, which no command takes unasked where there are others.

    Returns:
        Whether this process is the one that writes: of several processes of a run, the first one does.

    Raises:
        UserError: the folder was made by other settings, or another process runs there.
        Paused: as `fit`.
    """
    prepared = plan.prepared
    facts = {"data": prepared.name, "prepared": str(prepared.folder)} | ({"arm": True} if arm else {})
    with begun(folder, made_by, hydra, **facts) as unfinished:
        if not unfinished:
            return ranks.number() == 0
        module = plan.module(folder)
        if machine.memory_gb is not None:
            plan.recipe, again = fitted(plan, module, machine.memory_gb)
            machine = replace(machine, checkpointing=machine.checkpointing or again)
        data = plan.data()
        callbacks = plan.callbacks(folder)
        fitter = fit(module, data, folder, plan.recipe, machine, plan.monitor, make_logger, plan.seed, callbacks)
        (values,) = fitter.validate(module, data, verbose=False)
        if not fitter.is_global_zero:
            return False
        contents = plan.contents(module)
        info = bundle_info(prepared, folder) | contents.info
        shutil.rmtree(folder / "bundle", ignore_errors=True)  # of a run that was killed before it was marked complete
        save_bundle(folder / "bundle", plan.kind, contents.specs, contents.parts, info)
        write_metrics(folder, values, plan.measured(), plan.stated(), composed, plan.seed)
        finish(folder, made_by, **facts, **cost(fitter))
        log_inputs(fitter.loggers, prepared.facts(), plan.made_from)
        log_bundle(fitter.loggers, folder, plan.kind, made_by)
    return True


def bundle_info(prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Facts about a run that travel with its bundle."""
    return {
        "run": folder.name,
        "size": prepared.size,
        "data": {
            "name": prepared.name,
            "kind": prepared.kind,
            "fingerprint": prepared.fingerprint,
            "sources": prepared.sources(),
        },
        "settings": artifacts.read_json(folder / artifacts.RECORD)["settings"],
    }


@contextmanager
def begun(folder: Path, made_by: Mapping[str, Any], hydra: Mapping[str, str], **facts: Any) -> Iterator[bool]:
    """As `begin`, and no other process runs in the folder until the block ends.

    Raises:
        UserError: another process runs there.
    """
    if ranks.number() > 0:  # of the processes that share a run the first one locks and writes
        yield bool(ranks.of_first(None))
        return
    complete = artifacts.state(folder, made_by) == "complete"  # needs no lock, which a read-only disk could not hold
    with nullcontext() if complete else artifacts.locked(folder):
        yield bool(ranks.of_first(begin(folder, made_by, hydra, **facts)))


def begin(folder: Path, made_by: Mapping[str, Any], hydra: Mapping[str, str], **facts: Any) -> bool:
    """Claim a run folder; False when the same run is complete there already.

    Args:
        hydra: texts of the files that stand in .hydra/, as Hydra would leave them: config.yaml and overrides.yaml.
    """
    state = artifacts.state(folder, made_by)
    if state == "complete":
        print(f"complete already: {folder}")
        return False
    print(f"{'resuming' if state == 'unfinished' else 'new run'}: {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    artifacts.write_record(folder, made_by, complete=False, **facts)
    for name, text in hydra.items():
        artifacts.write_text(folder / ".hydra" / name, text)
    return True


def finish(folder: Path, made_by: Mapping[str, Any], **facts: Any) -> None:
    """Mark a run folder complete."""
    facts |= {"finished": artifacts.now(), "command": sys.argv, "python": platform.python_version()}
    artifacts.write_record(folder, made_by, complete=True, **facts)


def cost(fitter: lightning.Trainer) -> dict[str, float]:
    """Optimiser steps of a run, and the seconds of training behind its checkpoints, those before a resume included."""
    callbacks: list[lightning.Callback] = fitter.callbacks  # type: ignore[attr-defined]
    (timer,) = [callback for callback in callbacks if isinstance(callback, Timer)]
    return {"steps": fitter.global_step, "seconds": round(timer.time_elapsed("train"), 1)}


def write_metrics(
    folder: Path, values: Mapping[str, float], n: int, made_by: dict[str, Any], composed: Any, seed: int
) -> None:
    """The last validation of a training run, in the form of the contract.

    Args:
        composed: composed, as JSON values, whose hash stands in the run entry.
    """
    reason = "one pass inside training, by torchmetrics; evaluate.py gives intervals"
    metrics = {
        name.replace("/", "_"): results.Metric(
            float(value), n, not name.endswith("loss"), settings=made_by, reason=reason
        )
        for name, value in values.items()
    }
    run = results.run_entry(composed=composed, bundle_sha256=bundle_sha256(folder / "bundle"), seed=seed)
    results.write_metrics(folder / "metrics.json", metrics, run)
