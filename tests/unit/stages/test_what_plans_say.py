"""What a plan hands to its data and says to people: each was lost once without a test that noticed."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from miniature import RECIPE, FourImages, ldm_stage
from torch.nn.functional import l1_loss

from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.randomness import normal
from cxr_ldm.stages.classifier import ClassifierPlan, described
from cxr_ldm.stages.ldm import LDMPlan
from cxr_ldm.stages.optimisation import validation_noise
from cxr_ldm.stages.unfreeze import Unfreeze
from cxr_ldm.stages.upscaler import UpscalerPlan
from cxr_ldm.stages.vae import VAEPlan, VAEStage
from cxr_ldm.text.unfreezing import Unfreezing


@pytest.mark.parametrize(("crop", "side", "until"), [((8, 0.25), 8, 24), (None, 16, None)])
def test_a_vae_trains_on_the_squares_that_it_was_told_of_and_on_whole_images_at_the_end(crop, side, until):
    plan = VAEPlan(FourImages(), RECIPE, 0, lambda: Autoencoder(**SHAPE), {}, lambda: None, l1_loss, 1e-4, crop=crop)
    batch = next(iter(plan.data().train_dataloader()))
    assert batch["pixels"].shape == (4, 1, side, side)
    assert getattr(plan.crop, "until", None) == until  # of 32 images


SHAPE = {"latent_channels": 2, "channels": [8, 8], "blocks": 1, "groups": 4}


def test_what_fills_the_memory_is_the_network_on_whole_images(tmp_path):
    """As many as were asked for, of the size that it trains on at most: `trainer.memory_gb` counts what this keeps."""
    network = Autoencoder(**SHAPE)
    plan = VAEPlan(FourImages(), RECIPE, 0, lambda: network, {}, lambda: None, l1_loss, 1e-4, crop=(8, 0.5))
    found, step = plan.heaviest(SimpleNamespace(autoencoder=network))
    assert found is network
    assert step(found, 3).shape == (3, 1, 16, 16)

    stage, _ = ldm_stage(tmp_path)
    own = SimpleNamespace(prepared=SimpleNamespace(size=16), autoencoder=SimpleNamespace(factor=4))
    found, step = LDMPlan.heaviest(own, stage)
    assert found is stage.denoiser.network
    assert step(found, 3).shape == (3, 2, 4, 4)

    classifier = torch.nn.Conv2d(1, 5, 16)
    found, step = ClassifierPlan.heaviest(own, SimpleNamespace(network=classifier))
    assert found is classifier
    assert step(found, 3).shape == (3, 5, 1, 1)


@pytest.mark.parametrize(("steps", "said"), [(5, True), (6, True), (7, False)])
def test_an_encoder_that_would_never_train_is_said_to_stay_frozen(steps, said):
    printed = []
    callback = Unfreeze(Unfreezing(layers=1, at_step=6, lr_scale=0.1))
    callback._log = lambda *_: None
    trainer = SimpleNamespace(global_step=0, estimated_stepping_batches=steps)
    callback.on_train_start(trainer, SimpleNamespace(text_encoder=SimpleNamespace(), print=printed.append))
    assert any("stays frozen" in line for line in printed) == said


def test_a_classifier_says_how_large_it_is():
    targets = SimpleNamespace(classes=["edema"], left_out={}, known=np.array([True]))
    assert described(targets, 1_500_000, 5).startswith("classifier: 1.50M parameters, 1 classes: edema")


def test_the_pictures_of_an_upscaler_are_three_rows_of_eight(tmp_path):
    """As they were, interpolated and enlarged, below each other."""
    prepared = SimpleNamespace(
        rows=lambda split: np.arange(20), pixels=lambda rows: torch.zeros(len(rows), 1, 32, 32), size=32
    )
    plan = UpscalerPlan(prepared, RECIPE, 0, None, None, {}, 32)
    plan.network = lambda strength: SimpleNamespace(factor=2)
    plan.check(tmp_path)  # a square may be the whole picture
    (grid,) = plan.callbacks(tmp_path)
    assert grid.columns == 8
    assert grid.captions == ["radiograph"] * 8 + ["interpolated"] * 8 + ["enlarged"] * 8


def test_an_upscalers_validation_says_that_its_noise_is_fixed_for_each_image_as_it_is():
    both, alone = (
        normal((len(rows), 2), validation_noise(SimpleNamespace(seed=0), 1, {"row": torch.tensor(rows)}))
        for rows in ([3, 5], [5])
    )
    assert torch.equal(both[1:], alone)
    plan = UpscalerPlan(None, RECIPE, 0, None, None, {}, 32)
    assert plan.stated()["noise"] == "fixed for each image"


def test_a_vaes_step_adds_both_adversarial_terms_to_its_own():
    """Each with its sign: the discriminator learns to tell, and does not unlearn it."""
    logged: dict[str, torch.Tensor] = {}
    terms = {
        name: torch.tensor(value) for name, value in (("adversary", 0.25), ("discriminator", 3.0), ("balance", 9.0))
    }

    class Adversary(torch.nn.Module):
        start = 0.0

        def forward(self, pixels, reconstruction, error):
            return terms

    stage = VAEStage(Autoencoder(**SHAPE), None, l1_loss, 0.5, Adversary(), 0, 1.0, 0)
    stage._trainer = SimpleNamespace(
        num_training_batches=10, current_epoch=0, global_rank=0, global_step=0, estimated_stepping_batches=10
    )
    stage.log = lambda name, value, **_: logged.update({name: value})
    stage.log_dict = lambda values, **_: logged.update(values)
    batch = {"pixels": torch.rand(2, 1, 16, 16), "row": torch.arange(2), "place": torch.arange(2)}
    loss = stage.training_step(batch, 0).item()
    assert loss == pytest.approx(logged["train/reconstruction"].item() + 0.5 * logged["train/kl"].item() + 0.25 + 3.0)
    assert loss == logged["train/loss"].item()
