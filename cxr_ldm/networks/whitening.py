"""Whitened latents: each channel shifted and scaled to mean 0 and variance 1, by statistics that were measured."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Whitening(nn.Module):
    """(z - mean) / std for each channel, and back.

    Args:
        mean: measured mean of each latent channel, C numbers.
        std: measured standard deviation of each latent channel, C numbers above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def whiten(self, latents: Tensor) -> Tensor:
        """Latents `[N,C,h,w]` as the VAE gives them -> whitened `[N,C,h,w]`."""
        return (latents - self.mean) / self.std

    def restore(self, whitened: Tensor) -> Tensor:
        """Whitened latents `[N,C,h,w]` -> latents as the VAE's decoder takes them."""
        return whitened * self.std + self.mean


def measure(moments: Tensor) -> tuple[list[float], list[float]]:
    """Mean and std of each channel of z ~ N(mean, var), over images, positions and the posterior's own noise.

    Var z = Var(mean) + E(var), the law of total variance: exact, where sampling would only estimate.

    Shapes: moments `[N,2C,h,w]` -> two lists of C numbers.
    """
    mean, log_variance = moments.double().chunk(2, dim=1)
    channel_mean = mean.mean(dim=(0, 2, 3))
    variance = mean.var(dim=(0, 2, 3), unbiased=False) + log_variance.exp().mean(dim=(0, 2, 3))
    return channel_mean.tolist(), variance.sqrt().tolist()
