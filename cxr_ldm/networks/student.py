"""The UNet of a student, which is told where a step ends and how strongly it is guided."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.networks.blocks import zeroed
from cxr_ldm.networks.unet import TimeEmbedding, UNet

SCALE_LABEL = 100.0  # of a guidance scale among the sinusoids, whose labels of times reach 1000


class StudentUNet(UNet):
    """A UNet whose way down sees the time t of its input, and whose way up the time s of its output.

    So the two times need no further parameters, and with s = t it is the UNet that it was made of (Lee et al. 2025,
    Decoupled MeanFlow, section 4). The guidance scale is embedded beside them (Meng et al. 2023, section 3.1), by an
    embedding that begins at zero.

    Args:
        scales: lowest and highest guidance scale that it learns.
        arguments: of `UNet`.

    Raises:
        UserError: the scales are not two numbers in order, or as `UNet`.
    """

    def __init__(self, *, scales: Sequence[float], **arguments: Any) -> None:
        super().__init__(**arguments)
        if len(scales) != 2 or not 0 <= scales[0] <= scales[1]:
            raise UserError(f"scales={list(scales)} must be two guidance scales [low,high] with 0 <= low <= high.")
        self.learnt_scales = float(scales[0]), float(scales[1])
        width = self.time_embedding.linear_1.in_features
        self.scale_embedding = TimeEmbedding(width, self.time_embedding.linear_2.out_features)
        zeroed(self.scale_embedding.linear_2)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        label: Tensor,
        context: Tensor,
        mask: Tensor,
        end: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """As `UNet`, with the noise label `end [N]` of s, which is `label` where there is none, and the scale `[N]`."""
        scale = torch.full_like(label, self.learnt_scales[0]) if scale is None else scale
        guidance = self.scale_embedding(SCALE_LABEL * scale)
        start = self.time_embedding(label) + guidance
        return self.between(x, start, start if end is None else self.time_embedding(end) + guidance, context, mask)
