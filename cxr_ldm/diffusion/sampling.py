"""How images are drawn from a model, as one object: what the command line, the page, Python and a measurement state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import yaml
from torch import Tensor

from cxr_ldm.assets import CONF
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.samplers import dpmpp_2m
from cxr_ldm.diffusion.schedules import trailing
from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Precision
from cxr_ldm.register import described, named, named_function

SAMPLER, STEPS = "dpmpp_2m", 20  # of conf/sampler, as the commands have them


@dataclass(frozen=True)
class Sampling:
    """All that decides the pixels of an image beside its model, prompt, seed and patient.

    Attributes:
        steps: of the sampler.
        guidance: None takes the model's own, which its bundle states.
        sampler: see `cxr_ldm.diffusion.samplers`.
        times: grid of times as a function of the number of steps and of noise levels.
        precision: number format of the denoiser and the decoder; the sampler's own arithmetic is in float32 always.

    Raises:
        UserError: steps below 1.

    >>> Sampling(10, Guidance(1.5)).facts()
    {'steps': 10, 'guidance': 1.5, 'sampler': 'dpmpp_2m', 'times': 'trailing'}
    """

    steps: int = STEPS
    guidance: Guidance | None = None
    sampler: Callable[..., Tensor] = dpmpp_2m
    times: Callable[..., Tensor] = trailing
    precision: Precision = "32"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"sampler.steps={self.steps} must be 1 or more.")

    @property
    def rule(self) -> Guidance:
        """The guidance, which must be known: see `of_model`."""
        assert self.guidance is not None
        return self.guidance

    def of_model(self, own: Guidance) -> "Sampling":
        """With a model's own guidance where nothing else is stated."""
        return self if self.guidance is not None else replace(self, guidance=own)

    def settings(self) -> dict[str, Any]:
        """Sampler, grid and steps for a record, as JSON values; the guidance has its own entry there.

        The precision stands there where it is not 32.
        """
        return {
            "steps": self.steps,
            "step": described(self.sampler),
            "times": described(self.times),
            **self.narrowness(),
        }

    def narrowness(self) -> dict[str, Any]:
        """The precision, where it is not 32."""
        return {} if self.precision == "32" else {"precision": self.precision}

    def said(self) -> str:
        """In words.

        >>> Sampling().said()
        '20 steps of dpmpp_2m'
        """
        return f"{self.steps} steps of {described(self.sampler)['part']}"

    def facts(self) -> dict[str, Any]:
        """For provenance: all of it, without what is empty or plain."""
        step, times = described(self.sampler), described(self.times)
        named = {"sampler": step.pop("part"), "sampler_options": step, "times": times.pop("part")}
        named["times_options"] = times
        stated = {name: value for name, value in named.items() if value != {}}
        return {"steps": self.steps, **self.rule.facts(), **stated, **self.narrowness()}

    @classmethod
    def of_settings(cls, stated: Mapping[str, Any]) -> "Sampling":
        """What `stated` gave, or a file of conf/sampler with its parts by name.

        >>> stated = {"steps": 5, "step": {"part": "ddim", "eta": 1.0}, "times": {"part": "trailing"}}
        >>> Sampling.of_settings(stated).settings() == stated
        True
        """
        step, times = (
            partial(named_function(each["part"]), **{key: value for key, value in each.items() if key != "part"})
            for each in (stated["step"], stated["times"])
        )
        return cls(stated["steps"], None, step, times, stated.get("precision", "32"))

    @classmethod
    def preset(cls, sampler: str, steps: int | None = None) -> "Sampling":
        """A file of conf/sampler by its name, with its own steps where none are given.

        Raises:
            UserError: there is none of this name.

        >>> Sampling.preset("heun").steps
        15
        """
        files = {path.stem: path for path in sorted((CONF / "sampler").glob("*.yaml"))}
        if sampler not in files:
            raise UserError(f"sampler={sampler} does not exist; there are {', '.join(files)}.")
        stated = named(yaml.safe_load(files[sampler].read_text(encoding="utf-8")))
        return cls.of_settings(stated if steps is None else stated | {"steps": steps})

    @classmethod
    def of_bundle(cls, info: Mapping[str, Any]) -> "Sampling":
        """What the `info` of a bundle says that its model is sampled with; the default where it says nothing.

        >>> Sampling.of_bundle({"sampling": {"sampler": "flow_map", "steps": 4}}).facts()
        {'steps': 4, 'guidance': 1.0, 'sampler': 'flow_map', 'times': 'trailing'}
        """
        own = cls.preset(**info["sampling"]) if "sampling" in info else cls()
        return replace(own, guidance=Guidance.of_bundle(info))

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> "Sampling":
        """What a provenance says; raises KeyError where it does not say all."""
        rule = Guidance(
            facts["guidance"],
            tuple(facts.get("guidance_interval", Guidance.interval)),
            facts.get("guidance_rescale", Guidance.rescale),
            facts.get("guidance_negative", Guidance.negative),
        )
        return cls(
            facts["steps"],
            rule,
            partial(named_function(facts["sampler"]), **facts.get("sampler_options", {})),
            partial(named_function(facts["times"]), **facts.get("times_options", {})),
            facts.get("precision", "32"),
        )
