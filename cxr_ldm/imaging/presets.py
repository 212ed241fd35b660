"""Chains of enhancements under a name, from conf/enhance/*.yaml; the same for Python, sample.py and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from cxr_ldm.cli import CONF
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.enhance import STEPS


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
    """All presets by name, in alphabetical order."""
    found = {}
    for path in sorted((CONF / "enhance").glob("*.yaml")):
        content: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        found[path.stem] = Preset(**content)
    return found


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
    stages: list[Stage] = []
    for entry in steps:
        values = dict(entry)
        name = values.pop("step", None)
        if name not in STEPS:
            raise UserError(f"enhance: step {name!r} is none of {', '.join(STEPS)}.")
        known = [parameter.name for parameter in STEPS[name].parameters]
        wrong = sorted(set(values) - set(known))
        if wrong:
            raise UserError(f"enhance: {name} has no parameter {wrong[0]!r}; it has {', '.join(known)}.")
        image = STEPS[name](image, **values)
        stages.append(Stage(STEPS[name].label, image))
    return stages
