"""The real images of an evaluation: a collection, the split that is measured, and which of its images are taken."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.splits import Split
from cxr_ldm.evaluation.splits import WORDS
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.blocks import channels_last

POOL = 3  # real images for the floor's splits, as a multiple of n


@dataclass(frozen=True)
class Collection:
    """Real images, and what of them an evaluation measures.

    Attributes:
        prepared: all of them.
        split: the one that is measured.
        seed: of every choice of rows.
        batch_size: images that pass through a network at once.
    """

    prepared: Prepared
    split: Split
    seed: int = 0
    batch_size: int = 64

    @property
    def word(self) -> str:
        """The measured split in a sentence."""
        return WORDS[self.split]

    @property
    def rows(self) -> np.ndarray:
        """All rows of the measured split."""
        return self.prepared.rows(self.split)

    def chosen(self, n: int, split: Split | None = None) -> np.ndarray:
        """`n` rows of a split in a random order that depends on the seed alone; all where there are fewer.

        Args:
            split: None is the one that is measured.
        """
        return np.random.default_rng(self.seed).permutation(self.prepared.rows(split or self.split))[:n]

    def opened(self) -> np.ndarray:
        """All rows, those of the test split only where it is measured."""
        rows = np.arange(len(self.prepared))
        return rows if self.split == "test" else np.setdiff1d(rows, self.prepared.rows("test"))

    def unseen(self) -> np.ndarray:
        """Rows that no training on the collection saw, the measured ones last; of the test split as `opened`."""
        return self.rows if self.split == "val" else np.concatenate([self.prepared.rows("val"), self.rows])

    def pool(self, n: int) -> np.ndarray:
        """Rows of the real images from which the splits of floors at `n` are drawn."""
        return np.random.default_rng(self.seed + 1).permutation(self.opened())[: POOL * n]

    def batches(self, rows: np.ndarray) -> Iterator[Tensor]:
        """Pixels of `rows` in parts, `[B,1,H,W]`."""
        return (self.prepared.pixels(part) for part in np.array_split(rows, -(-len(rows) // self.batch_size)))


@torch.inference_mode()
def reconstructions(autoencoder: Autoencoder, data: Collection, rows: np.ndarray, device: torch.device) -> Tensor:
    """The images of `rows` through a VAE, from the posterior's mean, clamped to [-1, 1], `[N,1,H,W]`."""
    autoencoder, parts = channels_last(autoencoder).to(device), []
    for pixels in tqdm(data.prepared.pixels(rows).split(data.batch_size), desc="reconstructing", unit="batch"):
        pixels = pixels.to(device, memory_format=torch.channels_last)
        mean, _ = autoencoder.encode(pixels).chunk(2, dim=1)
        parts.append(autoencoder.decode(mean).clamp(-1.0, 1.0).cpu())
    return torch.cat(parts)
