"""Fréchet distance of two sets of features (FID), in float64 and exact for covariances of any rank.

torchmetrics takes square roots of the eigenvalues of a product of covariances, and with fewer images than features
those that should be 0 are rounding noise, so it is off by about 1e-5 and negative on identical sets. The tests and
suite=distances hold this against it.
"""

import torch
from torch import Tensor

from cxr_ldm.metrics.distances.vectors import checked

# Below this share of the largest eigenvalue, the square root of a computed eigenvalue has lost too many digits.
SMALLEST_EIGENVALUE = 1e-10


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Fréchet distance of the two Gaussians fitted to features [N, D] and [M, D] (Heusel et al. 2017, eq. 6).

    |μ1 - μ2|² + Tr(Σ1) + Tr(Σ2) - 2 Tr((Σ1 Σ2)^½), with unbiased covariances, as in torchmetrics.

    Raises:
        UserError: a set has fewer than 2 images, the widths differ, or a value is not finite.

    >>> x = torch.tensor([[-1.0], [1.0]])
    >>> round(frechet_distance(x, 2 * x + 3), 6)  # means 0 and 3, standard deviations √2 and 2√2
    11.0
    """
    first, second = checked(real, generated)
    mean = (first.mean(0) - second.mean(0)).square().sum()
    one, two = _centred(first), _centred(second)
    covariance = one.square().sum() + two.square().sum() - 2 * _trace_of_root(one, two)
    return max(float(mean + covariance), 0.0)


def covariance_settings(n: int, width: int) -> dict[str, object]:
    """How the covariances come about, for metrics.json; it says so where `n` images are too few for them.

    >>> covariance_settings(200, 1280)["rank"]
    'covariance of rank 199 < 1280; read KID first'
    """
    settings: dict[str, object] = {"covariance": "unbiased, float64"}
    return settings if n > width else settings | {"rank": f"covariance of rank {n - 1} < {width}; read KID first"}


def _centred(features: Tensor) -> Tensor:
    """A with AᵀA the covariance."""
    return (features - features.mean(0)) / (len(features) - 1) ** 0.5


def _trace_of_root(one: Tensor, two: Tensor) -> Tensor:
    """Tr((Σ1 Σ2)^½) for Σ1 = A1ᵀA1 and Σ2 = A2ᵀA2.

    With Σ1 = LLᵀ it is the sum of the roots of the eigenvalues of LᵀΣ2L: two products and one symmetric eigenvalue
    problem. Rounding of an eigenvalue is a share of the largest one, so this is taken only where none is small; in all
    other cases the trace is the sum of the singular values of A1A2ᵀ, which squares nothing.
    """
    width = one.shape[1]
    if min(len(one), len(two)) > width:
        lower, failed = torch.linalg.cholesky_ex(one.T @ one)
        if not failed:
            values = torch.linalg.eigvalsh(lower.T @ (two.T @ two) @ lower)
            if values[0] > SMALLEST_EIGENVALUE * values[-1]:
                return values.sqrt().sum()
    one, two = (torch.linalg.qr(each, mode="r").R if len(each) > width else each for each in (one, two))
    return torch.linalg.svdvals(one @ two.T).sum()
