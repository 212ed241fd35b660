"""Cached moments and texts as batches for the diffusion stage."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cxr_ldm.data.datamodule import StreamDataModule, ordered_loader, train_loader
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.stages.cache import TextTable


class LatentDataModule(StreamDataModule):
    """Batches of `moments [B,2C,h,w]`, `row [B]`, and the distinct texts that they need (see `TextTable.batch`).

    Args:
        moments: float16 `[N,2C,h,w]` of all prepared images, usually a memory map.
        texts: table of all texts.
        images_per_epoch: images between two checkpoints.
        attributes: float32 `[N,K]` of all prepared images, where the model is conditioned on them as well.
        num_workers: processes that fetch.
    """

    def __init__(
        self,
        prepared: Prepared,
        moments: np.ndarray,
        texts: TextTable,
        batch_size: int,
        images_per_epoch: int,
        seed: int,
        attributes: Tensor | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.prepared, self.moments, self.texts = prepared, moments, texts
        self.batch_size, self.images_per_epoch, self.seed = batch_size, images_per_epoch, seed
        self.attributes, self.num_workers = attributes, num_workers

    def fetch(self, rows: np.ndarray, positions: np.ndarray | None = None) -> dict[str, Tensor]:
        """One batch; in training each image's place in the stream draws one of the wordings of its text."""
        batch = {"moments": torch.from_numpy(self.moments[rows]), "row": torch.from_numpy(rows)}
        if self.attributes is not None:
            batch["attributes"] = self.attributes[rows]
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
            num_workers=self.num_workers,
        )

    def val_dataloader(self) -> DataLoader:
        return ordered_loader(self.fetch, self.prepared.rows("val"), batch_size=self.batch_size)
