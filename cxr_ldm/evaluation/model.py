"""A diffusion model under evaluation: its bundle, and images drawn from it by one way of sampling."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.bundle import Bundle
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.generated import Generated, People, generated
from cxr_ldm.pipeline import TextToCXR


@dataclass(frozen=True)
class Model:
    """A bundle of kind "ldm", its pipeline, and how it is sampled.

    Attributes:
        sampling: with the guidance known.
        cache: folder in which every image is kept.
        packages: besides ours, whose classes the bundle builds.
    """

    bundle: Bundle
    pipeline: TextToCXR
    sampling: Sampling
    cache: Path
    packages: Sequence[str] = ()

    @classmethod
    def of(
        cls, bundle: Bundle, sampling: Sampling, cache: Path, device: torch.device, packages: Sequence[str] = ()
    ) -> "Model":
        """The model of a bundle on a device, with its own guidance where `sampling` states none."""
        pipeline = TextToCXR.of(bundle, str(device))
        return cls(bundle, pipeline, sampling.of_model(pipeline.guidance), cache, packages)

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        return self.pipeline.device

    @cached_property
    def generated(self) -> Generated:
        """Its images, each sampled once."""
        return generated(self.pipeline, self.sampling, self.cache)

    def draw(self, prompts: Sequence[str], seeds: Sequence[int], people: People = None) -> Tensor:
        """Images `[N,1,H,W]` of prompts and seeds."""
        return self.generated(prompts, seeds, people)

    def of_texts(self, data: Collection, rows: np.ndarray) -> Tensor:
        """Images `[N,1,H,W]` of the texts of `rows`, with a seed for each place."""
        return self.draw(data.prepared.texts(rows), self.seeds(data, len(rows)), self.people(data, rows))

    def seconds(self, data: Collection, rows: np.ndarray) -> float | None:
        """What it took to sample what `of_texts` gave, now or in an earlier run; None where that is not known."""
        return self.generated.seconds(data.prepared.texts(rows), self.seeds(data, len(rows)), self.people(data, rows))

    def seeds(self, data: Collection, count: int) -> list[int]:
        """Of the first `count` places of an evaluation."""
        return [data.seed + index for index in range(count)]

    def people(self, data: Collection, rows: np.ndarray) -> People:
        """View, age and sex of `rows`, for a model that takes them."""
        return data.prepared.people(rows) if self.pipeline.conditioner.takes_patients else None

    def sampled(self, steps: int, scale: float) -> "Model":
        """The same model with another number of steps and another scale of guidance."""
        rule = self.sampling.rule.with_stated(scale=scale)
        return replace(self, sampling=replace(self.sampling, steps=steps, guidance=rule))

    def facts(self) -> dict[str, object]:
        """How it is sampled, for records and pictures, as JSON values."""
        drawn = {"steps": self.sampling.steps, "sampler": self.sampling.settings()}
        return drawn | self.pipeline.compiled_by()

    def stated(self) -> dict[str, object]:
        """The same with its guidance, and the bundle that it is of."""
        return {"bundle_sha256": self.bundle.sha256, **self.facts(), "guidance": self.sampling.rule.settings()}
