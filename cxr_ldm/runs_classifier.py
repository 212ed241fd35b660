"""python train.py stage=classifier: config in, objects out, as runs.py does for the other stages."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from cxr_ldm import runs, training
from cxr_ldm.bundle import save_bundle
from cxr_ldm.compose import choice, ending, overrides, plain, prepared_data, run_folder
from cxr_ldm.data.datamodule import ImageDataModule
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.data.targets import Targets, all_targets, learnable
from cxr_ldm.data.transforms import Augment
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.stages.classifier import ClassifierStage


def train_classifier(cfg: DictConfig) -> Path:
    """Fit the finding classifier on the training split; the run's folder."""
    prepared, recipe, model = prepared_data(cfg), cfg.training.classifier, cfg.classifier_network
    runs.check_split_sizes(prepared)
    targets = learnable(all_targets(prepared.manifest), prepared.rows("train"), model.min_images)
    network = instantiate(model.network, classes=targets.classes)
    network.features(prepared.pixels(prepared.rows("val")[:1]))  # refuses a size that is too small
    settings = runs.common_settings(cfg, prepared, recipe) | {
        "classifier_network": plain(model),
        "classes": targets.classes,  # rules of an earlier version of this code may have found others
    }
    folder = run_folder(cfg, "classifier", choice("classifier_network"), prepared, settings)
    facts = {"data": prepared.name, "prepared": str(prepared.folder)}
    with training.begun(folder, settings, cfg, overrides(), **facts) as unfinished:
        if unfinished:
            print(described(targets, parameter_count(network), model.min_images))
            torch.manual_seed(cfg.seed)
            network = instantiate(model.network, classes=targets.classes)
            optimizer = instantiate(recipe.optimizer)
            module = ClassifierStage(network, optimizer, recipe.warmup_steps, recipe.last_rate, cfg.seed)
            values = fit(cfg, module, prepared, targets, folder)
            if not module.trainer.is_global_zero:
                return folder  # as in runs.train_vae
            known = prepared.rows("train")[targets.known[prepared.rows("train")]]
            info = runs.bundle_info(prepared, folder) | {
                "classes": targets.classes,
                "prevalence": targets.prevalence(known),  # its probabilities mean these shares
                "left_out": targets.left_out,
            }
            specs = {"classifier": plain(model.network) | {"classes": targets.classes}}
            save_bundle(folder / "bundle", "classifier", specs, {"classifier": network}, info)
            stated = {"split": "val", "pairs": "of one source", "unknown": "left out", "left_out": targets.left_out}
            training.write_metrics(folder, values, int(targets.known[prepared.rows("val")].sum()), cfg, stated)
            training.finish(folder, settings, **facts, **training.cost(module.trainer))
    ending(folder, "bundle", "metrics.json")
    return folder


def fit(
    cfg: DictConfig, module: ClassifierStage, prepared: Prepared, targets: Targets, folder: Path
) -> Mapping[str, float]:
    """Fit; the trained module's last validation."""
    recipe = cfg.training.classifier
    changes = plain(recipe.augment)
    augment = Augment(**changes, seed=cfg.seed) if changes.pop("enabled") else None
    stretch, *_ = training.periods(recipe)
    data = ImageDataModule(prepared, recipe.batch_size, stretch, cfg.seed, recipe.workers, augment, targets)
    monitor = ("val/loss", "min")  # AUROC may have no pair in a small validation split
    fitter = training.fit(module, data, folder, recipe, cfg.trainer, monitor, None, instantiate(cfg.logger), cfg.seed)
    (values,) = fitter.validate(module, data, verbose=False)
    return values


def described(targets: Targets, parameters: int, least: int) -> str:
    """What is trained, and what is left out."""
    text = f"classifier: {parameters / 1e6:.2f}M parameters, {len(targets.classes)} classes: "
    text += ", ".join(targets.classes)
    if targets.left_out:
        few = ", ".join(f"{name} {count}" for name, count in targets.left_out.items())
        text += f"\nleft out, with fewer than {least} training images that show them or that do not: {few}"
    unknown = int(np.sum(~targets.known))
    return text + (f"\n{unknown} images of which none is known take no part" if unknown else "")
