"""Measures as torchmetrics classes: the maths is that of the functional core, states are gathered over processes.

The distances are fed images in batches, of which features alone are kept. Each takes any extractor of
`cxr_ldm.metrics.features`, or None where features are fed in place of images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances.coverage import coverage
from cxr_ldm.metrics.distances.frechet import frechet_distance
from cxr_ldm.metrics.distances.kernel import kernel_distance
from cxr_ldm.metrics.faithfulness.auroc import auroc


class TwoSets(Metric):
    """Holds the features of real and of generated images.

    Args:
        extractor: maps pixels [N, 1, H, W] in [-1, 1] to features [N, D]; None where `update` gets features.
        kwargs: of torchmetrics.Metric.
    """

    is_differentiable = False
    full_state_update = False
    real_features: list[Tensor]
    generated_features: list[Tensor]

    def __init__(self, extractor: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.extractor = extractor
        for side in ("real", "generated"):
            self.add_state(f"{side}_features", [], dist_reduce_fx="cat")

    @torch.no_grad()
    def update(self, images: Tensor, real: bool) -> None:
        """Add images [N, 1, H, W] in [-1, 1], or their features [N, D], to the real or the generated ones."""
        features = images if self.extractor is None else self.extractor(images)
        (self.real_features if real else self.generated_features).append(features.double())

    def sets(self) -> tuple[Tensor, Tensor]:
        """Features of real and of generated images on the CPU, float64.

        Raises:
            UserError: there are none of either.
        """
        sides = {"real": self.real_features, "generated": self.generated_features}
        for name, parts in sides.items():
            if len(parts) == 0:
                raise UserError(f"distances: there are no {name} images; update(images, real={name == 'real'}) first.")
        real, generated = (dim_zero_cat(parts).cpu() for parts in sides.values())
        return real, generated


class FrechetDistance(TwoSets):
    """FID (Heusel et al. 2017, eq. 6); see `cxr_ldm.metrics.distances.frechet`.

    >>> metric, x = FrechetDistance(), torch.tensor([[-1.0], [1.0]])
    >>> metric.update(x, real=True)
    >>> metric.update(2 * x + 3, real=False)
    >>> round(metric.compute().item(), 6)
    11.0
    """

    higher_is_better = False

    def compute(self) -> Tensor:
        return torch.tensor(frechet_distance(*self.sets()), dtype=torch.float64)


class KernelDistance(TwoSets):
    """KID (Bińkowski et al. 2018), unbiased, over all pairs; see `cxr_ldm.metrics.distances.kernel`.

    >>> metric, x = KernelDistance(), torch.tensor([[0.0], [1.0]])
    >>> metric.update(x, real=True)
    >>> metric.update(x + 1, real=False)
    >>> metric.compute().item()
    9.5
    """

    higher_is_better = False

    def compute(self) -> Tensor:
        return torch.tensor(kernel_distance(*self.sets()), dtype=torch.float64)


class PrecisionRecallDensityCoverage(TwoSets):
    """Precision, recall, density and coverage by name; see `cxr_ldm.metrics.distances.coverage`.

    Args:
        neighbours: k, which decides how far an image reaches.

    >>> metric, x = PrecisionRecallDensityCoverage(neighbours=1), torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    >>> metric.update(x, real=True)
    >>> metric.update(torch.tensor([[0.5], [0.6], [0.7], [50.0]]), real=False)
    >>> metric.compute()["density"].item()
    1.5
    """

    higher_is_better = True

    def __init__(self, extractor: nn.Module | None = None, neighbours: int = 5, **kwargs: Any) -> None:
        super().__init__(extractor, **kwargs)
        self.neighbours = neighbours

    def compute(self) -> dict[str, Tensor]:
        found = vars(coverage(*self.sets(), self.neighbours))
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


class FindingAUROC(Metric):
    """AUROC of each class over batches of probabilities and targets; pairs of one source only.

    `compute` gives a dict from class to value, without the classes of which no pair is known.

    >>> metric = FindingAUROC(["edema", "nodule"])
    >>> scores, targets = torch.tensor([[0.2, 0.5], [0.7, 0.1]]), torch.tensor([[0.0, torch.nan], [1.0, 1.0]])
    >>> metric.update(scores, targets, torch.zeros(2))
    >>> {name: value.item() for name, value in metric.compute().items()}
    {'edema': 1.0}
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    scores: list[Tensor]
    targets: list[Tensor]
    sources: list[Tensor]

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = list(classes)
        for name in ("scores", "targets", "sources"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, targets: Tensor, sources: Tensor) -> None:
        """Add a batch.

        Args:
            scores: float [B,C], any increasing function of the probability.
            targets: float [B,C]: 1 shown, 0 not shown, NaN unknown.
            sources: int [B].
        """
        self.scores.append(scores.float())
        self.targets.append(targets.float())
        self.sources.append(sources)

    def compute(self) -> dict[str, Tensor]:
        scores, targets, sources = (
            dim_zero_cat(part).cpu().numpy() for part in (self.scores, self.targets, self.sources)
        )
        values = {}
        for place, name in enumerate(self.classes):
            known = ~np.isnan(targets[:, place])
            value = auroc(scores[known, place], targets[known, place] == 1, sources[known])
            if not np.isnan(value):
                values[name] = torch.tensor(float(value))
        return values
