"""What a training runs on and logs to, and what of its settings cannot be meant."""

import difflib
import inspect
from collections.abc import Iterable
from functools import partial

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from cxr_ldm.commands.settings import data_name, plain
from cxr_ldm.errors import UserError
from cxr_ldm.training.fit import Machine, MakeLogger, on_gpu

OURS = (
    *("accelerator", "devices", "precision", "gradient_clip", "log_every", "max_minutes", "compile"),
    *("memory_gb", "checkpointing"),
)


def machine_of(cfg: DictConfig) -> Machine:
    """What the run trains on; keys of conf/trainer that are not ours reach Lightning's Trainer as they are."""
    stated = plain(cfg.trainer)
    further = {key: value for key, value in stated.items() if key not in (*OURS, "graphs")}
    if str(further.get("strategy", "")).startswith("fsdp") and not on_gpu(stated["accelerator"]):
        raise UserError("trainer=fsdp shards a model over GPUs, and there is none; trainer=ddp trains on CPUs as well.")
    callbacks = tuple(instantiate(node) for node in cfg.callbacks.values())
    return Machine(**{key: stated[key] for key in OURS}, callbacks=callbacks, further=further)


def logger_of(cfg: DictConfig) -> MakeLogger:
    """Makes the logger of a run."""
    made: MakeLogger = instantiate(cfg.logger)
    if "group" not in cfg.logger or cfg.logger.group is not None:
        return made
    chosen = HydraConfig.get().runtime.choices.get("experiment")
    return partial(made, group=str(chosen or data_name(cfg)))


def check_trainer(keys: Iterable[str]) -> None:
    """Raises UserError where a key of conf/trainer is none of ours and none of Lightning's."""
    known = [*OURS, "graphs", *inspect.signature(lightning.Trainer).parameters]
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            advice = f"; did you mean trainer.{near[0]}?" if near else "."
            raise UserError(f"trainer.{key} is no setting of ours and no argument of Lightning's Trainer{advice}")


def check(cfg: DictConfig) -> None:
    """Raises UserError where trainer, compiling, CUDA graphs, or looks for copies cannot be what was meant."""
    check_trainer(map(str, cfg.trainer))
    if cfg.trainer.compile is not None:
        known = torch.compiler.list_backends(exclude_tags=None)  # takes half a second
        if cfg.trainer.compile not in known:
            raise UserError(f"trainer.compile={cfg.trainer.compile} is not one of {', '.join(known)}.")
    # each pass of a graph writes its gradients to the same memory
    others = {
        "trainer.devices": (cfg.trainer.devices, 1),
        "trainer.compile": (cfg.trainer.compile, None),
        "training.ldm.accumulate": (cfg.training.ldm.accumulate, 1),
    }
    for key, (value, needed) in others.items() if cfg.trainer.graphs else ():
        if value != needed:
            raise UserError(f"trainer.graphs=true and {key}={value} do not go together; take {key}={needed or 'null'}.")
    check_stop(cfg.stop, cfg.stage.name if cfg.get("stage") else None, cfg.training.ldm.copies.samples)


def check_stop(stop: str | None, stage: str | None, samples: int) -> None:
    """Raises UserError where a run cannot be stopped by looks for copies, because it makes none."""
    if stop and stage != "ldm":
        raise UserError(f"stop={stop} needs stage=ldm; stage={stage} makes no images of its own.")
    if stop and samples == 0:
        raise UserError("stop=copies needs looks; choose training.ldm.copies.samples=200 or so.")
