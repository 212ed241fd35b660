"""Batches of prepared rows for Lightning."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cxr_ldm import ranks
from cxr_ldm.data.batches.order import StepSampler
from cxr_ldm.data.batches.transforms import Augment
from cxr_ldm.data.findings.targets import Targets
from cxr_ldm.data.prepared.folder import Prepared, to_pixels
from cxr_ldm.errors import UserError

Batch = dict[str, torch.Tensor]
Fetch = Callable[..., Batch]


class RowDataset(Dataset[Batch]):
    """Rows fetched a whole batch at a time, which one array access is much faster at than many.

    Args:
        fetch: row numbers, int64 [B] → batch; in training their positions in the stream come as a second [B].
    """

    def __init__(self, fetch: Fetch):
        self.fetch = fetch

    def __getitems__(self, drawn: list[int] | list[tuple[int, int]]) -> Batch:
        return self.fetch(*np.atleast_2d(np.asarray(drawn, dtype=np.int64).T))


def as_collated(batch: Any) -> Any:
    """The collate function of a RowDataset, whose batches are collated already."""
    return batch


def train_loader(
    fetch: Fetch,
    rows: np.ndarray,
    *,
    batch_size: int,
    images_per_epoch: int,
    seed: int,
    first_epoch: int,
    first_batch: int = 0,
    weights: np.ndarray | None = None,
    part: tuple[int, int] = (0, 1),
    **options: Any,
) -> DataLoader:
    """Batches in the order of a `StepSampler`; an epoch is rounded up to whole batches, so that all have one size.

    Args:
        batch_size: of all processes together.
        part: which of how many processes this is, each with an equal part of every batch.
        weights: draws of each row in a pass, float [R]; None draws each once.
        first_epoch: the epoch that comes first.
        first_batch: of that epoch.

    Raises:
        UserError: the batch has no equal parts.
    """
    count = part[1]
    if batch_size % count:
        raise UserError(f"a batch of {batch_size} images has no {count} equal parts; trainer.devices must divide it.")
    per_epoch = -(-images_per_epoch // batch_size) * batch_size
    sampler = StepSampler(rows, seed, per_epoch, weights, part, batch_size)
    sampler.start_at(first_epoch, first_batch * batch_size)
    options |= {"persistent_workers": options.get("num_workers", 0) > 0}  # a stretch ends often
    options |= {"worker_init_fn": leave_to_parent}
    return DataLoader(RowDataset(fetch), batch_size // count, sampler=sampler, collate_fn=as_collated, **options)


def leave_to_parent(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main one still needs its batches until the step is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def ordered_loader(
    fetch: Fetch, rows: np.ndarray, *, batch_size: int, part: tuple[int, int] = (0, 1), **options: Any
) -> DataLoader:
    """Batches of all rows once, in order; the last may be smaller. Of several processes each has its own rows.

    Raises:
        UserError: there are fewer rows than processes.
    """
    number, count = part
    if len(rows) < count:
        raise UserError(f"{len(rows)} validation images for {count} processes; take more, or fewer trainer.devices.")
    rows = rows[number::count]
    return DataLoader(
        RowDataset(fetch),
        max(1, batch_size // count),
        sampler=rows.tolist(),
        collate_fn=as_collated,
        worker_init_fn=leave_to_parent,
        **options,
    )


@dataclass(frozen=True)
class Crop:
    """Training on random squares of the images, and on whole images at the end.

    A convolution learns as much from a square in a fraction of the time; what spans the image is learnt at the end.

    Args:
        side: of the square in pixels.
        until: position in the stream of training images from which images are whole.
        seed: of the places.
    """

    side: int
    until: int
    seed: int

    def __call__(self, images: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Squares [B, side, side] of images [B, H, W]; a batch that reaches `until` stays whole."""
        if positions.max() >= self.until:
            return images
        room = images.shape[1] - self.side + 1
        corners = [np.random.default_rng([self.seed, int(position)]).integers(room, size=2) for position in positions]
        views = (image[y : y + self.side, x : x + self.side] for image, (y, x) in zip(images, corners, strict=True))
        return np.stack(list(views))


class StreamDataModule(lightning.LightningDataModule):
    """Training data as one endless stream, of which a run that is resumed knows its place.

    Lightning makes the loader, and worker processes begin to fetch, before it has told the sampler the epoch.
    """

    first_epoch = first_batch = 0

    @property
    def part(self) -> tuple[int, int]:
        """Which of the run's processes this is, and of how many."""
        return ranks.number(), ranks.count()

    def state_dict(self) -> dict[str, Any]:
        """Kept in each checkpoint, which stands at the end of an epoch or behind one of its batches."""
        trainer = self.trainer
        if trainer is None:
            return {"next_epoch": 0, "next_batch": 0}
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if done >= trainer.num_training_batches:
            return {"next_epoch": trainer.current_epoch + 1, "next_batch": 0}
        return {"next_epoch": trainer.current_epoch, "next_batch": done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first_epoch = state_dict["next_epoch"]
        self.first_batch = state_dict.get("next_batch", 0)  # checkpoints of before stood at the end of an epoch


class ImageDataModule(StreamDataModule):
    """Images of a prepared folder: {"pixels": float32 [B, 1, H, W] in [-1, 1], "row": int64 [B]}.

    Args:
        prepared: the collection.
        batch_size: images in a batch.
        images_per_epoch: images between two checkpoints, rounded up to whole batches; None is the training split.
        seed: of the order of the training images.
        num_workers: processes that fetch; reading is an array copy, so 0 is the fastest for most sizes.
        augment: changes training images, never those of validation.
        crop: what of a training image is shown; None is all of it.
        targets: what each image shows; batches then also hold {"targets": float32 [B, C], NaN unknown, "source":
            int64 [B]}, and images of which nothing is known are left out.
    """

    def __init__(
        self,
        prepared: Prepared,
        batch_size: int,
        images_per_epoch: int | None,
        seed: int,
        num_workers: int = 0,
        augment: Augment | None = None,
        targets: Targets | None = None,
        crop: Crop | None = None,
    ):
        super().__init__()
        self.prepared, self.batch_size, self.seed = prepared, batch_size, seed
        self.images_per_epoch = images_per_epoch or len(prepared.rows("train"))
        self.num_workers, self.augment, self.targets, self.crop = num_workers, augment, targets, crop

    def fetch(self, rows: np.ndarray, positions: np.ndarray | None = None) -> Batch:
        """One batch; of training images where `positions` says which of the stream they are."""
        images = self.prepared.images[rows]
        if self.augment is not None and positions is not None:
            images = self.augment(images, positions)
        if self.crop is not None and positions is not None:
            images = self.crop(images, positions)
        batch = {"pixels": to_pixels(images), "row": torch.from_numpy(rows)}
        if self.targets is not None:
            batch["targets"] = torch.from_numpy(self.targets.values[rows])
            batch["source"] = torch.from_numpy(self.targets.sources[rows])
        return batch

    def _known(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.targets is None else rows[self.targets.known[rows]]

    def train_dataloader(self) -> DataLoader:
        """Training images, endlessly shuffled."""
        rows = self._known(self.prepared.draws())
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
        """Validation images in order; training never asks for those of test."""
        rows = self._known(self.prepared.rows("val"))
        return ordered_loader(
            self.fetch, rows, batch_size=self.batch_size, part=self.part, num_workers=self.num_workers
        )
