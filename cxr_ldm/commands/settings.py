"""From a composed config to the objects and folders it means. No torch here, so that preparing data starts at once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from cxr_ldm import naming
from cxr_ldm.assets import CONF
from cxr_ldm.commands.checking import check
from cxr_ldm.commands.cli import FREE
from cxr_ldm.commands.schema import Command
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.making import prepare as prepare_folder
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.errors import UserError

if TYPE_CHECKING:
    import torch

    from cxr_ldm.diffusion.sampling import Sampling


def check_values(cfg: DictConfig, command: type[Command]) -> None:
    """Raises UserError where a setting is not what it is declared to be; before anything heavy."""
    check(cfg, command)
    stated = plain(cfg.guidance)
    if stated.get("scale") is None:  # the model's own is not known yet, and a negative text depends on it
        stated["negative"] = None
    Guidance().with_stated(**stated)
    feature_nodes(cfg)


def check_logger(logger: DictConfig) -> None:
    """Raises UserError where the chosen logger could not start, so that this is known before hours of work."""
    from cxr_ldm.loggers import check_tensorboard, mode_of, tensorboard_logger, wandb_logger

    target = str(logger.get("_target_", ""))
    if target.endswith(wandb_logger.__name__):
        mode_of(logger.offline)
    if target.endswith(tensorboard_logger.__name__):
        check_tensorboard()


def guidance_of(cfg: DictConfig, own: Guidance) -> Guidance:
    """The settings of guidance, `own` being the bundle's; raises UserError where one is out of range."""
    return own.with_stated(**plain(cfg.guidance))


def sampling_of(cfg: DictConfig) -> "Sampling":
    """How images are sampled; the guidance is None where the config leaves all of it to the model."""
    from cxr_ldm.diffusion.sampling import Sampling
    from cxr_ldm.networks.precision import resolved

    step, times = instantiate(cfg.sampler.step), instantiate(cfg.sampler.times)
    return Sampling(cfg.sampler.steps, None, step, times, resolved(cfg.precision, device_of(cfg)))


def say_precision(cfg: DictConfig) -> None:
    """Print what precision=auto comes to."""
    from cxr_ldm.networks.precision import said

    if cfg.precision == "auto":
        print(said(device_of(cfg)))


def with_own_sampler(cfg: DictConfig, info: Mapping[str, Any]) -> DictConfig:
    """The config with the sampler that the `info` of a bundle states, where the command line names none.

    Its steps are the bundle's, too, or those that the command line states.
    """
    own = info.get("sampling")
    if own is None:
        return cfg
    keys = [word.partition("=")[0] for word in overrides() if word.startswith(("sampler=", "sampler."))]
    if set(keys) - {"sampler.steps"}:
        return cfg
    sampler = OmegaConf.load(CONF / "sampler" / f"{own['sampler']}.yaml")
    steps = cfg.sampler.steps if keys else own["steps"]
    return filled(cfg, sampler=sampler, **{"sampler.steps": steps})


def guidance_recorded(cfg: DictConfig) -> dict[str, Any]:
    """The guidance as a record holds it: without a negative text where there is none, as when there could be none."""
    return {key: value for key, value in plain(cfg.guidance).items() if key != "negative" or value is not None}


def filled(cfg: DictConfig, **values: Any) -> DictConfig:
    """A copy of the config with what was found out in place of nulls, so that it is used and recorded alike."""
    cfg = cfg.copy()
    for key, value in values.items():
        OmegaConf.update(cfg, key, value)
    return cfg


def feature_nodes(cfg: DictConfig) -> DictConfig:
    """The config nodes of the feature extractors by name.

    Raises:
        UserError: none is chosen, one is chosen twice, or a file of conf/features lacks its package.
    """
    chosen = choices("features")
    twice = sorted({name for name in chosen if chosen.count(name) > 1})
    if twice:  # Hydra would pass over it
        raise UserError(f"features=[{','.join(chosen)}] names {', '.join(twice)} twice; once is enough.")
    if not cfg.get("features"):
        raise UserError("features=[] chooses no extractor; the default is features=[efficientnet_lite0].")
    if "_target_" in cfg.features:
        raise UserError("a file conf/features/NAME.yaml must begin with the line `# @package features.NAME`.")
    return cfg.features


def plain(node: Any) -> Any:
    """A config node as resolved dicts and lists; raises Hydra's error where a mandatory value is missing."""
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)


def overrides() -> list[str]:
    """The command line's overrides, without the ++ that `as_it_stands` set: names are made of what was typed."""
    words = HydraConfig.get().overrides.task
    return [word.removeprefix("++") if FREE.match(word.removeprefix("++")) else word for word in words]


def is_swept() -> bool:
    """Whether this is one job of a multirun, or one of several processes that do one."""
    return "CXR_LDM_SWEPT" in os.environ or (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)


def choice(group: str) -> str:
    """The option chosen for a config group, e.g. "small" for vae."""
    return str(HydraConfig.get().runtime.choices[group])


def choices(group: str) -> list[str]:
    """What the command line names for a group of which several can be chosen; nothing where it names none."""
    words = overrides() if HydraConfig.initialized() else []
    found = [word.partition("=")[2] for word in words if word.partition("=")[0] == group]
    return [name.strip() for name in found[-1].strip("[]").split(",")] if found else []


def device_of(cfg: DictConfig) -> "torch.device":
    """The GPU where there is one and trainer.accelerator does not say cpu; of several processes each has its own."""
    import torch

    on_gpu = torch.cuda.is_available() and cfg.trainer.accelerator != "cpu"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def stage_of(cfg: DictConfig) -> str:
    """The chosen stage; raises UserError where none is."""
    if cfg.get("stage") is None:
        raise UserError("stage is not set; choose stage=vae, ldm, classifier, distill or upscaler.")
    return cfg.stage.name


def kind_of(cfg: DictConfig) -> str:
    """Kind of the bundles of the chosen stage, which stages may share; raises UserError where none is chosen."""
    name = stage_of(cfg)
    return cfg.stage.get("kind") or name


def data_name(cfg: DictConfig) -> str:
    """Name of the prepared folder that this command's data=… or prepared=… means."""
    if cfg.prepared:
        return Prepared(cfg.prepared, cfg.verify).name
    check_root(cfg)
    data = OmegaConf.masked_copy(cfg, "data")  # readers take their folders from data.root by interpolation
    if data.data.root is not None:
        data.data.root = str(Path(data.data.root).resolve())
    settings = plain(data)["data"]
    settings.pop("adherence")  # a measurement; it does not change the images
    words = [word for word in overrides() if word.startswith("data.") and not word.startswith(naming.SILENT_VALUES)]
    return naming.slug([settings["kind"], str(settings["size"]), *words], settings)


def asked_data(cfg: DictConfig) -> str | None:
    """Name of the data that the command line asks for, or their kind where it does not say where they lie; or None."""
    keys = {word.partition("=")[0].lstrip("+") for word in overrides()}
    if not any(key in ("data", "prepared", "experiment") or key.startswith("data.") for key in keys):
        return None
    if cfg.prepared is None and OmegaConf.is_missing(cfg.data, "root"):
        return str(cfg.data.kind)
    return data_name(cfg)


def check_root(cfg: DictConfig) -> None:
    """Raises UserError where the data need a folder and none is given."""
    if OmegaConf.is_missing(cfg.data, "root"):
        raise UserError(f"data.root is not set; data={cfg.data.kind} needs the collection's folder: data.root=DIR.")


def prepared_data(cfg: DictConfig, name: str | None = None) -> Prepared:
    """Open the prepared folder, making it first where it is missing."""
    if cfg.prepared:
        return Prepared(cfg.prepared, cfg.verify)
    join = cfg.prepare.join if "prepare" in cfg else None
    return prepare_folder(**to_prepare(cfg, name), kind=cfg.data.kind, verify=cfg.verify, join=join)


def to_prepare(cfg: DictConfig, name: str | None) -> dict[str, Any]:
    """What a collection and each of its parts are prepared from."""
    data, name = cfg.data, str(name or data_name(cfg))
    return {
        "reader": instantiate(data.reader),
        "folder": naming.place(Path(cfg.paths.outputs) / "prepared", name),
        "target": target_of(data),
        "name": name,
        "splits": plain(data.splits),
        "limit": data.limit,
        "workers": cfg.workers,
    }


def target_of(data: DictConfig) -> Target:
    """What every image becomes, by the data config."""
    clahe = plain(data.clahe) if OmegaConf.is_config(data.clahe) else data.clahe
    return Target(data.size, data.fit, data.bits, clahe, data.png)


def part_of_stage(cfg: DictConfig, role: str) -> Any:
    """The function that conf/stage/*.yaml names for a role: `plan`, `(cfg, prepared) -> Built`, which makes a training
    run of it, or `measure`, `(cfg, bundle, prepared, folder) -> metrics by name`, which measures its bundle.
    """
    return get_method(cfg.stage[role])


# of a stage's recipe: what changes no result, or is stated where it is not off
UNSTATED = ("workers", "copies", "inpaint")


def common_settings(cfg: DictConfig, prepared: Prepared, recipe: DictConfig) -> dict[str, Any]:
    """What decides the result of every training run."""
    own = {"callbacks": plain(cfg.callbacks)} if cfg.get("callbacks") else {}
    return own | {
        "data": prepared.fingerprint,
        "training": {key: value for key, value in plain(recipe).items() if key not in UNSTATED},
        # any number of devices trains the same run, and those of before say one
        "trainer": {key: cfg.trainer[key] for key in ("precision", "gradient_clip")} | {"devices": 1},
        "seed": cfg.seed,
    }


def run_folder(cfg: DictConfig, stage: str, model: str, prepared: Prepared, settings: dict[str, Any]) -> Path:
    """Folder of a training run, named after data, size, model, overrides and settings."""
    words = [prepared.kind, str(prepared.size), model, *naming.override_words(overrides())]
    return naming.place(Path(cfg.paths.outputs) / stage, str(cfg.name or naming.slug(words, settings)))


def ending(folder: Path, *files: str) -> None:
    """The last lines of each command: what it made, one path a line."""
    print("\n".join(f"  {folder / file}" for file in files))
