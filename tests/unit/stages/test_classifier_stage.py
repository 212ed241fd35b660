"""The classifier stage in miniature: its loss, what it logs, how it resumes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from miniature import LOGGER, MACHINE, RECIPE

from cxr_ldm.data.batches.images import ImageDataModule
from cxr_ldm.data.batches.transforms import Augment
from cxr_ldm.data.findings.targets import Targets
from cxr_ldm.errors import Paused
from cxr_ldm.networks.classifier import Classifier
from cxr_ldm.stages.classifier import ClassifierStage, masked_cross_entropy
from cxr_ldm.stages.recipe import Recipe
from cxr_ldm.training import fit as training

CLASSES = ["bright", "bright left", "unknown"]


class Pictures:
    """Stands for a prepared folder: dark images, some with a bright half."""

    size = 16

    def __init__(self):
        random = np.random.default_rng(2)
        self.images = random.integers(0, 90, (24, 16, 16), dtype=np.uint8)
        self.images[::3, :, :8] += 120
        self.images[1::3, :, 8:] += 120

    def ids(self, rows):
        return [f"image {row}" for row in rows]

    def rows(self, split):
        return np.arange(24)

    def draws(self):
        return np.arange(24)

    def draw_weights(self, rows):
        return None


def stage(images_per_epoch=8) -> tuple[ClassifierStage, ImageDataModule]:
    torch.manual_seed(0)
    network = Classifier(CLASSES, channels=[8, 8], blocks=1, groups=4)
    module = ClassifierStage(network, partial(torch.optim.AdamW, lr=5e-3), warmup_steps=2, last_rate=0.1, seed=0)
    kind = np.arange(24) % 3
    values = np.stack([kind < 2, kind == 1, np.full(24, np.nan)], axis=1).astype(np.float32)
    values[5] = np.nan  # nothing is known of one image
    targets = Targets(CLASSES, values, np.zeros(24, dtype=np.int64))
    return module, ImageDataModule(Pictures(), 4, images_per_epoch, 0, 0, Augment(5, 0.04, 0.05, 0.1, seed=0), targets)


def fit(module, data, folder, **changes):
    lengths = {name: value for name, value in changes.items() if name in Recipe.__dataclass_fields__}
    machine = replace(MACHINE, **{name: value for name, value in changes.items() if name not in lengths})
    return training.fit(module, data, folder, replace(RECIPE, **lengths), machine, ("val/loss", "min"), LOGGER, 0)


def test_the_loss_is_the_mean_cross_entropy_of_the_known_targets():
    logits = torch.tensor([[0.3, -2.0, 5.0], [1.5, 0.0, -5.0]])
    targets = torch.tensor([[1.0, torch.nan, 0.0], [0.0, 1.0, torch.nan]])
    probability = torch.sigmoid(logits)
    by_hand = [-torch.log(probability[0, 0]), -torch.log(1 - probability[0, 2])]
    by_hand += [-torch.log(1 - probability[1, 0]), -torch.log(probability[1, 1])]
    torch.testing.assert_close(masked_cross_entropy(logits, targets), torch.stack(by_hand).mean())
    whole = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, whole)
    torch.testing.assert_close(masked_cross_entropy(logits, whole), expected)


def test_unknown_targets_give_no_gradient():
    logits = torch.zeros(1, 2, requires_grad=True)
    masked_cross_entropy(logits, torch.tensor([[1.0, torch.nan]])).backward()
    assert logits.grad[0].tolist() == [-0.5, 0.0]


def test_batches_carry_targets_and_images_of_which_nothing_is_known_are_left_out():
    _, data = stage()
    rows = torch.cat([batch["row"] for batch in data.val_dataloader()])
    assert rows.tolist() == [row for row in range(24) if row != 5]
    batch = data.fetch(np.array([0, 1]))
    assert batch["targets"][:, :2].tolist() == [[1, 0], [1, 1]]
    assert 5 not in torch.cat([batch["row"] for batch in data.train_dataloader()])


def test_it_learns_which_half_is_bright(tmp_path):
    module, data = stage(images_per_epoch=800)
    trainer = fit(module, data, tmp_path, images=800, validate_every=800, checkpoint_every=800)
    assert trainer.callback_metrics["val/auroc_bright"] == 1.0
    assert trainer.callback_metrics["val/auroc_bright_left"] > 0.99
    assert trainer.callback_metrics["val/auroc_mean"] == 1.0  # of the class that is no side, and known
    assert "val/auroc_unknown" not in trainer.callback_metrics
    (values,) = trainer.validate(module, data, verbose=False)
    assert {"val/loss", "val/auroc_bright", "val/auroc_mean"} <= values.keys()


def test_resume_equals_no_resume_bit_for_bit(tmp_path):
    straight, data = stage()
    fit(straight, data, tmp_path / "straight")
    for _ in range(3):
        module, data = stage()
        for parameter in module.parameters():  # whatever a fresh start would bring must not matter
            if (tmp_path / "sliced").exists():
                torch.nn.init.zeros_(parameter)
        with pytest.raises(Paused):
            fit(module, data, tmp_path / "sliced", max_minutes=1e-9)
    module, data = stage()
    fit(module, data, tmp_path / "sliced", max_minutes=1e-9)
    expected = straight.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in module.state_dict().items())
