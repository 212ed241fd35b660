"""The loggers: W&B, offline unless told otherwise, without advertisements, and never without a key; and TensorBoard."""

import os
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from cxr_ldm import artifacts
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
        bundle: whether the trained bundle goes there as an artefact, see `log_bundle`.
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
    made.takes_bundle = bundle  # type: ignore[attr-defined]  # asked for by `log_bundle`
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
    for logger in loggers:
        if not isinstance(logger, WandbLogger) or not getattr(
            logger, "takes_bundle", False
        ):  # one of one's own has not
            continue
        import wandb

        facts = dict(artifacts.flatten(dict(made_by)))
        artefact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]", "_", folder.name), type=f"bundle-{kind}", metadata=facts)
        artefact.add_dir(str(folder / "bundle"), policy="immutable")  # no copy of it besides
        logger.experiment.log_artifact(artefact)


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
