"""What is measured of a VAE."""

from pathlib import Path

import numpy as np
import torch

from cxr_ldm.bundle import Bundle
from cxr_ldm.data.prepared.splits import evenly
from cxr_ldm.evaluation import cost
from cxr_ldm.evaluation.collection import reconstructions
from cxr_ldm.evaluation.distance import Distances
from cxr_ldm.evaluation.measures import Measures
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics.images import reconstruction
from cxr_ldm.metrics.results import Metric


@torch.inference_mode()
def measure_vae(
    bundle: Bundle, distances: Distances, measures: Measures, device: torch.device, folder: Path
) -> dict[str, Metric]:
    """SSIM, MS-SSIM, PSNR, MAE of the whole split, and distances of its reconstructions from other real images.

    These others are training images: the same two groups of patients that the floor's splits are like, so that what
    stands above the floor is the autoencoder's share of a generated image's distance.
    """
    data, sets, prepared, rows = distances.data, distances.sets, distances.data.prepared, distances.data.rows
    original = prepared.pixels(rows)
    reconstructed = reconstructions(bundle.parts["autoencoder"], data, rows, device)
    metrics = reconstruction.reconstruction_metrics(reconstructed, original, prepared.patients(rows), data.seed)
    metrics |= measures.own(reconstructed, original)
    chosen = data.chosen(measures.n)
    here = np.searchsorted(rows, chosen)
    others = data.chosen(len(chosen), "train")
    compared = {
        "compared": f"reconstructions of {data.word} images",
        "with": "training images, which are of other patients",
    }
    made = {name: sets.of_images(name, reconstructed[here]) for name in sets.extractors}
    metrics |= distances.of(others, made, chosen, compared)
    metrics |= distances.looks(chosen, reconstructed[here])
    first = evenly(np.arange(len(rows)), 8)
    captions = ["radiograph"] * len(first) + ["reconstruction"] * len(first)
    save_grid(folder / "grid.png", torch.cat([original[first], reconstructed[first]]), len(first), captions)
    worst = reconstruction.worst(reconstruction.ssim(reconstructed, original), len(first))
    save_grid(folder / "worst.png", torch.cat([original[worst], reconstructed[worst]]), len(first), captions)
    return metrics | cost.parameters(bundle.parts)
