"""Which images an evaluation measures: rows of a split, what is generated from their texts, and reconstructions."""

from collections.abc import Iterator

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from cxr_ldm.bundle import Bundle
from cxr_ldm.compose import device_of
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.data.splits import Split
from cxr_ldm.metrics.generated import generated
from cxr_ldm.pipeline import TextToCXR


def chosen_rows(prepared: Prepared, split: Split, n: int, seed: int) -> np.ndarray:
    """`n` rows of a split in a random order that depends on the seed alone; all of them where there are fewer."""
    return np.random.default_rng(seed).permutation(prepared.rows(split))[:n]


def asked_rows(cfg: DictConfig, prepared: Prepared, rows: np.ndarray) -> np.ndarray:
    """Rows whose texts are asked for in all: those measured first, then as many of training images as anything needs.

    So KID over more images and the classifier that is trained on generated images share what is sampled.
    """
    further = (cfg.metrics.kid_n or 0) - len(rows)
    if cfg.metrics.synthetic:
        further = max(further, cfg.metrics.synthetic_n or len(prepared.rows("train")))
    if further <= 0:
        return rows
    return np.concatenate([rows, chosen_rows(prepared, "train", further, cfg.seed)])


def of_texts(cfg: DictConfig, pipeline: TextToCXR, prepared: Prepared, rows: np.ndarray) -> Tensor:
    """Images `[N,1,H,W]` generated from the texts of `rows`, with a seed for each place."""
    people = prepared.people(rows) if pipeline.attributes is not None else None
    return generated(cfg, pipeline)(prepared.texts(rows), [cfg.seed + index for index in range(len(rows))], people)


def batches(pixels: Tensor, size: int, name: str) -> Iterator[Tensor]:
    """Parts of `pixels` `[N,1,H,W]` with a progress bar."""
    yield from tqdm(pixels.split(size), desc=name, unit="batch")


@torch.inference_mode()
def reconstructions(cfg: DictConfig, bundle: Bundle, prepared: Prepared, rows: np.ndarray) -> Tensor:
    """The images of `rows` through a bundle's VAE, from the posterior's mean, clamped to [-1, 1], `[N,1,H,W]`."""
    device = device_of(cfg)
    autoencoder, parts = bundle.parts["autoencoder"].to(device), []
    for pixels in batches(prepared.pixels(rows), cfg.metrics.batch_size, "reconstructing"):
        mean, _ = autoencoder.encode(pixels.to(device)).chunk(2, dim=1)
        parts.append(autoencoder.decode(mean).clamp(-1.0, 1.0).cpu())
    return torch.cat(parts)
