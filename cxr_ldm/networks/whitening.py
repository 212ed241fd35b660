"""White latents: the live channels, each shifted and scaled to mean 0 and variance 1 by measured statistics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cxr_ldm.errors import UserError


class Whitening(nn.Module):
    """(z - mean) / std of each live channel, and back.

    A channel that the posterior leaves to noise carries nothing: it is not diffused, and its mean stands for it when
    latents are restored. Scaled to variance 1 it would take its share of the loss for noise that the decoder ignores.

    Args:
        mean: measured mean of each latent channel, C numbers.
        std: measured standard deviation of each latent channel, C numbers above 0.
        live: the channels that are diffused, in ascending order; None for all.
        threshold: the share of the best channel's signal from which a channel counted as live (see `live_channels`);
            kept for the record alone.

    Raises:
        UserError: `live` names no channel, or one that is not there.
    """

    mean: Tensor
    std: Tensor
    live: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        live: Sequence[int] | None = None,
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        chosen = list(range(len(mean))) if live is None else list(live)
        if not chosen or sorted(set(chosen) & set(range(len(mean)))) != chosen:
            raise UserError(
                f"live channels {chosen} are not some of the {len(mean)} latent channels in ascending order."
            )
        self.arguments = {"mean": list(mean), "std": list(std), "live": chosen, "threshold": threshold}
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])
        self.register_buffer("live", torch.tensor(chosen), persistent=False)  # stands in the arguments

    def check_loaded(self, weights: Path) -> None:
        """Raises UserError, naming the file, where a standard deviation that was loaded is not above 0."""
        if not (self.std > 0).all():
            raise UserError(f"{weights} holds a standard deviation that is not above 0; copy the bundle again.")

    @property
    def channels(self) -> int:
        """Number of live channels, those of white latents."""
        return len(self.live)

    def whiten(self, latents: Tensor) -> Tensor:
        """Latents `[N,C,h,w]` as the VAE gives them -> white `[N,L,h,w]`, the L live channels alone."""
        return ((latents - self.mean) / self.std)[:, self.live]

    def restore(self, white: Tensor) -> Tensor:
        """White latents `[N,L,h,w]` -> latents `[N,C,h,w]` as the decoder takes them; other channels at their mean."""
        shape = (len(white), len(self.mean), *white.shape[2:])
        return self.mean.expand(shape).index_copy(1, self.live, white * self.std[self.live] + self.mean[self.live])


@dataclass(frozen=True)
class Moments:
    """Statistics of latent channels over images and positions, float64 [C] each.

    Attributes:
        mean: of the posterior's means.
        between: variance of the posterior's means.
        within: mean of the posterior's variances.
    """

    mean: Tensor
    between: Tensor
    within: Tensor

    @classmethod
    def of(cls, parts: Iterable[Tensor]) -> "Moments":
        """From moments `[N,2C,h,w]`, a part of a collection at a time, joined by Chan, Golub & LeVeque (1979), eq. 2.1.

        >>> whole = torch.arange(16.0).reshape(4, 2, 1, 2)
        >>> [round(float(Moments.of(part).between), 6) for part in ([whole], whole.split(3))]
        [20.25, 20.25]
        """
        count, axes = 0, (0, 2, 3)
        mean = between = within = torch.zeros(())
        for part in parts:
            means, log_variances = part.double().chunk(2, dim=1)
            share = len(part) / (count + len(part))
            beside = means.mean(axes) - mean
            between = (
                between * (1 - share) + means.var(axes, unbiased=False) * share + beside**2 * (share * (1 - share))
            )
            mean = mean + beside * share
            within = within + (log_variances.exp().mean(axes) - within) * share
            count += len(part)
        return cls(mean, between, within)

    @property
    def std(self) -> Tensor:
        """Of z ~ N(mean, var), the posterior's own noise included.

        Var z = Var(mean) + E(var), the law of total variance: exact, where sampling would only estimate.
        """
        return (self.between + self.within).sqrt()

    @property
    def signal(self) -> list[float]:
        """Share of each channel's variance that is signal: Var(mean) / (Var(mean) + E(var)), C numbers in [0, 1].

        0 is a channel whose posterior is the prior (collapsed), 1 one without noise.

        >>> Moments.of([torch.zeros(1, 2, 2, 2)]).signal
        [0.0]
        """
        return (self.between / (self.between + self.within)).tolist()  # type: ignore[no-any-return]


def live_channels(shares: Sequence[float], threshold: float) -> list[int]:
    """The channels whose share of signal is at least `threshold` of the best channel's.

    In a trained VAE the best has a share near 1; in one that has hardly begun no channel has, and the rule still holds.

    >>> live_channels([0.99, 0.1, 0.6], 0.25), live_channels([0.02, 0.001], 0.25)
    ([0, 2], [0])
    """
    return [channel for channel, share in enumerate(shares) if share >= threshold * max(shares)]
