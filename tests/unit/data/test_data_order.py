"""The training order is a function of (seed, position), and batches come whole."""

import lightning
import numpy as np
import pytest
import torch

from cxr_ldm.data.batches.images import Crop, ImageDataModule, ordered_loader
from cxr_ldm.data.batches.order import StepSampler
from cxr_ldm.data.batches.transforms import Augment
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.errors import UserError

ROWS = np.arange(100, 117)


def stream(per_epoch: int, epochs: int, seed: int = 0) -> list[int]:
    sampler = StepSampler(ROWS, seed, per_epoch)
    rows = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
        rows += [row for row, _ in drawn]
        assert [position for _, position in drawn] == list(range(epoch * per_epoch, (epoch + 1) * per_epoch))
        assert len(sampler) == per_epoch
    return rows


@pytest.mark.parametrize("per_epoch", [1, 5, 17, 40])
def test_the_length_of_an_epoch_does_not_change_the_stream(per_epoch):
    whole = stream(per_epoch=170, epochs=1)
    assert stream(per_epoch, epochs=-(-170 // per_epoch))[:170] == whole


def test_each_pass_is_another_permutation_of_all_rows():
    passes = np.array(stream(17, 6)).reshape(6, 17)
    assert (np.sort(passes) == ROWS).all()
    assert len({tuple(one) for one in passes}) == 6
    assert stream(17, 6, seed=1) != stream(17, 6)


def test_an_epoch_needs_no_earlier_one():
    sampler = StepSampler(ROWS, 0, 10)
    sampler.set_epoch(7)
    assert [row for row, _ in sampler] == stream(10, 8)[70:]
    assert [row for row, _ in sampler] == stream(10, 8)[70:]


def test_an_empty_training_split_is_refused():
    with pytest.raises(UserError, match="training split has no image"):
        StepSampler(np.array([], dtype=np.int64), 0, 10)


@pytest.fixture
def prepared(table_root, table_options, tmp_path):
    reader = TableReader(table_root, **table_options)
    splits = {"seed": 0, "val": 0.3, "test": 0.3}
    return prepare(reader, tmp_path / "out", Target(16), name="tiny", splits=splits)


def test_batches_hold_the_images_of_their_rows(prepared):
    data = ImageDataModule(prepared, batch_size=4, images_per_epoch=10, seed=0)
    batches = list(data.train_dataloader())
    assert [len(batch["row"]) for batch in batches] == [4, 4, 4]
    for batch in batches:
        assert batch["row"].dtype == torch.int64
        torch.testing.assert_close(batch["pixels"], prepared.pixels(batch["row"].numpy()), rtol=0, atol=0)
        assert set(batch["row"].tolist()) <= set(prepared.rows("train"))


def test_validation_sees_every_row_once_in_order(prepared):
    data = ImageDataModule(prepared, batch_size=4, images_per_epoch=None, seed=0)
    rows = torch.cat([batch["row"] for batch in data.val_dataloader()])
    np.testing.assert_array_equal(rows, prepared.rows("val"))


def test_training_shows_squares_of_its_images_and_whole_ones_at_the_end(prepared):
    crop = Crop(8, until=16, seed=3)
    data = ImageDataModule(prepared, 4, 24, seed=0, crop=crop)
    batches = list(data.train_dataloader())
    assert [tuple(batch["pixels"].shape[2:]) for batch in batches] == [(8, 8)] * 4 + [(prepared.size,) * 2] * 2
    again = ImageDataModule(prepared, 4, 8, seed=0, crop=crop)
    again.first_epoch = 1  # a run that goes on sees the same squares
    for first, second in zip(batches[2:4], again.train_dataloader(), strict=True):
        assert torch.equal(first["pixels"], second["pixels"])
    images = prepared.images[batches[0]["row"].numpy()]
    for square, image in zip(batches[0]["pixels"][:, 0], images, strict=True):
        whole = torch.from_numpy(image).float() / 127.5 - 1
        places = whole.unfold(0, 8, 1).unfold(1, 8, 1)
        assert (places == square).all(-1).all(-1).any()
    assert all(batch["pixels"].shape[2] == prepared.size for batch in data.val_dataloader())


def test_worker_processes_change_nothing(prepared):
    alone = ImageDataModule(prepared, 4, 8, seed=0)
    helped = ImageDataModule(prepared, 4, 8, seed=0, num_workers=1)
    for first, second in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        assert torch.equal(first["pixels"], second["pixels"])


def test_a_row_dataset_hands_whole_batches_to_fetch():
    asked = []

    def fetch(rows):
        asked.append(rows)
        return {"row": torch.from_numpy(rows)}

    batches = list(ordered_loader(fetch, ROWS, batch_size=10))
    assert [batch["row"].tolist() for batch in batches] == [ROWS[:10].tolist(), ROWS[10:].tolist()]
    assert [rows.dtype for rows in asked] == [np.int64, np.int64]


def test_augmentation_changes_training_images_alone_and_depends_on_seed_and_position(prepared):
    augment = Augment(rotation=5, shift=0.04, scale=0.05, intensity=0.1, seed=0)
    plain = ImageDataModule(prepared, 4, 8, seed=0)
    changed = ImageDataModule(prepared, 4, 8, seed=0, augment=augment)
    again = ImageDataModule(prepared, 4, 8, seed=0, augment=augment)
    for before, after, repeated in zip(*(data.train_dataloader() for data in (plain, changed, again)), strict=True):
        assert torch.equal(before["row"], after["row"])
        assert not torch.equal(before["pixels"], after["pixels"])
        assert torch.equal(after["pixels"], repeated["pixels"])
    for before, after in zip(plain.val_dataloader(), changed.val_dataloader(), strict=True):
        assert torch.equal(before["pixels"], after["pixels"])


class Watcher(lightning.LightningModule):
    """Remembers which rows each step saw."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[int] = []

    def training_step(self, batch, _):
        self.seen += batch["row"].tolist()
        return (batch["pixels"].mean() * self.weight).square()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(prepared, folder, epochs, checkpoint=None) -> list[int]:
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, default_root_dir=folder, enable_progress_bar=False
    )
    watcher = Watcher()
    data = ImageDataModule(prepared, batch_size=4, images_per_epoch=8, seed=5)
    trainer.fit(watcher, data, ckpt_path=checkpoint)
    trainer.save_checkpoint(folder / "last.ckpt")
    return watcher.seen


@pytest.mark.filterwarnings("ignore")
def test_lightning_sets_the_epoch_and_a_resumed_run_goes_on_in_the_stream(prepared, tmp_path):
    whole = fit(prepared, tmp_path / "a", epochs=4)
    rows = prepared.rows("train")
    expected = []
    for turn in range(1 + 32 // len(rows)):
        expected += np.random.default_rng([5, turn]).permutation(rows).tolist()
    assert whole == expected[:32]
    first = fit(prepared, tmp_path / "b", epochs=2)
    assert first + fit(prepared, tmp_path / "c", epochs=4, checkpoint=tmp_path / "b" / "last.ckpt") == whole
