"""SSIM, MS-SSIM, PSNR and MAE of each reconstruction, through torchmetrics, and their means over patients."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import BOOTSTRAP, mean_over_patients

DATA_RANGE = 2.0  # pixels are in [-1, 1]
SIGMA = 1.5  # of SSIM's Gaussian window, 11 pixels wide (Wang et al. 2004)
BATCH, PIXELS = 256, 1 << 24  # most pairs, and most pixels of them, at once
WINDOW, BORDER = 11, 5  # pixels; within the border the window reaches over the edge
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM's scales, finest first (Wang et al. 2003, section 3.2)


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
    if min(original.shape[2:]) < WINDOW:
        raise UserError(f"SSIM: images of {tuple(original.shape[2:])} pixels are smaller than its window of {WINDOW}.")
    _, local = structural_similarity_index_measure(
        reconstructed.float(), original.float(), sigma=SIGMA, data_range=DATA_RANGE, return_full_image=True
    )
    return local[..., BORDER:-BORDER, BORDER:-BORDER].double().mean(dim=(1, 2, 3))


def ms_ssim_weights(side: int) -> tuple[float, ...]:
    """Weights of MS-SSIM's scales that fit an image of `side` pixels: the window must fit the coarsest.

    From 176 pixels on they are the five of Wang et al. 2003; below, the finest of them with their sum brought to 1.

    >>> [len(ms_ssim_weights(side)) for side in (176, 128, 64, 32, 11)]
    [5, 4, 3, 2, 1]
    >>> [round(weight, 4) for weight in ms_ssim_weights(32)]
    [0.1356, 0.8644]
    """
    fitting = [weight for scale, weight in enumerate(WEIGHTS) if side // 2**scale >= WINDOW]
    return tuple(weight / sum(fitting) for weight in fitting)


def ms_ssim(reconstructed: Tensor, original: Tensor) -> Tensor:
    """Multi-scale structural similarity of each pair, float64 [N] (Wang et al. 2003, eq. 7): Π cs_j^w_j · ssim^w_M.

    The contrast and structure of each scale, each twice as coarse as the one before, and SSIM at the coarsest; windows
    and border are those of `ssim`, the scales those of `ms_ssim_weights`. A negative mean counts as 0, since it has no
    real root (torchmetrics' "relu").

    Args:
        reconstructed: pixels [N, 1, H, W] in [-1, 1], at least 22 pixels a side, so that there are two scales.
        original: the same shape and range.

    Raises:
        UserError: the shapes differ, or the images are too small.

    >>> x = torch.linspace(-1, 1, 1024).view(1, 1, 32, 32)
    >>> round(ms_ssim(x, x).item(), 4), round(ms_ssim(x / 2, x).item(), 4)
    (1.0, 0.6803)
    """
    _check(reconstructed, original)
    weights = ms_ssim_weights(min(original.shape[2:]))
    if len(weights) < 2:
        raise UserError(f"MS-SSIM: images of {tuple(original.shape[2:])} pixels hold no two scales of {WINDOW} pixels.")
    one, two = reconstructed.float(), original.float()
    product = torch.ones(len(one), dtype=torch.float64)
    for weight in weights[:-1]:
        product *= _contrast_and_structure(one, two).clamp_min(0) ** weight
        one, two = (F.avg_pool2d(each, 2) for each in (one, two))
    return product * ssim(one, two).clamp_min(0) ** weights[-1]


def _contrast_and_structure(one: Tensor, two: Tensor) -> Tensor:
    """SSIM without its luminance term, of windows inside the image, float64 [N]."""
    _, values = structural_similarity_index_measure(
        one, two, sigma=SIGMA, data_range=DATA_RANGE, reduction="none", return_contrast_sensitivity=True
    )
    return values.double()


def mae(reconstructed: Tensor, original: Tensor) -> Tensor:
    """Mean absolute error of each pair, float64 [N], on the scale of the pixels, whose range is 2.

    >>> round(mae(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), -0.2)).item(), 4)
    0.2
    """
    _check(reconstructed, original)
    return (reconstructed.double() - original.double()).abs().mean(dim=(1, 2, 3))


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
    """`ssim`, `ms_ssim` where the images are large enough, `psnr` and `mae`: means with intervals over patients.

    Raises:
        UserError: shapes differ, or an image is reproduced exactly, so that its PSNR is infinite.
    """
    return metrics_of_values(reconstruction_values(reconstructed, original), patients, min(original.shape[2:]), seed)


def reconstruction_values(reconstructed: Tensor, original: Tensor) -> dict[str, Tensor]:
    """The same for each image, float64 [N] by name."""
    _check(reconstructed, original)
    measures = {"ssim": ssim, "ms_ssim": ms_ssim, "psnr": psnr, "mae": mae}
    if len(ms_ssim_weights(min(original.shape[2:]))) < 2:
        del measures["ms_ssim"]
    count = max(1, min(BATCH, PIXELS // (original.shape[-2] * original.shape[-1])))
    parts = list(zip(reconstructed.split(count), original.split(count), strict=True))
    return {name: torch.cat([measure(*pair) for pair in parts]) for name, measure in measures.items()}


def worst(values: Tensor, count: int, higher: bool = True) -> Tensor:
    """Indices of the `count` worst of values [N], worst first; the report shows these images.

    Args:
        higher: whether a larger value is better.

    >>> worst(torch.tensor([0.9, 0.2, 0.5]), 2).tolist()
    [1, 2]
    """
    return values.argsort(descending=not higher, stable=True)[:count]


def metrics_of_values(
    values: dict[str, Tensor], patients: Sequence[str], side: int, seed: int = 0
) -> dict[str, Metric]:
    """The same from values that were computed batch by batch, as `reconstruction_values` names them, each [N].

    Args:
        side: of the images in pixels, which decides the scales of `ms_ssim`.

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
    window = {"window": f"Gaussian {WINDOW}×{WINDOW}", "sigma": SIGMA, "border": "left out"}
    extra: dict[str, dict[str, object]] = {
        "ssim": {**window},
        "ms_ssim": {**window, "weights": [round(weight, 4) for weight in ms_ssim_weights(side)]},
        "psnr": {"unit": "dB"},
        "mae": {"unit": "pixel values"},
    }
    return {
        name: mean_over_patients(each, patients, settings | extra[name], higher=name != "mae", seed=seed)
        for name, each in values.items()
    }


def _check(reconstructed: Tensor, original: Tensor) -> None:
    if reconstructed.shape != original.shape or original.ndim != 4:
        raise UserError(
            f"reconstructions {tuple(reconstructed.shape)} and originals {tuple(original.shape)} do not match as "
            "[N, 1, H, W]."
        )
