"""Fitting a stage: run folder, resume, precision, callbacks. The same for every stage."""

import logging
import math
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, Timer, TQDMProgressBar
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from cxr_ldm import artifacts
from cxr_ldm.bundle import bundle_sha256
from cxr_ldm.callbacks.copies import Copies
from cxr_ldm.callbacks.ema import EMA
from cxr_ldm.callbacks.graphs import Graphs
from cxr_ldm.callbacks.grids import Draw, ImageGrid
from cxr_ldm.callbacks.history import History
from cxr_ldm.callbacks.pace import Pace
from cxr_ldm.callbacks.patience import Patience
from cxr_ldm.callbacks.slice import Slice
from cxr_ldm.callbacks.stop import Stop
from cxr_ldm.checkpoints import WholeCheckpoints, read_checkpoint
from cxr_ldm.compose import PRECISIONS
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.errors import Paused, UserError
from cxr_ldm.metrics import results
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.stages.classifier import ClassifierStage
from cxr_ldm.stages.ldm import LatentDiffusionStage
from cxr_ldm.stages.vae import VAEStage


@contextmanager
def begun(
    folder: Path, settings: Mapping[str, Any], cfg: DictConfig, overrides: list[str], **facts: Any
) -> Iterator[bool]:
    """As `begin`, and no other process runs in the folder until the block ends.

    Raises:
        UserError: another process runs there.
    """
    complete = artifacts.state(folder, settings) == "complete"  # needs no lock, which a read-only disk could not hold
    # Lightning starts the further processes of a run on several devices by the same command
    alone = not complete and os.environ.get("LOCAL_RANK", "0") == "0"
    with artifacts.locked(folder) if alone else nullcontext():
        yield begin(folder, settings, cfg, overrides, **facts)


def begin(folder: Path, settings: Mapping[str, Any], cfg: DictConfig, overrides: list[str], **facts: Any) -> bool:
    """Claim a run folder; False when the same run is complete there already.

    Keeps the composed config and the command line's overrides in .hydra/, as Hydra would.
    """
    state = artifacts.state(folder, settings)
    if state == "complete":
        print(f"complete already: {folder}")
        return False
    print(f"{'resuming' if state == 'unfinished' else 'new run'}: {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    artifacts.write_record(folder, settings, complete=False, **facts)
    artifacts.write_text(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(cfg))
    artifacts.write_text(folder / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(overrides))
    return True


def finish(folder: Path, settings: Mapping[str, Any], **facts: Any) -> None:
    """Mark a run folder complete."""
    finished = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    facts |= {"finished": finished, "command": sys.argv, "python": platform.python_version()}
    artifacts.write_record(folder, settings, complete=True, **facts)


def cost(fitter: lightning.Trainer) -> dict[str, float]:
    """Optimiser steps of a run, and the seconds of training behind its checkpoints, those before a resume included."""
    callbacks: list[lightning.Callback] = fitter.callbacks  # type: ignore[attr-defined]
    (timer,) = [callback for callback in callbacks if isinstance(callback, Timer)]
    return {"steps": fitter.global_step, "seconds": round(timer.time_elapsed("train"), 1)}


def on_gpu(accelerator: str) -> bool:
    """Whether a training with this `trainer.accelerator` runs on a GPU."""
    return torch.cuda.is_available() and accelerator != "cpu"


def precision_of(requested: int | str, accelerator: str) -> Any:
    """Lightning's name for the precision; 16 on a CPU becomes bf16, which is said."""
    if str(requested) == "16" and not on_gpu(accelerator):
        print("trainer.precision=16: this CPU has no float16 training, so the run uses bf16 (bfloat16 mixed).")
        return PRECISIONS["bf16"]
    return PRECISIONS[str(requested)]


def strategy_of(module: Any, devices: Any) -> str:
    """Lightning's name for how several devices share a run; a discriminator that sleeps until its start has no gradient
    there, which plain DDP takes for an error.
    """
    sleeps = getattr(module, "adversary", None) is not None
    return "ddp_find_unused_parameters_true" if sleeps and devices != 1 else "auto"


def fit(
    module: VAEStage | LatentDiffusionStage | ClassifierStage,
    data: lightning.LightningDataModule,
    folder: Path,
    recipe: DictConfig,
    trainer: DictConfig,
    monitor: tuple[str, str],
    grid: ImageGrid | None,
    make_logger: Any,
    seed: int,
    copies: Copies | None = None,
) -> lightning.Trainer:
    """Train until `recipe.images` were seen, rounded up to whole validation periods, from the last checkpoint if any.

    An "epoch" of Lightning is the stretch between two checkpoints (see `periods`), so that a run which was killed
    repeats at most one; a validation stands at the end of every few of them. SIGTERM and Ctrl-C end it at the next
    step, with a checkpoint there.

    Args:
        monitor: metric and mode ("min" or "max") for early stopping.
        grid: draws at each validation; None for a stage that makes no images.
        make_logger: partial of a Lightning logger, completed with the run's folder and name.
        copies: looks for copies at each validation; the run may end with an earlier checkpoint then.

    Raises:
        Paused: `trainer.max_minutes` were over before the end, or SIGTERM or Ctrl-C came.
    """
    quiet()
    last = folder / "checkpoints" / "last.ckpt"
    lightning.seed_everything(seed, verbose=False)
    _, epochs_each, validations = periods(recipe)
    checkpoints = ModelCheckpoint(
        folder / "checkpoints", filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    callbacks: list[lightning.Callback] = [TQDMProgressBar(refresh_rate=20), LearningRateMonitor("step"), Timer()]
    callbacks += [Pace(trainer.log_every), History(folder, trainer.log_every)]  # the history has what stands before it
    if grid is not None:
        callbacks.append(grid)
    if copies is not None:
        callbacks.append(copies)
    if recipe.ema:
        callbacks.append(EMA(recipe.ema))
    if trainer.max_minutes is not None:
        callbacks.append(Slice(trainer.max_minutes))
    if trainer.graphs and isinstance(module, LatentDiffusionStage) and on_gpu(trainer.accelerator):
        callbacks.append(Graphs())
    stop = Stop(last)
    callbacks.append(stop)
    if recipe.patience:
        callbacks.append(Patience(monitor, recipe.patience))
    fitter = lightning.Trainer(
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        strategy=strategy_of(module, trainer.devices),
        precision=precision_of(trainer.precision, trainer.accelerator),
        max_epochs=epochs_each * validations,
        check_val_every_n_epoch=epochs_each,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=trainer.gradient_clip,
        log_every_n_steps=trainer.log_every,
        num_sanity_val_steps=0,
        logger=make_logger(save_dir=str(folder)),
        callbacks=[*callbacks, checkpoints],
        plugins=[WholeCheckpoints()],
        default_root_dir=str(folder),
        enable_model_summary=False,
    )
    if trainer.compile:
        for network in module.networks():
            network.compile(backend=trainer.compile)  # in place, so that the keys of checkpoints stay
    fitter.fit(module, data, ckpt_path=last if last.exists() else None)
    stop.at_the_end(fitter)
    if any(isinstance(callback, Slice) and callback.over for callback in callbacks):
        raise Paused(
            f"stopped after {trainer.max_minutes} minutes at step {fitter.global_step}; {folder} is unfinished."
        )
    stopped = copies is not None and copies.stopped
    if recipe.ema or stopped:
        # a run that was stopped after its last checkpoint trains no more, and Lightning would leave the raw weights
        kept = copies.checkpoint() if copies is not None and stopped else last
        module.load_state_dict(read_checkpoint(kept)["state_dict"], strict=True)
    for callback in callbacks:
        if isinstance(callback, EMA) and stopped:
            callback.follow(module)
    return fitter


def check_backend(name: str | None) -> None:
    """Raises UserError where torch.compile knows no backend of this name."""
    known = torch.compiler.list_backends(exclude_tags=None)
    if name is not None and name not in known:
        raise UserError(f"trainer.compile={name} is not one of {', '.join(known)}.")


def check_graphs(trainer: DictConfig, recipe: DictConfig) -> None:
    """Raises UserError where CUDA graphs would train on other gradients: each pass writes them to the same memory."""
    if not trainer.graphs:
        return
    others = {
        "trainer.devices": (trainer.devices, 1),
        "trainer.compile": (trainer.compile, None),
        "training.ldm.accumulate": (recipe.accumulate, 1),
    }
    for key, (value, needed) in others.items():
        if value != needed:
            raise UserError(f"trainer.graphs=true and {key}={value} do not go together; take {key}={needed or 'null'}.")


def periods(recipe: Mapping[str, Any]) -> tuple[int, int, int]:
    """How a run is divided: images from one checkpoint to the next, such stretches a validation, and validations.

    A stretch is a whole number of optimiser steps; the stream of images and noise does not see where it ends.

    >>> lengths = {"batch_size": 32, "accumulate": 1, "images": 72_000, "validate_every": 24_000}
    >>> periods(lengths | {"checkpoint_every": 4_000})
    (4000, 6, 3)
    """
    step = recipe["batch_size"] * recipe["accumulate"]
    validate_every = min(recipe["validate_every"], recipe["images"])
    stretches = max(1, round(validate_every / recipe["checkpoint_every"]))
    images = math.ceil(validate_every / stretches / step) * step
    return images, stretches, math.ceil(recipe["images"] / (images * stretches))


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


def prompt_grid(autoencoder: Autoencoder, prepared: Prepared, folder: Path, guidance: Guidance) -> ImageGrid:
    """The picture of a diffusion run: the same validation texts and seeds, drawn again at each validation."""
    rows = spread(prepared.rows("val"), 8)
    draw = drawing(autoencoder, prepared, rows, list(range(len(rows))), guidance)
    return ImageGrid(draw, folder, columns=4, captions=prepared.texts(rows))


def drawing(
    autoencoder: Autoencoder, prepared: Prepared, rows: np.ndarray, seeds: list[int], guidance: Guidance
) -> Draw:
    """Samples of the texts of `rows` by a stage in training, in 20 steps, `[N,1,H,W]` in [-1, 1]."""
    prompts = prepared.texts(rows)

    def draw(module: Any) -> Tensor:
        pipeline = TextToCXR(
            autoencoder.to(module.device),
            module.denoiser,
            module.text_encoder,
            module.whitening,
            prepared.size,
            "",
            module.attributes,
            guidance,
        )
        return pipeline(prompts, seeds, steps=20, patients=prepared.people(rows) if module.attributes else None)

    return draw


def spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` rows at equal distances, so that a picture shows every source of a joined collection.

    >>> spread(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


def write_metrics(folder: Path, values: Mapping[str, float], n: int, cfg: DictConfig, settings: dict[str, Any]) -> None:
    """The last validation of a training run, in the form of the contract."""
    reason = "one pass inside training, by torchmetrics; evaluate.py gives intervals"
    metrics = {
        name.replace("/", "_"): results.Metric(
            float(value), n, not name.endswith("loss"), settings=settings, reason=reason
        )
        for name, value in values.items()
    }
    config = OmegaConf.to_container(cfg, resolve=False)
    run = results.run_entry(config=config, bundle_sha256=bundle_sha256(folder / "bundle"), seed=cfg.seed)
    results.write_metrics(folder / "metrics.json", metrics, run)
