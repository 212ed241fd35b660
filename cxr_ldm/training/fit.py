"""Fitting a stage with Lightning: precision, devices, callbacks, and how a run goes on where it was ended."""

import inspect
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, Timer, TQDMProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from cxr_ldm import ranks
from cxr_ldm.callbacks.copies import Copies
from cxr_ldm.callbacks.ema import EMA
from cxr_ldm.callbacks.history import History
from cxr_ldm.callbacks.pace import Pace
from cxr_ldm.callbacks.patience import Patience
from cxr_ldm.callbacks.slice import Slice
from cxr_ldm.callbacks.stop import Stop
from cxr_ldm.checkpoints import WholeCheckpoints, read_checkpoint
from cxr_ldm.errors import Paused
from cxr_ldm.networks.checkpointing import checkpointed
from cxr_ldm.networks.precision import resolved, said
from cxr_ldm.stages.recipe import Recipe

PRECISIONS: dict[str, Any] = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}  # ours and Lightning's names
MakeLogger = Callable[..., Logger]


@dataclass(frozen=True)
class Machine:
    """What a run trains on and how long, see conf/trainer; none of it changes what is learnt but for the precision.

    Attributes:
        precision: 32, 16, bf16 or auto.
        gradient_clip: largest norm of the gradient.
        log_every: steps.
        max_minutes: after which it ends at the next checkpoint; None: never.
        compile: a backend of torch.compile, or None.
        memory_gb: that a device has; the batch is divided into parts that fit. None: it is not.
        checkpointing: whether blocks compute again for the backward pass what they do not keep.
        callbacks: of one's own; they stand behind those of the stage.
        further: other arguments of Lightning's Trainer.
    """

    accelerator: str = "auto"
    devices: Any = 1
    precision: int | str = 32
    gradient_clip: float | None = 1.0
    log_every: int = 20
    max_minutes: float | None = None
    compile: str | None = None
    memory_gb: float | None = None
    checkpointing: bool = False
    callbacks: Sequence[lightning.Callback] = ()
    further: Mapping[str, Any] = field(default_factory=dict)


def on_gpu(accelerator: str) -> bool:
    """Whether a training with this `trainer.accelerator` runs on a GPU."""
    return torch.cuda.is_available() and accelerator != "cpu"


def precision_of(requested: int | str, accelerator: str) -> Any:
    """Lightning's name for the precision; 16 on a CPU becomes bf16, and auto what the processor has, which is said."""
    if str(requested) == "auto":
        device = "cuda" if on_gpu(accelerator) else "cpu"
        print(f"trainer.{said(device)}")
        return PRECISIONS[resolved(requested, device)]
    if str(requested) == "16" and not on_gpu(accelerator):
        print("trainer.precision=16: this CPU has no float16 training, so the run uses bf16 (bfloat16 mixed).")
        return PRECISIONS["bf16"]
    return PRECISIONS[str(requested)]


def shared(module: Any, machine: Machine) -> dict[str, Any]:
    """Arguments of Lightning's Trainer that say on what a run trains, and how processes share it that have met before.

    A discriminator that sleeps until its start has no gradient there, which plain DDP takes for an error. Buffers are
    alike in all processes, and validation batches of different numbers: sending them at each would never end.
    """
    if ranks.count() == 1:
        return {"accelerator": machine.accelerator, "devices": machine.devices}
    here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks.count()))
    sleeps = getattr(module, "adversary", None) is not None
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its older name
    options: dict[str, Any] = {"find_unused_parameters": sleeps, buffers: False}
    strategy = DDPStrategy(**options)
    nodes = ranks.count() // here
    return {"accelerator": machine.accelerator, "devices": here, "num_nodes": nodes, "strategy": strategy}


def fit(
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    folder: Path,
    recipe: Recipe,
    machine: Machine,
    monitor: tuple[str, str],
    make_logger: MakeLogger,
    seed: int,
    callbacks: Sequence[lightning.Callback] = (),
) -> lightning.Trainer:
    """Train until `recipe.images` were seen, rounded up to whole validation periods, from the last checkpoint if any.

    An "epoch" of Lightning is the stretch between two checkpoints (see `Recipe.periods`), so that a run which was
    killed repeats at most one; a validation stands at the end of every few of them. SIGTERM and Ctrl-C end it at the
    next step, with a checkpoint there.

    Args:
        monitor: metric and mode ("min" or "max") for early stopping.
        make_logger: partial of a Lightning logger, completed with the run's folder and name.
        callbacks: of the stage; one that looks for copies may end the run with an earlier checkpoint.

    Raises:
        Paused: `machine.max_minutes` were over before the end, or SIGTERM or Ctrl-C came.
    """
    quiet()
    last = folder / "checkpoints" / "last.ckpt"
    lightning.seed_everything(seed, verbose=False)
    periods = recipe.periods()
    # the history has what stands before it, and what draws sees the averaged weights that stand behind it
    every: list[lightning.Callback] = [TQDMProgressBar(refresh_rate=20), LearningRateMonitor("step"), Timer()]
    every += [Pace(machine.log_every), History(folder, machine.log_every), *callbacks, *machine.callbacks]
    if recipe.ema:
        every.append(EMA(recipe.ema))
    if machine.max_minutes is not None:
        every.append(Slice(machine.max_minutes))
    stop = Stop(last)
    every.append(stop)
    if recipe.patience:
        every.append(Patience(monitor, recipe.patience))
    every.append(
        ModelCheckpoint(
            folder / "checkpoints", filename="last", enable_version_counter=False, save_on_train_epoch_end=True
        )
    )
    fitter = lightning.Trainer(
        **{
            **shared(module, machine),
            "precision": precision_of(machine.precision, machine.accelerator),
            "max_epochs": periods.stretches * periods.validations,
            "check_val_every_n_epoch": periods.stretches,
            "accumulate_grad_batches": recipe.accumulate,
            "gradient_clip_val": machine.gradient_clip,
            "log_every_n_steps": machine.log_every,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,  # our loaders know their part of a batch
            "logger": make_logger(save_dir=str(folder)),
            "callbacks": every,
            "plugins": [WholeCheckpoints()],
            "default_root_dir": str(folder),
            "enable_model_summary": False,
            **machine.further,
        }
    )
    networks: Any = module
    if machine.checkpointing:
        for network in networks.networks():
            checkpointed(network)
    if machine.compile:
        for network in networks.networks():
            network.compile(backend=machine.compile)  # in place, so that the keys of checkpoints stay
    fitter.fit(module, data, ckpt_path=last if last.exists() else None)
    stop.at_the_end(fitter)
    if any(isinstance(callback, Slice) and callback.over for callback in every):
        raise Paused(
            f"stopped after {machine.max_minutes} minutes at step {fitter.global_step}; {folder} is unfinished."
        )
    settle(module, every, last)
    return fitter


def settle(module: lightning.LightningModule, callbacks: Sequence[lightning.Callback], last: Path) -> None:
    """Leave the module with the weights that a run ends with: averaged ones, or those before an alarm.

    A run that was stopped after its last checkpoint trains no more, and Lightning would leave the raw weights.
    """
    averages = [callback for callback in callbacks if isinstance(callback, EMA)]
    stopped = [callback for callback in callbacks if isinstance(callback, Copies) and callback.stopped]
    if averages or stopped:
        kept = stopped[0].checkpoint() if stopped else last
        module.load_state_dict(read_checkpoint(kept)["state_dict"], strict=True)
    for average in averages if stopped else []:
        average.follow(module)


def quiet() -> None:
    """Hush what tells the user nothing: hardware lists, advertisements, and workers that our loaders do not need."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # our loader goes on within a stretch, see StreamDataModule
    warnings.filterwarnings("ignore", message=".*checkpoint that ended before the epoch ended.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # the text encoder means it
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*when logging on epoch level in distributed setting.*")  # we say where
