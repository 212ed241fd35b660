"""A small autoencoder without normalisation whose published weights, TAESD's, can be taken over."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Count

WIDTH, BLOCKS = 64, 3
PUBLISHED = {"taesd": 4, "taesd3": 16}  # latent channels of TAESD for Stable Diffusion 1 and 3
NO_NOISE = -30.0  # log-variance of a posterior that has none


class Block(nn.Module):
    """Three convolutions beside an identity, then a rectifier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    """3 tanh(x / 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return 3.0 * torch.tanh(x / 3.0)


class TinyAutoencoder(nn.Module):
    """TAESD (O. B. Bohan, github.com/madebyollin/taesd) of grey images: 8 times smaller, a posterior without noise.

    Names and order of its layers are the published ones; only the first and the last have one channel of pixels.

    Args:
        latent_channels: C.
    """

    factor, shortcut = 8, None

    def __init__(self, latent_channels: Count) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        down: list[nn.Module] = [nn.Conv2d(1, WIDTH, 3, padding=1), Block(WIDTH)]
        up: list[nn.Module] = [Clamp(), nn.Conv2d(latent_channels, WIDTH, 3, padding=1), nn.ReLU()]
        for _ in range(3):
            down += [nn.Conv2d(WIDTH, WIDTH, 3, 2, 1, bias=False), *(Block(WIDTH) for _ in range(BLOCKS))]
            up += [*(Block(WIDTH) for _ in range(BLOCKS)), nn.Upsample(scale_factor=2)]
            up += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]
        self.encoder = nn.Sequential(*down, nn.Conv2d(WIDTH, latent_channels, 3, padding=1))
        self.decoder = nn.Sequential(*up, Block(WIDTH), nn.Conv2d(WIDTH, 1, 3, padding=1))

    def encoding(self) -> nn.ModuleDict:
        """The parts that make latents; all others make pixels of them."""
        return nn.ModuleDict({"encoder": self.encoder})

    def fit_shortcut(self, pixels: Tensor) -> None:
        """There is none."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels `[N,1,H,W]` in [-1, 1] -> moments (mean, log-variance) `[N,2C,H/8,W/8]`."""
        if pixels.shape[-1] % self.factor or pixels.shape[-2] % self.factor:
            size = tuple(pixels.shape[-2:])
            raise UserError(f"data.size must be a multiple of {self.factor} for this VAE; the images are {size}.")
        mean = self.encoder((pixels + 1.0) / 2.0)
        return torch.cat([mean, torch.full_like(mean, NO_NOISE)], dim=1)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents `[N,C,h,w]` -> pixels `[N,1,8h,8w]`, in [-1, 1] up to the network's error (not clamped)."""
        return self.decoder(latents) * 2.0 - 1.0


def published(folder: Path, name: str) -> TinyAutoencoder:
    """TAESD as published, trained on photographs: given the grey image in three channels, and the mean of its own.

    Args:
        folder: holds NAME_encoder.safetensors and NAME_decoder.safetensors.
        name: a key of PUBLISHED.

    Raises:
        UserError: a file is missing.
    """
    network = TinyAutoencoder(PUBLISHED[name])
    for half in ("encoder", "decoder"):
        path = folder / f"{name}_{half}.safetensors"
        if not path.is_file():
            raise UserError(f"{path} does not exist; name the folder that holds TAESD's weights.")
        weights = {key: value.float() for key, value in load_file(path).items()}
        if half == "encoder":
            weights["0.weight"] = weights["0.weight"].sum(dim=1, keepdim=True)
        else:
            last = str(len(network.decoder) - 1)
            for key in (f"{last}.weight", f"{last}.bias"):
                weights[key] = weights[key].mean(dim=0, keepdim=True)
        getattr(network, half).load_state_dict(weights, strict=True)
    return network.eval()
