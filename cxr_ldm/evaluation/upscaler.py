"""What is measured of an upscaler: real pictures are averaged down, enlarged, and held beside what they were."""

import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cxr_ldm.bundle import Bundle
from cxr_ldm.data.prepared.splits import evenly
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.evaluation import cost
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.distance import Distances
from cxr_ldm.evaluation.measures import Measures
from cxr_ldm.imaging.contrast import sharpness
from cxr_ldm.imaging.enlarging import denoiser_of, enlarged, factor_of, where_a_lung_is, without_model
from cxr_ldm.imaging.grids import save_grid, to_uint8
from cxr_ldm.metrics.distances.floors import kernel_metric
from cxr_ldm.metrics.images import reconstruction
from cxr_ldm.metrics.results import Metric, hardware
from cxr_ldm.metrics.statistics import mean_over_patients
from cxr_ldm.networks.upscaler import mean_of_squares

TILE, SEAMS = 32, 16  # pixels a side of what is seen at once where seams are looked for, and in how many pictures
DETAIL = 224  # pixels a side of the squares whose features are compared: an extractor shrinks no square of this size
# behind the name of a measure: of the picture that is drawn, of the mean of what may be drawn, of cubic interpolation
DRAWN, MEAN, CUBIC = "", "_of_mean", "_interpolated"


@torch.inference_mode()
def measure_upscaler(
    bundle: Bundle, distances: Distances, measures: Measures, sampling: Sampling, device: torch.device, folder: Path
) -> dict[str, Metric]:
    """Closeness to the original, to the small picture, and to real pictures, each beside cubic interpolation.

    Distances of features are from other patients' pictures: of whole ones, which an extractor shrinks, and of squares
    in which a pixel stays a pixel.

    Args:
        sampling: of the detail.
    """
    data, prepared, rows = distances.data, distances.data.prepared, distances.data.rows
    denoiser = denoiser_of(bundle, sampling.precision).to(device)
    factor = factor_of(denoiser)
    original = prepared.pixels(rows)
    small = mean_of_squares(original, factor)
    pictures = {
        DRAWN: made(denoiser, small, rows, sampling),
        MEAN: made(denoiser, small, rows, replace(sampling, steps=1)),
        CUBIC: without_model(small, factor),
    }
    metrics: dict[str, Metric] = {}
    for end, each in pictures.items():
        metrics |= {name + end: metric for name, metric in fidelity(data, each, original, small).items()}
        if end != MEAN:
            found = feature_distances(distances, rows, each, measures.n)
            metrics |= {name + end: metric for name, metric in found.items()}
    metrics["fine_sharpness_of_real"] = fine_sharpness(data, original)
    few = rows[:SEAMS]
    tiled = made(denoiser, small[:SEAMS], few, sampling, TILE)
    metrics |= edges("seam", tiled, original[:SEAMS], TILE * factor, prepared.patients(few))
    metrics |= edges("square", pictures[DRAWN], original, factor, prepared.patients(rows))
    metrics |= seconds(denoiser, sampling, device) | cost.parameters(bundle.parts)
    show(folder, [original, pictures[CUBIC], pictures[DRAWN]])
    return metrics


def made(denoiser: Denoiser, small: Tensor, rows: np.ndarray, sampling: Sampling, tile: int = 128) -> Tensor:
    """Small pictures enlarged one by one, each with the noise of its row."""
    bar = tqdm(rows, desc=f"enlarging in {sampling.steps} steps", unit="image")
    device = next(denoiser.parameters()).device
    parts = [
        enlarged(denoiser, part.to(device), [int(row)], sampling, tile).cpu()
        for part, row in zip(small.split(1), bar, strict=True)
    ]
    return torch.cat(parts)


def fidelity(data: Collection, pictures: Tensor, original: Tensor, small: Tensor) -> dict[str, Metric]:
    """What is kept of the original and of the small picture, and how sharp the pictures are."""
    patients = data.prepared.patients(data.rows)
    metrics = reconstruction.reconstruction_metrics(pictures, original, patients, data.seed)
    written = torch.from_numpy(to_uint8(pictures)).float() / 127.5 - 1
    again = reconstruction.psnr(mean_of_squares(written, original.shape[-1] // small.shape[-1]), small)
    stated: dict[str, object] = {"unit": "dB", "levels": 256, "from": f"{small.shape[-1]} pixels"}
    metrics["consistency"] = mean_over_patients(again, patients, stated)
    return metrics | {"fine_sharpness": fine_sharpness(data, pictures)}


def fine_sharpness(data: Collection, pictures: Tensor) -> Metric:
    """Variance of the Laplacian at full size."""
    values = torch.cat([sharpness(part, part.shape[-1]) for part in pictures.split(data.batch_size)])
    stated: dict[str, object] = {
        "unit": "squared 8-bit grey levels",
        "resolution": pictures.shape[-1],
        "direction": "neither: near the real pictures is better",
    }
    return mean_over_patients(values, data.prepared.patients(data.rows), stated)


def feature_distances(distances: Distances, rows: np.ndarray, pictures: Tensor, n: int) -> dict[str, Metric]:
    """KID of whole pictures and of squares of DETAIL pixels, by each extractor, from training pictures."""
    data, sets = distances.data, distances.sets
    chosen = data.chosen(n)
    others = data.chosen(len(chosen), "train")
    people = data.prepared.patients(others), data.prepared.patients(chosen)
    here = pictures[torch.from_numpy(np.searchsorted(rows, chosen))]
    compared = {"with": "training pictures, which are of other patients"}
    metrics = {}
    for name in sets.extractors:
        stated = sets.settings(name) | compared
        metrics[f"kid_{name}"] = kernel_metric(
            sets.of_rows(name, others, "real"), sets.of_images(name, here), people, stated
        )
        if data.prepared.size >= DETAIL:
            real = sets.of_images(name, squares(data.prepared.pixels(others), others))
            own = sets.of_images(name, squares(here, chosen))
            metrics[f"detail_kid_{name}"] = kernel_metric(real, own, people, stated | {"squares": f"{DETAIL} pixels"})
    return metrics


def squares(pictures: Tensor, rows: np.ndarray) -> Tensor:
    """A square of DETAIL pixels of each picture, at a place that its row decides."""
    found = []
    for picture, row in zip(pictures, rows, strict=True):
        top, left = np.random.default_rng(int(row)).integers(picture.shape[-1] - DETAIL + 1, size=2)
        found.append(picture[:, top : top + DETAIL, left : left + DETAIL])
    return torch.stack(found)


def steps_at(pictures: Tensor, every: int) -> tuple[Tensor, Tensor]:
    """Mean step of grey, of each picture, from one pixel to the next across every `every`-th border, and across others.

    >>> at, off = steps_at(torch.tensor([[[[0.0, 0.0, 1.0, 1.0]] * 4]]).reshape(1, 1, 4, 4), 2)
    >>> at.item(), off.item()  # columns alone have a step
    (0.5, 0.0)
    """
    sums = []
    for picture in (pictures, pictures.transpose(-1, -2)):
        step = (picture[..., 1:] - picture[..., :-1]).abs().double().mean(dim=(1, 2))
        border = (torch.arange(1, step.shape[-1] + 1) % every) == 0
        sums.append((step[:, border].mean(dim=1), step[:, ~border].mean(dim=1)))
    return torch.stack([at for at, _ in sums]).mean(0), torch.stack([off for _, off in sums]).mean(0)


def edges(name: str, made: Tensor, original: Tensor, every: int, patients: list[str]) -> dict[str, Metric]:
    """Is a grid seen? Steps of grey across every `every`-th border over those elsewhere, and of real pictures."""
    metrics = {}
    for end, pictures in (("", made), ("_of_real", original)):
        if pictures.shape[-1] > every:
            at, off = steps_at(pictures, every)
            stated: dict[str, object] = {"every": f"{every} pixels", "direction": "neither: 1 shows no grid"}
            metrics[f"{name}_step{end}"] = mean_over_patients(at / off, patients, stated)
    return metrics


def seconds(denoiser: Denoiser, sampling: Sampling, device: torch.device) -> dict[str, Metric]:
    """Time for one picture of 256 pixels, the median of several after one that is not counted."""
    small, times = torch.zeros(1, 1, 256, 256, device=device), []
    for _ in range(cost.REPEATS + 1):
        start = time.perf_counter()
        enlarged(denoiser, small, [0], sampling).cpu()
        times.append(time.perf_counter() - start)
    stated = {"from": "256 pixels", "to": f"{256 * factor_of(denoiser)} pixels", "steps": sampling.steps}
    stated |= {**sampling.narrowness(), **hardware()}
    value = statistics.median(times[1:])
    return {"upscaling_seconds": Metric(value, cost.REPEATS, False, settings=stated, reason=cost.ON_ONE_MACHINE)}


def show(folder: Path, columns: list[Tensor]) -> None:
    """grid.png: a part of some pictures, as they were, interpolated and enlarged, a row each."""
    picked = evenly(np.arange(len(columns[0])), 4)
    cells = [where_a_lung_is(pictures[picked], 256) for pictures in columns]
    words = ["radiograph", "interpolated", "enlarged"] * len(picked)
    save_grid(folder / "grid.png", torch.stack(cells, dim=1).flatten(0, 1), len(columns), words)
