"""Every file of conf/ composes, brings no key that its command does not define, and builds what it names."""

import inspect
import re
from functools import cache

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from cxr_ldm.app.generation import Request
from cxr_ldm.assets import CONF
from cxr_ldm.commands import checking, schema
from cxr_ldm.commands.cli import leaves, nearest, sentence
from cxr_ldm.commands.evaluate import with_split
from cxr_ldm.commands.settings import guidance_of, sampling_of
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import SAMPLER, STEPS, Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.register import NAMED, NAMES, PARTS

COMMANDS = {
    "train": ["stage=vae"],
    "evaluate": ["stage=ldm"],
    "sample": [],
    "prepare": [],
    "export": [],
    "benchmark": ["suite=findings"],
}
BUILDS = ("train", "evaluate")  # the commands whose nodes are all that the others have, too
# Groups that not every command has.
ONLY = {
    "stage": ("train", "evaluate"),
    "suite": ("benchmark",),
    "arm": ("train",),
    "sweep": ("train",),
    "tune": ("train",),
    "enhance": ("sample",),
}
FILES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.glob("*/**/*.yaml"))
# what others are made of, and no command line chooses
FILES = [file for file in FILES if "/_" not in file and not file.startswith("data/part/")]
GROUP_NAMES = {file.split("/")[0] for file in FILES}
EXPERIMENTS = [file.split("/")[1] for file in FILES if file.startswith("experiment/")]
GROUPS = [file for file in FILES if not file.startswith("experiment/")]


@cache
def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, [*COMMANDS.get(command, []), *overrides])


def nodes_with_target(cfg):
    """Dotted names of the nodes that name a class or a function."""
    for key in leaves(cfg):
        if key.endswith("._target_"):
            yield key.removesuffix("._target_")


def targets(node):
    """Every `_target_` below a node."""
    for key in leaves(node):
        if key.endswith("_target_"):
            yield OmegaConf.select(node, key)


@pytest.mark.parametrize("file", GROUPS)
def test_every_option_composes_and_names_what_exists(file):
    group, option = file.rsplit("/", 1)
    builds = "train" if group.split("/")[0] in schema.Train.nodes else "evaluate"  # these two build all that is shared
    for command in ONLY.get(group, (builds,)):
        cfg = composed(command, f"{group}={option}")
        checking.check(cfg, getattr(schema, command.capitalize()))
    node = OmegaConf.select(cfg, group.replace("/", "."))
    for target in targets(node if node is not None else cfg):
        assert get_object(target) is not None


@pytest.mark.parametrize(
    "command",
    [*BUILDS, *(pytest.param(name, marks=pytest.mark.campaign) for name in COMMANDS if name not in BUILDS)],
)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_compose_for_every_command_and_bring_no_unknown_key(command, experiment):
    """Hydra refuses a typo on the command line, but merges one in an experiment file silently.

    Below a `_target_`, the keys are its arguments; elsewhere they are those of the command's defaults.
    """
    plain, changed = composed(command), composed(command, f"experiment={experiment}")
    checking.check(changed, getattr(schema, command.capitalize()))
    built = {node for cfg in (plain, changed) for node in nodes_with_target(cfg)}
    below = tuple(f"{node}." for node in built)
    unknown = {key for key in set(leaves(changed)) - set(leaves(plain)) if not key.startswith(below)}
    assert unknown <= {group for group in GROUP_NAMES if plain.get(group) is None}  # a group of which none was chosen
    for node in nodes_with_target(changed):
        inside = OmegaConf.select(changed, node)
        arguments = {key for key in inside if not key.startswith("_")}
        parameters = inspect.signature(get_object(inside._target_)).parameters
        takes_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
        assert takes_any or arguments <= set(parameters), node


# What each arm changes of the baseline, and nothing besides.
ARMS = {
    "baseline": set(),
    "eps_linear": {"diffusion"},
    "min_snr": {"diffusion.weighting"},
    "minilm": {"text_encoder"},
    "minilm_unfrozen": {"text_encoder"},
    "more_dropout": {"training.ldm.condition_dropout"},
    "no_dropout": {"training.ldm.condition_dropout"},
    "uniform_levels": {"diffusion.noise_levels"},
    "v_zsnr": {"diffusion"},
}


def differing(one: DictConfig, other: DictConfig) -> set[str]:
    """Keys of values, not of groups of them, that the two do not share."""
    keys = {*leaves(one), *leaves(other)}
    values = {key: (OmegaConf.select(one, key), OmegaConf.select(other, key)) for key in keys}
    return {key for key, (a, b) in values.items() if a != b and not any(isinstance(x, DictConfig) for x in (a, b))}


@pytest.mark.parametrize("arm", [file.split("/")[1] for file in GROUPS if file.startswith("arm/")])
def test_an_arm_changes_what_it_is_named_after_and_brings_no_unknown_key(arm):
    plain, changed = composed("train"), composed("train", f"arm={arm}")
    moved = {key for key in differing(plain, changed) if key != "arm"}
    assert all(any(key == place or key.startswith(f"{place}.") for place in ARMS[arm]) for key in moved), moved
    assert all(any(key == place or key.startswith(f"{place}.") for key in moved) for place in ARMS[arm])
    for node in nodes_with_target(changed):  # a mistyped argument would be a further key here
        inside = OmegaConf.select(changed, node)
        parameters = inspect.signature(get_object(inside._target_)).parameters
        takes_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
        assert takes_any or {key for key in inside if not key.startswith("_")} <= set(parameters), node
    targets_of_both = {node for cfg in (plain, changed) for node in nodes_with_target(cfg)}
    built = tuple(f"{node}." for node in targets_of_both)
    assert not {key for key in set(leaves(changed)) - set(leaves(plain)) if not key.startswith(built)}


@pytest.mark.parametrize("file", [file for file in GROUPS if file.startswith("sweep/")])
def test_a_sweep_names_options_that_exist(file):
    params = OmegaConf.load(CONF / f"{file}.yaml").hydra.sweeper.params
    assert {"arm"} <= set(params)
    for key, values in params.items():
        for value in str(values).split(","):
            assert key == "seed" or f"{key}/{value}" in GROUPS, f"{key}={value}"


@pytest.mark.parametrize("file", [file for file in GROUPS if file.startswith("suite/")])
def test_a_suite_gives_its_run_and_page_arguments_that_they_take(file):
    suite = composed("benchmark", f"suite={file.split('/')[1]}").suite
    for part in (suite.run, suite.page):
        parameters = inspect.signature(get_object(part._target_)).parameters
        given = {key for key in part if not key.startswith("_")}
        assert given <= set(parameters), file
        needed = {name for name, each in parameters.items() if each.default is each.empty}
        assert part is suite.page or needed <= given, file
    assert set(suite) <= {"name", "run", "page", "headline"}


@pytest.mark.parametrize("file", [file for file in GROUPS if file.startswith(("diffusion/", "sampler/", "training/"))])
def test_every_node_takes_its_arguments(file):
    group, option = file.rsplit("/", 1)
    built = instantiate(OmegaConf.select(composed("train", f"{group}={option}"), group.replace("/", ".")))
    if group == "training":
        assert set(built) == {"vae", "ldm", "classifier", "distill", "upscaler"}
        for recipe in built.values():
            assert recipe["optimizer"]([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] > 0


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_opens_with_its_goal_its_minutes_and_its_command(experiment):
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    head = "\n".join(line for line in text.splitlines()[:16] if line.startswith("#"))
    for word in ("Goal", "Expected", "minutes", "python train.py"):
        assert word in head


UNFINGERPRINTED = ("suite/", "logger/", "hydra/")  # groups whose targets no fingerprint, run name or bundle holds


@pytest.mark.parametrize("file", [file for file in GROUPS if not file.startswith(UNFINGERPRINTED)])
def test_every_part_has_a_short_name_and_no_fingerprint_holds_its_address(file):
    found = list(targets(OmegaConf.load(CONF / f"{file}.yaml")))
    assert [target for target in found if target not in NAMES] == []
    for target in found:
        assert get_object((PARTS | NAMED)[NAMES[target]]) is get_object(target)


@pytest.mark.parametrize("option", ["deck", "medium", "slides", "small", "tiny"])
def test_denoisers_build(option):
    cfg = composed("train", f"denoiser={option}")
    assert instantiate(cfg.denoiser, latent_channels=8, context_width=32) is not None


def test_a_folder_is_no_option_of_a_group():
    """Hydra reads KEY=VALUE as a choice wherever conf/ has a folder of that name, so these names must stay free."""
    assert not {"bundle", "vae_bundle", "classifier", "teacher", "prepared", "guidance", "split"} & {
        path.name for path in CONF.iterdir()
    }
    assert (
        composed("evaluate", "classifier=/some/folder", "features=classifier").features.classifier.bundle
        == "/some/folder"
    )


def test_several_extractors_keep_the_order_of_choice():
    names = [file.split("/")[1] for file in GROUPS if file.startswith("features/")]
    for chosen in (names, names[::-1]):
        assert list(composed("evaluate", f"features=[{','.join(chosen)}]").features) == chosen
    assert list(composed("evaluate").features) == ["efficientnet_lite0"]
    assert list(composed("evaluate", "features=classifier").features) == ["classifier"]
    assert composed("evaluate", "features.efficientnet_lite0.weights=x").features.efficientnet_lite0.weights == "x"


def test_a_mistyped_key_gets_the_nearest():
    assert nearest("Could not override 'trainer.precison'.") == "'trainer.precision'"
    assert nearest("Could not override 'zzz'.") is None
    assert sentence(ValueError("one\n\n  two")) == "one"
    known = sentence(ValueError("In 'common': Could not find 'logger/x'"))
    assert known == "In 'common': Could not find 'logger/x'; there are csv, tensorboard, wandb."


def test_the_command_python_and_the_page_sample_alike_by_default():
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose("sample")
    python = {name: given.default for name, given in inspect.signature(TextToCXR.__call__).parameters.items()}
    sampler = get_object(cfg.sampler.step._target_)
    assert (python["sampler"], python["steps"]) == (None, None)  # the bundle's; and where that states none
    assert Sampling.of_bundle({}).settings() == sampling_of(cfg).settings() == Sampling.preset(SAMPLER).settings()
    assert (sampler.__name__, cfg.sampler.steps) == (SAMPLER, STEPS)
    assert (Request.sampler, Request.steps) == (sampler.__name__, cfg.sampler.steps)
    # each takes the bundle's guidance, and that of a bundle which states none is the plain model's
    assert {python["guidance"], Request.guidance, *cfg.guidance.values()} == {None}
    assert guidance_of(cfg, Guidance(1.5, (0.2, 0.8), 0.3)) == Guidance(1.5, (0.2, 0.8), 0.3)
    cfg.guidance.scale = 3.0  # what is stated goes before the bundle's, each value by itself
    assert guidance_of(cfg, Guidance(1.5, (0.2, 0.8), 0.3)) == Guidance(3.0, (0.2, 0.8), 0.3)
    assert Guidance.of_bundle({}) == Guidance(1.0, (0.0, 1.0), 0.0)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_states_a_guidance_only_where_its_page_was_measured_with_it(experiment):
    """A value there goes before the one that a curve chose, so that what was never measured has no place in it."""
    stated = {key: value for key, value in composed("sample", f"experiment={experiment}").guidance.items() if value}
    measured = {"ablation": 2.0, "ablation_nih": 2.0}
    assert stated == ({"scale": measured[experiment]} if experiment in measured else {})


def test_the_split_is_test_unless_the_numbers_choose_something():
    assert with_split(composed("evaluate")).split == "test"
    for chooses in ("metrics=guidance", "metrics=full", "compare=[a,b]"):
        assert with_split(composed("evaluate", chooses)).split == "val"
        assert with_split(composed("evaluate", chooses, "split=test")).split == "test"
    assert with_split(composed("evaluate", "split=val")).split == "val"
    for option in ("baseline", "min_snr"):
        assert with_split(composed("train", f"arm={option}", "evaluate=true")).split == "val"
    for wrong in ("train", "all", "1"):
        with pytest.raises(UserError, match=f"split={wrong} cannot be measured; split=val and split=test can"):
            with_split(composed("evaluate", f"split={wrong}"))


@pytest.mark.parametrize("command", ["train", "evaluate", "sample", "prepare", "export", "benchmark", "card", "quiz"])
def test_help_shows_keys_and_groups_that_are_there(command):
    """Those that the command uses, its own keys first; each group with all that can be chosen."""
    text = OmegaConf.load(CONF / f"{command}.yaml").hydra.help.template
    keys, _, _ = text.split("Keys (KEY=VALUE):\n")[1].partition("Everything that can be set")
    keys, _, groups = keys.partition("Groups (GROUP=NAME):\n")
    known = set(leaves(composed(command)))
    for key in re.findall(r"([\w.]+)=", keys):
        assert key in known, key
    for group, names in re.findall(r"^ *(\w+): (.*)$", groups, re.MULTILINE):
        assert names.split() == sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml")), group
