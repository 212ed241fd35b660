"""Chains of enhancements under a name, from conf/enhance/*.yaml; the same for Python, sample.py and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cxr_ldm.assets import CONF
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.enhance import STEPS, check


@dataclass(frozen=True)
class Preset:
    """Attributes: name of the file; label and description for people; steps in order, `{"step": NAME, parameters}`."""

    name: str
    label: str
    description: str
    steps: list[dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """The picture after a step: its label, and float32 `[H,W]` in [0, 1]."""

    label: str
    image: np.ndarray


def presets() -> dict[str, Preset]:
    """All presets by name, in alphabetical order; raises UserError as `read_preset` does."""
    return {path.stem: read_preset(path) for path in sorted((CONF / "enhance").glob("*.yaml"))}


def read_preset(path: Path) -> Preset:
    """One file of conf/enhance.

    Raises:
        UserError: it is no YAML, its keys are others than a preset's, its name is not the file's, or a step does not
            fit; each with the file's path.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML ({' '.join(str(error).split())}).") from None
    keys = [field.name for field in fields(Preset)]
    if not isinstance(content, dict) or sorted(content) != sorted(keys):
        raise UserError(f"{path} must hold {', '.join(keys)} and nothing else.")
    if content["name"] != path.stem:
        raise UserError(f"{path}: name {content['name']!r} must be that of the file.")
    try:
        check_steps(content["steps"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Preset(**content)


def check_steps(steps: Any) -> None:
    """Raises UserError where steps are no list, or a step, a parameter or its value does not fit."""
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise UserError(f"enhance.steps={steps} must be a list such as [{{step: clahe, clip_limit: 2.0}}].")
    for entry in steps:
        name, values = named(entry)
        check(name, **{parameter.name: parameter.default for parameter in STEPS[name].parameters} | values)


def named(entry: Any) -> tuple[str, dict[str, Any]]:
    """Name and parameters of a step; raises UserError where one of them does not exist."""
    values = dict(entry) if isinstance(entry, Mapping) else {"step": entry}
    name = values.pop("step", None)
    if not isinstance(name, str) or name not in STEPS:
        raise UserError(f"enhance.steps: step {name!r} is none of {', '.join(STEPS)}.")
    known = [parameter.name for parameter in STEPS[name].parameters]
    wrong = sorted(map(str, set(values) - set(known)))
    if wrong:
        raise UserError(f"enhance.steps: {name} has no parameter {wrong[0]!r}; it has {', '.join(known)}.")
    return name, values


def stated(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same steps with every parameter, defaults included, as provenance keeps them."""
    check_steps(steps)
    chain = []
    for name, values in map(named, steps):
        defaults = {parameter.name: parameter.default for parameter in STEPS[name].parameters}
        chain.append({"step": name, **defaults, **values})
    return chain


def apply(image: np.ndarray, steps: Sequence[Mapping[str, Any]]) -> list[Stage]:
    """The picture after each step, in their order; the last is the result, and no step gives none.

    Args:
        image: `[H,W]` in [0, 1]; it is not changed.
        steps: each with its name under "step" and its parameters; what is left out has its default.

    Raises:
        UserError: a step or a parameter does not exist, or a value is out of range.

    >>> [stage.image.tolist() for stage in apply(np.array([[0.25, 0.5]]), [{"step": "window", "width": 0.5}])]
    [[[0.0, 0.5]]]
    """
    check_steps(steps)
    stages: list[Stage] = []
    for name, values in map(named, steps):
        image = STEPS[name](image, **values)
        stages.append(Stage(STEPS[name].label, image))
    return stages
