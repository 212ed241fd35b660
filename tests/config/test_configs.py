"""Every file of conf/ composes, brings no key that its command does not define, and builds what it names."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from cxr_ldm.cli import CONF, leaves, nearest, sentence

COMMANDS = {"train": ["stage=vae"], "evaluate": ["stage=ldm"], "sample": [], "prepare": []}
FILES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.glob("*/*.yaml"))
EXPERIMENTS = [file.split("/")[1] for file in FILES if file.startswith("experiment/")]
GROUPS = [file for file in FILES if not file.startswith("experiment/")]
# Inside these, keys belong to the class that `_target_` names.
OPEN = ("data.reader", "vae.network", "denoiser", "text_encoder", "diffusion", "sampler", "logger", "features")
OPEN += ("training.vae.optimizer", "training.ldm.optimizer")


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, [*COMMANDS[command], *overrides])


def targets(node):
    """Every `_target_` below a node."""
    for key in leaves(node):
        if key.endswith("_target_"):
            yield OmegaConf.select(node, key)


@pytest.mark.parametrize("file", GROUPS)
def test_every_option_composes_and_names_what_exists(file):
    group, option = file.split("/")
    for command in COMMANDS:
        if group != "stage" or command in ("train", "evaluate"):
            cfg = composed(command, f"{group}={option}")
    for target in targets(cfg[group]):
        assert get_object(target) is not None


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_compose_for_every_command_and_bring_no_unknown_key(command, experiment):
    """Hydra refuses a typo on the command line, but merges one in an experiment file silently."""
    plain = {key for key in leaves(composed(command)) if not key.startswith(OPEN)}
    changed = {key for key in leaves(composed(command, f"experiment={experiment}")) if not key.startswith(OPEN)}
    assert changed <= plain


@pytest.mark.parametrize("file", [file for file in GROUPS if file.startswith(("diffusion/", "sampler/", "training/"))])
def test_every_node_takes_its_arguments(file):
    group, option = file.split("/")
    built = instantiate(composed("train", f"{group}={option}")[group])
    if group == "training":
        assert set(built) == {"vae", "ldm"}
        assert built["vae"]["optimizer"]([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] > 0
        assert built["ldm"]["optimizer"]([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] > 0


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_opens_with_its_goal_its_minutes_and_its_command(experiment):
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    head = "\n".join(line for line in text.splitlines()[:16] if line.startswith("#"))
    for word in ("Goal", "Expected", "minutes", "python train.py"):
        assert word in head


@pytest.mark.parametrize("option", ["deck", "small", "tiny"])
def test_denoisers_build(option):
    cfg = composed("train", f"denoiser={option}")
    assert instantiate(cfg.denoiser, latent_channels=8, context_width=32) is not None


def test_a_mistyped_key_gets_the_nearest():
    assert nearest("Could not override 'trainer.precison'.") == "'trainer.precision'"
    assert nearest("Could not override 'zzz'.") is None
    assert sentence(ValueError("one\n\n  two")) == "one"
