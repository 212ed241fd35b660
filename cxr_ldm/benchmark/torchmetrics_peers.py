"""FID and KID by torchmetrics, as witnesses of ours: for tests and suite=distances."""

import warnings

import torch
from torch import Tensor, nn

# The package itself exports these only where torch-fidelity is installed.
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances.vectors import checked


class Precomputed(nn.Module):
    """Stands where torchmetrics expects an extractor, and hands on features that exist already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def torchmetrics_frechet_distance(real: Tensor, generated: Tensor) -> float:
    """FID by torchmetrics' FrechetInceptionDistance; agrees to about 1e-4, see `frechet`."""
    first, second = checked(real, generated)
    metric = FrechetInceptionDistance(feature=Precomputed(first.shape[1]))
    metric.update(first, real=True)
    metric.update(second, real=False)
    return float(metric.compute())


def torchmetrics_kernel_distance(
    real: Tensor, generated: Tensor, subset_size: int = 500, subsets: int = 50, seed: int = 0
) -> tuple[float, float]:
    """KID by torchmetrics' KernelInceptionDistance.

    Returns:
        Mean and standard deviation over random subsets of `subset_size`; with one full subset the deviation is 0.

    Raises:
        UserError: a set is smaller than `subset_size`.
    """
    first, second = checked(real, generated)
    if min(len(first), len(second)) < subset_size:
        raise UserError(f"KID: {len(first)} real and {len(second)} generated images are fewer than {subset_size=}.")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message=".*will save all extracted features.*")
        torch.manual_seed(seed)  # torchmetrics draws its subsets from torch's global generator
        metric = KernelInceptionDistance(Precomputed(first.shape[1]), subsets=subsets, subset_size=subset_size)
        metric.update(first, real=True)
        metric.update(second, real=False)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)
