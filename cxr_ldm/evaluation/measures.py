"""What an evaluation measures: its numbers of images and its options, see conf/metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from cxr_ldm.evaluation.fitting import Recipe
from cxr_ldm.metrics.results import Metric

Aim = float | tuple[float, float]
Further = Callable[[Tensor, Tensor], Metric]


@dataclass(frozen=True)
class Curves:
    """Points of the curves over guidance and steps.

    Attributes:
        n: images at each point.
        alone: nothing else is measured.
    """

    n: int
    guidance: Sequence[float]
    steps: Sequence[int]
    alone: bool = False


@dataclass(frozen=True)
class Fitted:
    """The plain classifier that an evaluation trains several of.

    Attributes:
        recipe: how one is fitted.
        min_images: that show a class, and that do not; a class with fewer is left out.
        settings: all of it as JSON values, by which a cache knows what it made.
    """

    recipe: Recipe
    min_images: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Measures:
    """What is measured of a model.

    Attributes:
        n: generated images, against as many real ones.
        kid_n: generated images for KID where they are more.
        adherence_n: samples for each prompt, where the data knows the truth of its images.
        floor_repeats: patient-disjoint splits of real against real, for the floor.
        neighbours: of precision, recall, density and coverage.
        extraction_prompts, extraction_samples: texts of training images that are asked for, and seeds for each.
        cost_steps: numbers of steps at which one image is timed; none: neither time nor memory is measured.
        curves: None measures none.
        own_prompts_n: samples for each finding and side of prompts in our own words.
        references: what a copier, the autoencoder, shuffled prompts and the empty prompt get by the same measures.
        synthetic, synthetic_n: classifiers trained on generated and on real images, and on how many.
        folds: of a judge of all real images.
        fitted: the classifier of `synthetic` and `folds`.
        targets: aims of the headline's figures.
        further: measures of one's own by name: images and the real ones beside them, `[N,1,H,W]` both, to a metric.
    """

    n: int
    adherence_n: int
    floor_repeats: int
    neighbours: int
    extraction_prompts: int
    extraction_samples: int
    cost_steps: Sequence[int]
    fitted: Fitted
    kid_n: int | None = None
    curves: Curves | None = None
    own_prompts_n: int | None = None
    references: bool = False
    synthetic: bool = False
    synthetic_n: int | None = None
    folds: int | None = None
    targets: Mapping[str, Aim] | None = None
    further: Mapping[str, Further] = field(default_factory=dict)

    def own(self, images: Tensor, real: Tensor) -> dict[str, Metric]:
        """What the measures of one's own say."""
        return {name: measure(images, real) for name, measure in self.further.items()}
