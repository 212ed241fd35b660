"""The two stages in miniature: what their losses are, what they log, how they resume."""

import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from miniature import adversarial_stage, fit, ldm_stage, vae_stage
from PIL import Image
from torch.nn.functional import mse_loss

from cxr_ldm.callbacks.ema import EMA
from cxr_ldm.data.batches.latents import TextTable
from cxr_ldm.errors import Paused, UserError
from cxr_ldm.networks.autoencoder import Autoencoder, kl_divergence, sample_posterior
from cxr_ldm.randomness import BatchGenerator, generator_at, strata
from cxr_ldm.stages import optimisation
from cxr_ldm.stages.vae import roughness
from cxr_ldm.training import fit as training


def test_vae_loss_is_mse_plus_weighted_kl_both_means_over_elements():
    torch.manual_seed(0)
    network = Autoencoder(2, [8, 8], 1, 4)
    stage = vae_stage(network, mse_loss)
    stage._trainer = SimpleNamespace(num_training_batches=10, current_epoch=0, global_rank=0)
    logged = {}
    stage.log_dict, stage.log = lambda values, **_: logged.update(values), lambda name, value, **_: None
    pixels = torch.rand(3, 1, 16, 16) * 2 - 1
    loss = stage.training_step({"pixels": pixels, "row": torch.arange(3)}, 4)
    moments = network.encode(pixels)
    rebuilt = network.decode(sample_posterior(moments, BatchGenerator((5, 0, 4), range(3), 3)))
    expected = (rebuilt - pixels).square().sum() / pixels.numel() + 1e-4 * kl_divergence(moments)
    torch.testing.assert_close(loss, expected)
    assert set(logged) == {"train/reconstruction", "train/kl"}


def test_roughness_has_the_stated_size_in_each_channel():
    latents = (
        torch.randn(400, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0])[:, None, None]
    )
    latents.requires_grad_()
    noise = roughness(latents, 0.4, generator_at(1))
    assert not noise.requires_grad
    sizes = noise.std(dim=(2, 3)) / latents.detach().std(dim=(0, 2, 3))  # [N,C], alike in both channels of an image
    assert sizes.max() < 0.55
    assert abs(sizes.mean() - 0.2) < 0.02
    assert torch.corrcoef(sizes.T)[0, 1] > 0.9
    assert noise.mean().abs() < 0.01


def test_a_text_encoder_that_says_the_same_of_all_texts_is_told(tmp_path):
    """Such a model makes fine images and listens to nobody; the loss alone does not show it."""
    stage, data = ldm_stage(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fitter = fit(stage, data, tmp_path / "heard", images=8, validate_every=8)
        assert 0.02 < fitter.callback_metrics["val/text_spread"] < 2
    assert not any("cannot follow" in str(each.message) for each in told)
    stage, data = ldm_stage(tmp_path)
    with torch.no_grad():
        for weight in stage.text_encoder.parameters():
            weight.zero_()
        for weight in list(stage.text_encoder.parameters())[-1:]:
            weight.fill_(0.5)  # the bias at the end: one state for every token
    stage.text_encoder.requires_grad_(False)
    with pytest.warns(UserWarning, match="the model cannot follow them"):
        fit(stage, data, tmp_path / "deaf", images=8, validate_every=8)


def test_levels_of_validation_are_as_fine_at_the_end_of_a_collection_of_millions():
    rows = range(3_000_000, 3_001_000)
    found = strata(len(rows), BatchGenerator((0, 2), rows, None))
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() < 1
    assert len(found.unique()) == len(rows)
    assert found.sort().values.diff().max() < 0.002  # as even as those of the first thousand


def test_the_condition_is_dropped_sample_by_sample_for_the_empty_text(tmp_path):
    """Defect 6: a whole batch lost its condition at once."""
    stage, data = ldm_stage(tmp_path, dropout=0.5)
    stage._trainer = SimpleNamespace(num_training_batches=100, current_epoch=0, global_rank=0)
    stage.log = lambda *_, **__: None
    batch, seen = data.fetch(np.arange(4)), []
    conditioner = stage.conditioner
    of_batch = conditioner.of_batch
    conditioner.of_batch = lambda *given: seen.append(given[1]) or of_batch(*given)
    for index in range(60):
        stage.training_step(batch, index)
    dropped = torch.stack(seen) == 0
    assert dropped.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert not dropped.all(dim=1).all()
    assert ((dropped.sum(1) > 0) & (dropped.sum(1) < 4)).any()
    null, mask = stage.text_encoder.encode([""])
    states = stage.text_encoder(batch["cached"], batch["mask"])
    torch.testing.assert_close(states[0][batch["mask"][0]], null[0][mask[0]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [ldm_stage, lambda _: adversarial_stage()], ids=["ldm", "vae with an adversary"])
def test_resume_equals_no_resume_bit_for_bit(tmp_path, make):
    straight, data = make(tmp_path)
    fit(straight, data, tmp_path / "straight")

    class Killed(Exception):
        pass

    def draw(module):
        if module.trainer.global_step >= 6:
            raise Killed
        return torch.zeros(1, 1, 16, 16)

    stopped, data = make(tmp_path)
    with pytest.raises(Killed):
        fit(stopped, data, tmp_path / "stopped", draw)
    resumed, data = make(tmp_path)
    for parameter in resumed.parameters():  # whatever a fresh start would bring must not matter
        torch.nn.init.zeros_(parameter)
    fit(resumed, data, tmp_path / "stopped")
    expected = straight.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())


def impatient(tmp_path):
    """A stage that never improves."""
    stage, data = ldm_stage(tmp_path)
    stage.optimizer = partial(torch.optim.SGD, lr=0.0)
    return stage, data


def test_early_stopping_stops_and_a_run_that_is_started_again_does_not_go_on(tmp_path):
    recipe = {"images": 400, "patience": 2, "ema": None}
    stage, data = impatient(tmp_path)
    steps = fit(stage, data, tmp_path / "run", **recipe).global_step
    assert steps == 6
    stage, data = impatient(tmp_path)
    assert fit(stage, data, tmp_path / "run", **recipe).global_step == steps


def test_slices_do_not_lose_patience(tmp_path):
    for _ in range(2):
        stage, data = impatient(tmp_path)
        with pytest.raises(Paused):
            fit(stage, data, tmp_path / "run", images=400, patience=2, ema=None, changes={"max_minutes": 0})
    stage, data = impatient(tmp_path)
    trainer = fit(stage, data, tmp_path / "run", images=400, patience=2, ema=None, changes={"max_minutes": 0})
    assert trainer.global_step == 6


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_step(tmp_path):
    stage, data = ldm_stage(tmp_path)
    stage.denoiser.network.conv_out.bias.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(UserError, match="the gradient is (inf|nan) at step 0"):
        fit(stage, data, tmp_path / "run")
    assert all(parameter.isfinite().all() for parameter in stage.parameters())


def test_ema_follows_its_recursion():
    """Defect 9a: there was no EMA."""
    averaged, current = [torch.zeros(3)], [torch.ones(3)]
    average = EMA(0.9)._kwargs["multi_avg_fn"]
    for n in range(4):
        average(averaged, current, torch.tensor(n))
    expected = 0.0
    for n in range(4):
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay)
    torch.testing.assert_close(averaged[0], torch.full((3,), expected))


def test_accumulation_takes_one_step_for_several_batches(tmp_path):
    stage, data = ldm_stage(tmp_path)
    assert fit(stage, data, tmp_path / "run", accumulate=2).global_step == 4


def test_the_text_table_holds_each_text_once_and_the_empty_text_first(tmp_path):
    _, data = ldm_stage(tmp_path)
    table = data.texts
    assert isinstance(table, TextTable)
    assert len(table.cached) == 4
    assert table.mask[0].sum() == 2
    batch = table.batch(np.array([2, 3]))
    assert batch["text"].tolist() == [1, 1]
    assert batch["mask"].shape == (2, 4)  # [CLS] normal . [SEP]
    table.whole = True  # for CUDA graphs, whose shapes must not change
    assert table.batch(np.array([2, 3]))["mask"].shape == (2, 10)


def test_training_draws_a_wording_for_each_place_in_the_stream_and_validation_takes_the_text_itself(tmp_path):
    _, data = ldm_stage(tmp_path)
    one = data.texts
    data.texts = TextTable(one.cached, one.mask, np.concatenate([one.number, np.zeros_like(one.number)], axis=1))
    rows, positions = np.array([2, 3] * 50), np.arange(100)
    drawn = data.fetch(rows, positions)["text"].numpy()
    assert set(drawn) == {0, 1}  # the empty text stands for the second wording here
    assert 30 < drawn.sum() < 70
    np.testing.assert_array_equal(data.fetch(rows[40:], positions[40:])["text"].numpy(), drawn[40:])
    assert data.fetch(rows)["text"].tolist() == [1] * 100


def test_precision_names(capsys):
    assert training.precision_of(32, "cpu") == "32-true"
    assert training.precision_of(16, "cpu") == "bf16-mixed"
    assert "bf16" in capsys.readouterr().out


@pytest.mark.parametrize("later", [False, True])
def test_a_loss_that_is_not_finite_stops_the_run_by_name(tmp_path, monkeypatch, later):
    """Defect 8: a failing batch returned loss 0, so that a broken run became the best one."""
    monkeypatch.setattr(optimisation, "left_to_clip", lambda loss, module: later)  # as on a GPU
    stage, data = ldm_stage(tmp_path)
    data.moments = data.moments.copy()
    data.moments[2] = np.nan
    with pytest.raises(
        UserError, match=r"the loss is nan at step 0 \(images (image \d, )*image 2.*; precision 32-true\)"
    ):
        fit(stage, data, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_run_stopped_after_its_last_checkpoint_still_ends_with_the_average(tmp_path):
    stage, data = ldm_stage(tmp_path)
    fit(stage, data, tmp_path / "run")
    again, data = ldm_stage(tmp_path)
    fit(again, data, tmp_path / "run")
    expected = stage.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())


def test_a_text_encoder_from_scratch_may_learn_more_slowly_than_the_denoiser(tmp_path):
    stage, data = ldm_stage(tmp_path)
    stage.text_encoder.lr_scale = 1e-6
    before = {name: value.clone() for name, value in stage.named_parameters()}
    fit(stage, data, tmp_path / "run")
    moved = {name: float((value - before[name]).abs().max().detach()) for name, value in stage.named_parameters()}
    slow = [value for name, value in moved.items() if name.startswith("text_encoder.transformer.")]
    assert 0 < max(slow) < 1e-6
    assert max(value for name, value in moved.items() if name.startswith("text_encoder.projection.")) > 1e-3
    assert max(value for name, value in moved.items() if name.startswith("denoiser.")) > 1e-3


@pytest.mark.campaign
def test_half_precision_follows_the_curve_of_full_precision(tmp_path):
    """bf16 has 8 bits: from one start the mean losses of 16 steps stay within 5 %, and they fall by far more."""
    curves = {}
    for precision in (32, "bf16"):
        stage, data = ldm_stage(tmp_path, images_per_epoch=192)
        losses, log = [], stage.log
        stage.log = lambda name, value, losses=losses, log=log, **options: (
            losses.append(float(value)) if name == "train/loss" else None,
            log(name, value, **options),
        )
        fit(
            stage,
            data,
            tmp_path / str(precision),
            images=192,
            validate_every=192,
            checkpoint_every=192,
            changes={"precision": precision},
        )
        curves[precision] = torch.tensor(losses).view(3, 16).mean(dim=1)
    assert curves[32][0] - curves[32][-1] > 0.3
    assert not torch.equal(curves[32], curves["bf16"])
    torch.testing.assert_close(curves["bf16"], curves[32], rtol=0.05, atol=0)


def test_the_pictures_of_a_run_are_joined_into_an_animation(tmp_path):
    stage, data = ldm_stage(tmp_path)
    fit(stage, data, tmp_path / "run", draw=lambda module: torch.full((1, 1, 16, 16), module.global_step / 10 - 1))
    with Image.open(tmp_path / "run" / "samples" / "training.gif") as animation:
        assert animation.n_frames == len(list((tmp_path / "run" / "samples").glob("step_*.png"))) == 4


def test_slices_continue_each_other_exactly(tmp_path):
    straight, data = ldm_stage(tmp_path)
    fit(straight, data, tmp_path / "straight")
    for _ in range(3):
        stage, data = ldm_stage(tmp_path)
        with pytest.raises(Paused, match="stopped after 1e-09 minutes"):
            fit(stage, data, tmp_path / "sliced", changes={"max_minutes": 1e-9})
    stage, data = ldm_stage(tmp_path)
    trainer = fit(stage, data, tmp_path / "sliced", changes={"max_minutes": 1e-9})
    assert trainer.global_step == 8
    expected = straight.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in stage.state_dict().items())


@pytest.mark.campaign
@pytest.mark.parametrize("make", [ldm_stage, lambda _: adversarial_stage()], ids=["ldm", "vae with an adversary"])
def test_compiling_keeps_the_keys_of_checkpoints_and_the_result(tmp_path, make):
    """Traced, but run as before (the backend "eager"): what is compared is that nothing else changes."""
    plain, data = make(tmp_path)
    fit(plain, data, tmp_path / "plain")
    traced, data = make(tmp_path)
    fit(traced, data, tmp_path / "traced", changes={"compile": "eager"})
    expected = plain.state_dict()
    assert list(traced.state_dict()) == list(expected)
    for name, value in traced.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


def test_a_reconstruction_is_cut_to_the_range_of_pixels():
    """Decoders overshoot; SSIM and PSNR of a validation are of what a picture can hold."""
    network = Autoencoder(2, [8, 8], 1, 4)
    network.decode = lambda latents: torch.tensor([-3.0, -0.5, 0.5, 3.0]).view(1, 1, 2, 2)
    made = vae_stage(network, mse_loss).reconstruct(torch.zeros(1, 1, 16, 16))
    assert made.flatten().tolist() == [-1.0, -0.5, 0.5, 1.0]
