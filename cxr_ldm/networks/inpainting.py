"""The UNet of a model that learnt to fill holes: it is told what is known, and where."""

from typing import Any

import torch
from torch import Tensor, nn

from cxr_ldm.networks.blocks import zeroed
from cxr_ldm.networks.unet import UNet


class InpaintUNet(UNet):
    """A UNet that also sees the latents outside a hole, and the hole (Rombach et al. 2022, section 4.5).

    Both come in through a convolution of their own beside `conv_in`, which begins at zero: with the weights of a UNet
    it is that UNet until it is trained. All is hole where none is given, and what it draws is then of the text alone.

    Args:
        latent_channels: as of `UNet`.
        arguments: of `UNet`.
    """

    def __init__(self, *, latent_channels: int, **arguments: Any) -> None:
        super().__init__(latent_channels=latent_channels, **arguments)
        width = self.conv_in.out_channels
        self.conv_known = zeroed(nn.Conv2d(latent_channels + 1, width, 3, padding=1))

    def forward(
        self,
        x: Tensor,
        label: Tensor,
        context: Tensor,
        mask: Tensor,
        known: Tensor | None = None,
        hole: Tensor | None = None,
    ) -> Tensor:
        """As `UNet`, with known white latents `[N,C,h,w]`, of which those in the hole `[N,1,h,w]` are not looked at."""
        self.check(x)
        if known is None or hole is None:
            known, hole = torch.zeros_like(x), torch.ones_like(x[:, :1])
        embedding = self.time_embedding(label)
        seen = self.conv_known(torch.cat([known * (1.0 - hole), hole], dim=1))
        return self.levels(self.conv_in(x) + seen, embedding, embedding, context, mask)


class Filling(nn.Module):
    """An `InpaintUNet` for one batch of known latents, called as any denoiser's network.

    Args:
        network: of the model, shared.
        known: white latents `[N,C,h,w]`.
        hole: `[N,1,h,w]`.
    """

    def __init__(self, network: nn.Module, known: Tensor, hole: Tensor) -> None:
        super().__init__()
        self.network, self.known, self.hole = network, known, hole

    def forward(self, x: Tensor, label: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """As `UNet`; guidance asks for a batch of twice N, the same images behind each other."""
        times = len(x) // len(self.known)
        known, hole = (each.to(x.dtype).repeat(times, 1, 1, 1) for each in (self.known, self.hole))
        return self.network(x, label, context, mask, known, hole)  # type: ignore[no-any-return]
