"""What reaches the networks in training and what a run ends with, step by step and by hand."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from miniature import adversarial_stage, fit, ldm_stage

from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.networks.autoencoder import Autoencoder, sample_posterior
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.randomness import BatchGenerator
from cxr_ldm.stages.caches import moments_of
from cxr_ldm.stages.latents import whitening_of
from cxr_ldm.stages.optimisation import warmup_cosine

OTHER_WHITE = ((0.5, -1.0), (2.0, 0.25))
DISTINCT = ["Right pleural effusion.", "Left pleural effusion, small.", "Normal.", "Cardiomegaly."]


def recorded(stage, attribute):
    """What `attribute(stage)` gives after each optimiser step of a run."""
    seen = []
    stage.on_train_batch_end = lambda *_: seen.append(attribute(stage))
    return seen


def test_a_run_ends_with_the_average_of_the_weights_after_each_step(tmp_path):
    """Defect 9a: no average at all, and another decay, both show here."""
    stage, data = ldm_stage(tmp_path)
    seen = recorded(stage, lambda stage: {name: value.detach().clone() for name, value in stage.named_parameters()})
    fit(stage, data, tmp_path / "run", ema=0.5)  # reached after eight steps by the warm-up (1 + n) / (10 + n)
    assert len(seen) == 8
    average = {name: value.double() for name, value in seen[0].items()}
    for n, weights in enumerate(seen[1:], start=1):
        decay = min(0.5, (1 + n) / (10 + n))
        average = {name: decay * value + (1 - decay) * weights[name].double() for name, value in average.items()}
    distances = []
    for name, value in stage.named_parameters():
        torch.testing.assert_close(value.detach().double(), average[name], rtol=1e-5, atol=1e-6)
        distances.append((value.detach() - seen[-1][name]).abs().max().item())
    assert max(distances) > 1e-4  # the last weights are something else


def test_the_loss_sees_white_latents(tmp_path):
    stage, data = ldm_stage(tmp_path, whitening=OTHER_WHITE)
    given = []

    class Watched(DiffusionLoss):
        def __call__(self, denoiser, latents, *rest):
            given.append(latents)
            return super().__call__(denoiser, latents, *rest)

    stage.loss = Watched(stage.loss.noise_levels, stage.loss.weighting)
    batches, step = [], stage.training_step
    stage.training_step = lambda batch, batch_idx: batches.append(batch) or step(batch, batch_idx)
    fit(stage, data, tmp_path / "run", images=8, validate_every=8)
    mean, std = (torch.tensor(values)[:, None, None] for values in OTHER_WHITE)
    for number, (batch, latents) in enumerate(zip(batches, given, strict=True)):
        drawn = sample_posterior(batch["moments"].float(), BatchGenerator((0, 1, number), range(4), 4))
        torch.testing.assert_close(latents, (drawn - mean) / std)


def test_each_text_is_learnt_with_its_own_image(tmp_path):
    """Four images can be overfitted; trained on others' texts, or one for all, the nearest image would be another's.

    A silent network's loss is about 2; what is left is the noise level where an image cannot be told yet.
    """
    stage, data = ldm_stage(tmp_path, dropout=0.0, images_per_epoch=800, texts=DISTINCT)
    stage.optimizer = partial(torch.optim.AdamW, lr=3e-3, foreach=True)
    trainer = fit(stage, data, tmp_path / "run", images=800, validate_every=800, checkpoint_every=800)
    assert trainer.callback_metrics["val/loss"] < 0.7
    identity = Whitening([0.0, 0.0], [1.0, 1.0])

    class Through(torch.nn.Module):
        """Latents as pixels."""

        factor, latent_channels = 4, 2
        decode = staticmethod(lambda latents: latents)

    pipeline = TextToCXR(Through(), stage.denoiser, stage.conditioner, identity, 16, "")
    texts = [text for text in DISTINCT for _ in range(2)]
    latents = pipeline(texts, [0, 1] * 4, steps=20)
    own = torch.from_numpy(data.moments[:, :2].astype(np.float32))
    distances = torch.cdist(latents.flatten(1), own.flatten(1))
    assert distances.argmin(1).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("name", ["ldm", "vae with an adversary"])
def test_every_step_has_the_rate_of_its_place(tmp_path, name):
    stage, data = ldm_stage(tmp_path) if name == "ldm" else adversarial_stage()
    stage.warmup_steps, stage.last_rate = 3, 0.1
    base = 3e-3 if name == "ldm" else 1e-3
    seen, step = [], stage.optimizer_step

    def optimizer_step(epoch, index, optimizer, *rest, **more):
        seen.append([group["lr"] for group in optimizer.param_groups])
        return step(epoch, index, optimizer, *rest, **more)

    stage.optimizer_step = optimizer_step
    fit(stage, data, tmp_path / "run")
    expected = [[base * warmup_cosine(number, 3, 8, 0.1)] * len(seen[0]) for number in range(8)]
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["ldm", "vae with an adversary"])
def test_gradients_have_at_most_the_norm_that_was_asked_for(tmp_path, name):
    """Each network of a VAE has its own: the discriminator's must not shrink the autoencoder's."""
    stage, data = ldm_stage(tmp_path) if name == "ldm" else adversarial_stage(start=0.0)
    norms = []

    def norm(parameters):
        return torch.cat([each.grad.flatten() for each in parameters if each.grad is not None]).norm().item()

    stage.on_before_optimizer_step = lambda optimizer: norms.append(
        [norm(group["params"]) for group in optimizer.param_groups]
    )
    clipped = stage.configure_gradient_clipping
    after = []

    def configure_gradient_clipping(optimizer, *rest, **more):
        clipped(optimizer, *rest, **more)
        after.append([norm(group["params"]) for group in optimizer.param_groups])

    stage.configure_gradient_clipping = configure_gradient_clipping
    largest = 1e-3  # below every norm of these runs
    fit(stage, data, tmp_path / "run", changes={"gradient_clip": largest})
    assert len(after) == 8
    np.testing.assert_allclose(after, np.full_like(after, largest), rtol=1e-3)
    assert np.min(norms) > largest
    assert len(after[0]) == (1 if name == "ldm" else 2)


def test_moments_are_those_of_their_row_and_of_their_vae(tmp_path):
    class SixImages:
        pictures = torch.linspace(-1, 1, 6)[:, None, None, None] * torch.ones(6, 1, 16, 16)

        def __len__(self):
            return 6

        def pixels(self, rows):
            return self.pictures[torch.as_tensor(rows)]

    torch.manual_seed(0)
    first, second = Autoencoder(2, [8, 8], 1, 4), Autoencoder(2, [8, 8], 1, 4)
    images, device = SixImages(), torch.device("cpu")
    found = {
        name: moments_of(vae, images, tmp_path, {"images": 1, "vae": name}, device)
        for name, vae in (("first", first), ("second", second))
    }
    for name, vae in (("first", first), ("second", second)):
        with torch.no_grad():
            alone = torch.cat([vae.encode(images.pictures[row : row + 1]) for row in range(6)])
        np.testing.assert_allclose(found[name], alone.half().numpy(), atol=2e-3)
    assert np.abs(found["first"].astype(np.float32) - found["second"]).max() > 0.1
    kept = moments_of(second, images, tmp_path, {"images": 1, "vae": "first"}, device)  # known by its settings
    np.testing.assert_array_equal(kept, found["first"])


@pytest.mark.parametrize(("spread", "told"), [(0.3, True), (3.0, False)])
def test_a_vae_that_says_little_of_its_images_is_told(spread, told):
    """Var(mean) / (Var(mean) + 1) is 0.08 or 0.9; rows that are not for training do not count."""
    made = np.random.default_rng(0)
    moments = np.concatenate([spread * made.normal(size=(40, 1, 4, 4)), np.zeros((40, 1, 4, 4))], axis=1)
    moments[20:] *= 50
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        whitening = whitening_of(moments.astype(np.float32), np.arange(20), 0.25)
    assert any("says little about its images" in str(each.message) for each in said) is told
    assert whitening.arguments["std"][0] == pytest.approx((spread**2 + 1) ** 0.5, rel=0.1)
