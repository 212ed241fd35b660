"""Cached moments and texts as batches for the diffusion stage."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cxr_ldm.data.batches.images import StreamDataModule, ordered_loader, train_loader
from cxr_ldm.data.prepared.folder import Prepared


class TextTable:
    """Every distinct text once, as the frozen part of the encoder left it; number 0 is the empty text.

    Attributes:
        cached: ids int64 `[U,L]` or states float `[U,L,D]`, those below the first layer that ever trains.
        mask: bool `[U,L]`.
        number: int64 `[N,K]`, the K wordings of each image's text; the first is the text itself.
        whole: whether batches keep the whole window, L, in place of the length of their longest text.
    """

    whole = False

    def __init__(self, cached: np.ndarray, mask: np.ndarray, number: np.ndarray) -> None:
        self.cached, self.mask, self.number = cached, mask, number

    def batch(self, rows: np.ndarray, wordings: np.ndarray | int = 0) -> dict[str, Tensor]:
        """The distinct texts of these images, cut to the longest of them, and which belongs to which.

        Args:
            wordings: of each image, int64 [B] from 0 to K - 1.
        """
        distinct, text = np.unique(np.append(self.number[rows, wordings], 0), return_inverse=True)
        mask = self.mask[distinct]
        longest = mask.shape[1] if self.whole else int(mask.sum(axis=1).max())
        return {
            "cached": torch.from_numpy(self.cached[distinct, :longest].astype(self.dtype, copy=False)),
            "mask": torch.from_numpy(mask[:, :longest]),
            "text": torch.from_numpy(text[:-1]),
        }

    @property
    def dtype(self) -> type:
        """int64 for ids, float32 for states (kept as float16 on disk)."""
        return np.int64 if self.cached.ndim == 2 else np.float32


class LatentDataModule(StreamDataModule):
    """Batches of `moments [B,2C,h,w]`, `row [B]`, and the distinct texts that they need (see `TextTable.batch`).

    Args:
        moments: float16 `[N,2C,h,w]` of all prepared images, usually a memory map.
        texts: table of all texts.
        images_per_epoch: images between two checkpoints.
        attributes: float32 `[N,K]` of the patients of all prepared images, see `Conditioner.patients`.
        num_workers: processes that fetch.
    """

    def __init__(
        self,
        prepared: Prepared,
        moments: np.ndarray,
        texts: TextTable,
        attributes: Tensor,
        batch_size: int,
        images_per_epoch: int,
        seed: int,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.prepared, self.moments, self.texts, self.attributes = prepared, moments, texts, attributes
        self.batch_size, self.images_per_epoch, self.seed = batch_size, images_per_epoch, seed
        self.num_workers = num_workers

    def fetch(self, rows: np.ndarray, positions: np.ndarray | None = None) -> dict[str, Tensor]:
        """One batch; in training each image's place in the stream draws one of the wordings of its text."""
        batch = {"moments": torch.from_numpy(self.moments[rows]), "row": torch.from_numpy(rows)}
        batch["attributes"] = self.attributes[torch.from_numpy(rows)]
        return batch | self.texts.batch(rows, 0 if positions is None else self._wordings(positions))

    def _wordings(self, positions: np.ndarray) -> np.ndarray:
        count = self.texts.number.shape[1]
        if count == 1:
            return np.zeros(len(positions), dtype=np.int64)
        drawn = [np.random.default_rng([self.seed, 1, int(position)]).integers(count) for position in positions]
        return np.array(drawn, dtype=np.int64)

    def train_dataloader(self) -> DataLoader:
        rows = self.prepared.draws()
        return train_loader(
            self.fetch,
            rows,
            weights=self.prepared.draw_weights(rows),
            batch_size=self.batch_size,
            images_per_epoch=self.images_per_epoch,
            seed=self.seed,
            first_epoch=self.first_epoch,
            first_batch=self.first_batch,
            part=self.part,
            num_workers=self.num_workers,
        )

    def val_dataloader(self) -> DataLoader:
        return ordered_loader(self.fetch, self.prepared.rows("val"), batch_size=self.batch_size, part=self.part)
