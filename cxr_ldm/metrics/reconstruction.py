"""SSIM and PSNR of reconstructions, image by image, through torchmetrics, with intervals over patients."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric

DATA_RANGE = 2.0  # pixels are in [-1, 1]
SIGMA = 1.5  # of SSIM's Gaussian window, 11 pixels wide (Wang et al. 2004)
BORDER = 5  # pixels whose window reaches over the edge
BOOTSTRAP = 1000


def ssim(reconstructed: Tensor, original: Tensor) -> Tensor:
    """Structural similarity of each pair, [N] (Wang et al. 2004, eq. 13; Gaussian window, population moments).

    Only windows that lie wholly inside the image count, as Wang et al. and scikit-image have it; torchmetrics' own mean
    adds the border of windows that reach over the edge into a reflection, which moves it by up to 0.02 at 48 pixels.
    In float32, which is within 5e-5 of float64 and ten times as fast.

    Args:
        reconstructed: pixels [N, 1, H, W] in [-1, 1], at least 11 pixels a side.
        original: the same shape and range.

    Raises:
        UserError: the shapes differ, or the images are smaller than the window.

    >>> x = torch.linspace(-1, 1, 256).view(1, 1, 16, 16)
    >>> round(ssim(x, x).item(), 4), round(ssim(x / 2, x).item(), 4)
    (1.0, 0.6573)
    """
    _check(reconstructed, original)
    if min(original.shape[2:]) < 2 * BORDER + 1:
        raise UserError(f"SSIM: images of {tuple(original.shape[2:])} pixels are smaller than its window of 11.")
    _, local = structural_similarity_index_measure(
        reconstructed.float(), original.float(), sigma=SIGMA, data_range=DATA_RANGE, return_full_image=True
    )
    return local[..., BORDER:-BORDER, BORDER:-BORDER].double().mean(dim=(1, 2, 3))


def psnr(reconstructed: Tensor, original: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair in dB, float64 [N]: 10 log10(4 / MSE); infinite for identical pairs.

    >>> round(psnr(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.2)).item(), 4)
    20.0
    """
    _check(reconstructed, original)
    values = peak_signal_noise_ratio(
        reconstructed.double(), original.double(), data_range=DATA_RANGE, dim=(1, 2, 3), reduction="none"
    )
    return torch.atleast_1d(values)


def reconstruction_metrics(
    reconstructed: Tensor, original: Tensor, patients: Sequence[str], seed: int = 0
) -> dict[str, Metric]:
    """`ssim` and `psnr`: means over images with bootstrap intervals over patients.

    Raises:
        UserError: shapes differ, or an image is reproduced exactly, so that its PSNR is infinite.
    """
    values = {"ssim": ssim(reconstructed, original), "psnr": psnr(reconstructed, original)}
    return metrics_of_values(values, patients, seed)


def metrics_of_values(values: dict[str, Tensor], patients: Sequence[str], seed: int = 0) -> dict[str, Metric]:
    """The same from values that were computed batch by batch; keys `ssim` and `psnr`, each [N].

    Raises:
        UserError: a value is not finite.
    """
    for name, each in values.items():
        if not torch.isfinite(each).all():
            count = int((~torch.isfinite(each)).sum())
            raise UserError(
                f"{name} of {count} images is not finite: their reconstruction equals the original or is NaN."
            )
    settings: dict[str, object] = {
        "data_range": DATA_RANGE,
        "average": "mean over images",
        "interval": f"bootstrap over patients, {BOOTSTRAP} draws, seed {seed}",
    }
    extra: dict[str, dict[str, object]] = {
        "ssim": {"window": "Gaussian 11×11", "sigma": SIGMA, "border": "left out"},
        "psnr": {"unit": "dB"},
    }
    return {
        name: mean_over_patients(each, patients, settings | extra.get(name, {}), seed=seed)
        for name, each in values.items()
    }


def mean_over_patients(
    values: Tensor, patients: Sequence[str], settings: dict[str, object], *, higher: bool = True, seed: int = 0
) -> Metric:
    """Mean over images with the percentile bootstrap over patients (Efron 1979): a patient is drawn with all images."""
    if len(values) != len(patients):
        raise ValueError(f"{len(values)} values and {len(patients)} patients do not match")
    array = values.double().numpy()
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    counts = np.bincount(owner)
    if len(counts) < 2:
        reason = "all images are of one patient"
        return Metric(float(array.mean()), len(array), higher, settings=settings, reason=reason)
    sums = np.bincount(owner, weights=array)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(BOOTSTRAP, len(counts)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    settings = {**settings, "patients": len(counts)}
    return Metric(float(array.mean()), len(array), higher, ci95=(float(low), float(high)), settings=settings)


def _check(reconstructed: Tensor, original: Tensor) -> None:
    if reconstructed.shape != original.shape or original.ndim != 4:
        raise UserError(
            f"reconstructions {tuple(reconstructed.shape)} and originals {tuple(original.shape)} do not match as "
            "[N, 1, H, W]."
        )
