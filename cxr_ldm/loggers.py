"""The loggers: W&B, offline unless told otherwise, without advertisements, and never without a key; and TensorBoard."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from cxr_ldm import artifacts
from cxr_ldm.bundle import Bundle, read_config
from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Word

# WANDB_MODE and what W&B calls it; the last two are its older words.
MODES = {"online": "online", "offline": "offline", "disabled": "disabled", "dryrun": "offline", "run": "online"}


def wandb_logger(
    save_dir: str, project: Word, offline: bool | None = None, group: Word | None = None, bundle: bool = True
) -> WandbLogger | CSVLogger:
    """A W&B run in `save_dir`, with the name of that folder; csv/metrics.csv where wandb is not installed.

    Args:
        offline: as of `mode_of`.
        group: under which W&B lists it; the runs of an experiment or a sweep have one.
        bundle: whether bundles go there as artefacts: the one that is trained, and those that it is made from.
    """
    mode = mode_of(offline)
    if not installed():
        print("wandb is not installed (pip install 'cxr-ldm[wandb]'): curves stand in csv/metrics.csv")
        return CSVLogger(save_dir, name="", version="csv")
    import wandb

    wandb.setup()  # reads WANDB_SILENT, without which the next lines would be answered with hints
    folder = Path(save_dir)
    made = WandbLogger(
        save_dir=save_dir, project=project, mode=mode, name=folder.name, group=group, job_type=folder.parent.name
    )
    made.takes_bundle = bundle  # type: ignore[attr-defined]  # asked for by `log_bundle` and `log_inputs`
    return made


def tensorboard_logger(save_dir: str) -> TensorBoardLogger:
    """Event files in `save_dir`/tensorboard, which `tensorboard --logdir outputs` opens, all runs beside each other.

    Raises:
        UserError: TensorBoard is not installed.
    """
    check_tensorboard()
    return TensorBoardLogger(save_dir, name="", version="tensorboard")


def check_tensorboard() -> None:
    """Raises UserError where TensorBoard is not installed: it is an extra."""
    if find_spec("tensorboard") is None:
        raise UserError("logger=tensorboard needs tensorboard: run `pip install 'cxr-ldm[tensorboard]'`.")


def log_picture(loggers: Iterable[Any], name: str, path: Path, step: int) -> None:
    """A picture of a run to those loggers that show pictures."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)], step=step)
        elif isinstance(logger, TensorBoardLogger):
            with Image.open(path) as picture:
                logger.experiment.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")


def log_bundle(loggers: Iterable[Any], folder: Path, kind: str, made_by: Mapping[str, Any]) -> None:
    """The bundle of a run as an artefact of W&B, whose metadata say what it was made of: data, VAE, settings.

    Args:
        loggers: of the run; others than W&B are passed over.
        folder: of the run.
    """
    for logger in of_wandb(loggers):
        if takes_bundle(logger):
            facts = dict(artifacts.flatten(dict(made_by)))
            logger.experiment.log_artifact(artefact(kind, folder.name, facts, folder / "bundle"))


def log_inputs(loggers: Iterable[Any], data: Mapping[str, Any], bundles: Iterable[Bundle] = ()) -> None:
    """What a run was made from, as artefacts that W&B draws its lineage by; equal content is one artefact there.

    Args:
        loggers: of the run; others than W&B are passed over.
        data: of the prepared folder, as `Prepared.facts`; no image and no text of it goes to W&B.
        bundles: their files go there unless `logger.bundle=false` keeps them here.
    """
    for logger in of_wandb(loggers):
        run = logger.experiment
        if run.disabled:
            continue
        found = artefact("prepared", data["name"], {})
        with found.new_file("facts.json") as file:
            json.dump(data, file, sort_keys=True)
        named = (
            (read_config(each.folder)["kind"], each.info.get("run", each.folder.name), each.folder) for each in bundles
        )
        used = [artefact(kind, name, {}, folder) for kind, name, folder in named] if takes_bundle(logger) else []
        for each in [found, *used]:
            if run.offline:  # where W&B refuses `use_artifact`, which does just this, and `wandb sync` the rest
                run._log_artifact(each, is_user_created=True, use_after_commit=True)
            else:
                run.use_artifact(each)


def log_metrics_file(logger: WandbLogger, folder: Path) -> None:
    """The metrics.json of an evaluation as an artefact, so that its lineage ends in numbers."""
    made = artefact("evaluation", folder.name, {})
    made.add_file(str(folder / "metrics.json"), policy="immutable")
    logger.experiment.log_artifact(made)


def of_wandb(loggers: Iterable[Any]) -> Iterator[WandbLogger]:
    """Those of a run that log to W&B."""
    return (logger for logger in loggers if isinstance(logger, WandbLogger))


def takes_bundle(logger: WandbLogger) -> bool:
    """Whether bundles go to W&B; a logger of one's own takes none."""
    return bool(getattr(logger, "takes_bundle", False))


def artefact(kind: str, name: str, facts: Mapping[str, Any], folder: Path | None = None) -> Any:
    """A `wandb.Artifact` of the files of a folder, or of none yet.

    Its name says the kind, too, since W&B has one type for each name; it allows few signs there, and 128 of them.
    """
    import wandb

    said = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{kind}-{name}")[:128]
    made = wandb.Artifact(said, type=kind if folder is None else f"bundle-{kind}", metadata=dict(facts))
    if folder is not None:
        made.add_dir(str(folder), policy="immutable")  # no copy of it besides
    return made


def mode_of(offline: bool | None) -> str:
    """online, offline or disabled: as the config says, else as WANDB_MODE does, else offline.

    Raises:
        UserError: WANDB_MODE is none of W&B's words, or a live run has no key or no wandb.
    """
    stated = os.environ.get("WANDB_MODE") or "offline"
    if offline is None and stated not in MODES:
        raise UserError(f"WANDB_MODE={stated} is not one of {', '.join(MODES)}.")
    mode = MODES[stated] if offline is None else ("offline" if offline else "online")
    if mode == "online" and not installed():
        raise UserError("W&B logs live and is not installed; run `pip install 'cxr-ldm[wandb]'`, or take logger=csv.")
    if mode == "online" and not has_key():
        raise UserError(
            "W&B logs live and has no API key; run `wandb login`, set WANDB_API_KEY, or log offline with "
            "WANDB_MODE=offline or logger.offline=true."
        )
    return mode


def installed() -> bool:
    """Whether wandb is there: it is an extra."""
    return find_spec("wandb") is not None


def has_key() -> bool:
    """Whether W&B finds an API key, without asking for one and without the network."""
    import wandb

    found: bool = wandb.login(prompt=False, verify=False)
    return found
