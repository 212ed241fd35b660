"""python train.py: a stage from a config to a run's folder."""

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cxr_ldm import artifacts, ranks
from cxr_ldm.bundle import load_bundle
from cxr_ldm.callbacks.pruning import RUNNING, pruning
from cxr_ldm.commands import machine, stages
from cxr_ldm.commands.processes import in_as_many
from cxr_ldm.commands.schema import Train
from cxr_ldm.commands.settings import (
    check_logger,
    check_values,
    ending,
    is_swept,
    overrides,
    part_of_stage,
    prepared_data,
)
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import read_metrics
from cxr_ldm.training.run import run


def main(cfg: DictConfig) -> Path:
    """Train the chosen stage, and measure it where `evaluate=true`; its folder."""
    check_values(cfg, Train)
    check_logger(cfg.logger)
    machine.check(cfg)
    stages.check_start(cfg)
    if cfg.split != "val":
        raise UserError(f"split={cfg.split}: train.py measures on split=val; evaluate.py opens the test split.")
    return in_as_many(cfg, lambda: train(cfg))


def train(cfg: DictConfig) -> Path:
    """A run of a checked config, which several processes may share; its folder."""
    host, logger = machine.machine_of(cfg), machine.logger_of(cfg)
    prepared = ranks.first_alone(lambda: prepared_data(cfg))
    check_split_sizes(prepared)
    built: stages.Built = part_of_stage(cfg, "plan")(cfg, prepared)
    built.plan.check(built.folder)
    composed = {"config.yaml": OmegaConf.to_yaml(cfg), "overrides.yaml": OmegaConf.to_yaml(overrides())}
    config = OmegaConf.to_container(cfg, resolve=False)
    host = replace(host, callbacks=(*host.callbacks, *pruning()))
    first = run(built.plan, built.folder, built.settings, host, logger, composed, config, arm=is_swept())
    ranks.leave()
    if not first:
        return built.folder
    print(numbers(built.folder))
    ending(built.folder, *built.plan.files)
    if cfg.evaluate:
        from cxr_ldm.commands.evaluate import evaluate  # its libraries are needed for nothing else

        measured = evaluate(cfg, load_bundle(built.folder / "bundle", built.plan.kind, cfg.bundle_packages), prepared)
        for watched in RUNNING:
            metrics = read_metrics(measured / "metrics.json")
            watched.values |= {name: entry["value"] for name, entry in metrics.items() if name != "run"}
    return built.folder


def numbers(folder: Path) -> str:
    """What a run came to, in a line: its steps, its time, and its last validation."""
    record, metrics = artifacts.read_record(folder), read_metrics(folder / "metrics.json")
    last = [f"{name} {entry['value']:.4g}" for name, entry in metrics.items() if name != "run"]
    return f"{record['steps']:,} steps in {record['seconds'] / 60:.1f} minutes: {', '.join(last)}"


def check_split_sizes(prepared: Prepared) -> None:
    """Refuse collections that cannot be trained on, validated and tested; a packed one left its test images behind."""
    for split in ("train", "val") if prepared.packed else ("train", "val", "test"):
        if len(prepared.rows(split)) == 0:
            raise UserError(
                f"{prepared.folder} has no image in split {split}; take more patients, or larger data.splits."
            )
