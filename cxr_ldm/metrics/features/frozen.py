"""The frame of every feature extractor beside EfficientNet-Lite0, and our own classifier as one.

Each takes grey pixels `[N,1,H,W]` in [-1, 1], states its own preprocessing, and gives float64 features `[N,D]`.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cxr_ldm.bundle import load_bundle
from cxr_ldm.errors import UserError


class Frozen(nn.Module):
    """A network that never trains, behind its own preprocessing.

    Attributes:
        name: part of the names of metrics.
        num_features: D.
    """

    name: str
    num_features: int

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in evaluation mode: features must not depend on the rest of the batch."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Features, float64 [N, D], of pixels [N, 1, H, W] in [-1, 1]."""
        if pixels.ndim != 4 or pixels.shape[1] != 1 or not pixels.is_floating_point():
            raise ValueError(f"expected floating-point pixels [N, 1, H, W], got {pixels.dtype} {tuple(pixels.shape)}")
        return self.pooled(pixels.float()).double()

    def pooled(self, pixels: Tensor) -> Tensor:
        """Features [N, D] of float32 pixels, preprocessing included."""
        raise NotImplementedError

    def settings(self) -> dict[str, object]:
        """What decides the features, for metrics.json."""
        raise NotImplementedError


class ClassifierFeatures(Frozen):
    """Pooled features of our own finding classifier, of pixels as they are.

    Args:
        bundle: the folder bundle/ of a run of stage=classifier.
        packages: as in `load_bundle`.

    Raises:
        UserError: no bundle is given, or it is none of a classifier.
    """

    name = "classifier"

    def __init__(self, bundle: str | Path | None, packages: Sequence[str] = ()) -> None:
        super().__init__()
        if bundle is None:
            raise UserError(
                "features=classifier needs a trained classifier; `python train.py stage=classifier` with the same "
                "data=… makes one, or name another by classifier=FOLDER."
            )
        loaded = load_bundle(bundle, "classifier", packages)
        self.network, self.sha256, self.size = loaded.parts["classifier"], loaded.sha256, loaded.info["size"]
        self.num_features = self.network.num_features
        self.eval().requires_grad_(False)

    def pooled(self, pixels: Tensor) -> Tensor:
        if tuple(pixels.shape[-2:]) != (self.size, self.size):
            here = tuple(pixels.shape[-2:])
            raise UserError(f"features.classifier.bundle was trained at {self.size} pixels and the images have {here}.")
        return self.network.features(pixels)

    def settings(self) -> dict[str, object]:
        return {"extractor": self.name, "bundle": self.sha256, "input": self.size}
