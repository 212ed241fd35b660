"""Finding classifier: a small residual network from a radiograph to a logit for each class."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm.errors import UserError
from cxr_ldm.networks.blocks import Downsample, ResidualBlock
from cxr_ldm.ranges import Count


class Classifier(nn.Module):
    """Residual network (He et al. 2016) with GroupNorm, so that an image's result does not depend on its batch.

    Pixels `[N,1,H,W]` in [-1, 1] -> logits `[N,C]`, one for each class on its own: an image shows several findings.
    The last map is averaged over the left and the right half of the picture apart, since a mean over all of it could
    not tell which side a finding is on.

    Args:
        classes: their names.
        channels: feature channels of each level; the stem and each level but the last halve the resolution.
        blocks: residual blocks a level.
        groups: groups of every GroupNorm; must divide each of `channels`.

    Raises:
        UserError: there is no class, `groups` does not divide `channels`, or an image is smaller than the levels need.
    """

    def __init__(self, classes: Sequence[str], channels: Sequence[Count], blocks: Count, groups: Count) -> None:
        super().__init__()
        if any(width % groups for width in channels):
            raise UserError(f"classifier_network.network.groups={groups} must divide every entry of channels.")
        if not classes:
            raise UserError("a classifier needs at least one class.")
        self.classes = list(classes)
        self.factor = 2 ** len(channels)
        self.num_features = 2 * channels[-1]
        self.conv_in = nn.Conv2d(1, channels[0], 5, stride=2, padding=2)
        layers: list[nn.Module] = []
        before = channels[0]
        for level, width in enumerate(channels):
            for block in range(blocks):
                layers.append(ResidualBlock(width if block else before, width, groups))
            if level < len(channels) - 1:
                layers.append(Downsample(width, padding=1))
            before = width
        self.layers = nn.ModuleList(layers)
        self.norm_out = nn.GroupNorm(groups, channels[-1], eps=1e-6)
        self.head = nn.Linear(self.num_features, len(self.classes))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))

    def features(self, pixels: Tensor) -> Tensor:
        """Pooled features `[N,D]` of pixels `[N,1,H,W]` in [-1, 1]: those of the image's left half, then its right."""
        if min(pixels.shape[-2:]) < 2 * self.factor:
            size = tuple(pixels.shape[-2:])
            raise UserError(f"images of {size} pixels are too small for this classifier; data.size={2 * self.factor}.")
        x = self.conv_in(pixels)
        for layer in self.layers:
            x = layer(x)
        x = functional.silu(self.norm_out(x)).mean(dim=2)
        half = x.shape[-1] // 2
        return torch.cat([x[..., :half].mean(dim=-1), x[..., half:].mean(dim=-1)], dim=1)

    @torch.no_grad()
    def probabilities(self, pixels: Tensor) -> Tensor:
        """Probability of each class, float32 `[N,C]`."""
        return self(pixels).float().sigmoid()
