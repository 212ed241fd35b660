"""Finding classifier for small collections: a linear map of features that ImageNet taught (Alain & Bengio 2016)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.features.efficientnet import EfficientNetLite0, normalised


class Probe(nn.Module):
    """Frozen EfficientNet-Lite0 and one linear layer that trains; used as `cxr_ldm.networks.classifier.Classifier` is.

    Some thousand radiographs do not teach a network from scratch what a large heart looks like. The last maps are
    averaged over the left and the right half of the picture apart, so that a side can be told.

    Args:
        classes: their names.
        weights: as of `EfficientNetLite0`; of a bundle those that it holds take their place.

    Raises:
        UserError: there is no class, or the weights are not there.
    """

    def __init__(self, classes: Sequence[str], weights: str | None = None) -> None:
        super().__init__()
        if not classes:
            raise UserError("a classifier needs at least one class.")
        self.classes = list(classes)
        self.extractor = EfficientNetLite0(weights)
        self.num_features = 2 * EfficientNetLite0.num_features
        self.head = nn.Linear(self.num_features, len(self.classes))
        nn.init.zeros_(self.head.weight)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels `[N,1,H,W]` in [-1, 1] -> logits `[N,C]`."""
        return self.head(self.features(pixels))

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """Features `[N,D]`: those of the image's left half, then of its right, with mean 0 and variance 1 over D."""
        with torch.autocast(pixels.device.type, enabled=False):
            columns = self.extractor.maps(normalised(pixels)).mean(dim=2)
            half = (columns.shape[-1] + 1) // 2  # the column in the middle belongs to both
            halves = torch.cat([columns[..., :half].mean(dim=-1), columns[..., -half:].mean(dim=-1)], dim=1)
            return functional.layer_norm(halves, (self.num_features,))

    @torch.no_grad()
    def probabilities(self, pixels: Tensor) -> Tensor:
        """Probability of each class, float32 `[N,C]`."""
        return self(pixels).float().sigmoid()
