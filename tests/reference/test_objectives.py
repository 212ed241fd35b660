"""Schedules, scalings, weightings and noise levels against closed forms and diffusers; what cannot work is refused."""

from itertools import product

import pytest
import torch
from torch import nn

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.noise_levels import LogitNormal, LogNormal, Uniform, draw
from cxr_ldm.diffusion.scaling import Epsilon, Velocity, VPrediction
from cxr_ldm.diffusion.schedules import LinearBeta, RectifiedFlow
from cxr_ldm.diffusion.weighting import MinSNR, Unit
from cxr_ldm.errors import UserError

SCHEDULES = {"linear": LinearBeta(), "zero terminal": LinearBeta(zero_terminal=True), "flow": RectifiedFlow()}
SCALINGS = {"epsilon": Epsilon(), "v": VPrediction(), "velocity": Velocity()}


class Silent(nn.Module):
    """Predicts zero, so that the loss is the mean square of the target."""

    def forward(self, x, label, context, mask):
        return torch.zeros_like(x)


def test_zero_terminal_snr_equals_diffusers_and_ends_in_pure_noise():
    """Their function takes betas; float32 there, so 1e-5."""
    from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    theirs = torch.cumprod(1.0 - rescale_zero_terminal_snr(betas), dim=0).sqrt()
    schedule = SCHEDULES["zero terminal"]
    torch.testing.assert_close(schedule.alphas[1:], theirs, rtol=0, atol=1e-5)
    alpha, sigma = schedule(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert alpha.tolist() == [1.0, 0.0]
    assert sigma.tolist() == [0.0, 1.0]
    torch.testing.assert_close(schedule.alphas**2 + schedule.sigmas**2, torch.ones(1001, dtype=torch.float64))


@pytest.mark.parametrize(("schedule", "scaling"), product(SCHEDULES, SCALINGS))
def test_every_prediction_reads_back_the_data_and_its_gain_is_its_slope(schedule, scaling):
    """Round trips x_0 -> F -> x_0 to 1e-9, on every schedule where alpha is above 0."""
    data, noise = torch.randn(2, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.02, 0.98, 32, dtype=torch.float64)
    alpha, sigma = SCHEDULES[schedule](t)
    maths = SCALINGS[scaling]
    x_t = alpha * data + sigma * noise
    output = maths.target(data, noise, alpha, sigma)
    torch.testing.assert_close(maths.to_data(output, x_t, alpha, sigma), data, rtol=0, atol=1e-9)
    slope = maths.to_data(output, x_t, alpha, sigma) - maths.to_data(output + 1.0, x_t, alpha, sigma)
    torch.testing.assert_close(slope, maths.gain(alpha, sigma), rtol=1e-9, atol=1e-9)


def test_v_equals_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule="linear")
    data, noise = torch.randn(2, 8, 1, 2, 2)
    steps = torch.arange(8) * 120
    alpha, sigma = (scale[:, None, None, None] for scale in LinearBeta()((steps + 1) / 1000))
    ours = VPrediction().target(data, noise, alpha, sigma)
    torch.testing.assert_close(ours, theirs.get_velocity(data, noise, steps), rtol=1e-4, atol=1e-5)


def test_min_snr_has_its_published_forms():
    """Hang et al. 2023: min(SNR, γ)/SNR for the noise, min(SNR, γ)/(SNR+1) for v; diffusers' training scripts agree."""
    alpha, sigma = LinearBeta()(torch.linspace(0.01, 0.99, 50, dtype=torch.float64))
    snr = (alpha / sigma) ** 2
    capped = snr.clamp(max=5.0)
    weigh = MinSNR(5.0)
    torch.testing.assert_close(weigh(alpha, sigma, Epsilon().gain(alpha, sigma)), capped / snr)
    torch.testing.assert_close(weigh(alpha, sigma, VPrediction().gain(alpha, sigma)), capped / (snr + 1))
    alpha, sigma = RectifiedFlow()(torch.linspace(0.01, 0.99, 50, dtype=torch.float64))
    expected = torch.minimum(alpha**2, 5.0 * sigma**2)
    torch.testing.assert_close(weigh(alpha, sigma, Velocity().gain(alpha, sigma)), expected)


def test_the_weight_is_on_the_squared_error():
    silent = Denoiser(Silent(), RectifiedFlow(), Velocity())
    data, noise, t = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.tensor([0.1, 0.5, 0.9])
    plain = DiffusionLoss(Uniform(), Unit()).at(silent, data, noise, t, None, None)
    torch.testing.assert_close(plain, (noise - data).square().mean(dim=(1, 2, 3)))
    weighted = DiffusionLoss(Uniform(), MinSNR(5.0)).at(silent, data, noise, t, None, None)
    torch.testing.assert_close(weighted, plain * torch.minimum((1 - t) ** 2, 5 * t**2))


@pytest.mark.parametrize("schedule", ["zero terminal", "flow"])
def test_noise_prediction_is_refused_where_the_schedule_ends_in_pure_noise(schedule):
    with pytest.raises(UserError, match=r"divides by 0; take diffusion=v_zsnr or diffusion=flow"):
        Denoiser(Silent(), SCHEDULES[schedule], Epsilon())


def test_a_weighting_that_divides_by_zero_is_refused():
    """min(SNR, γ)/SNR, the form for the noise, used on v with a zero terminal SNR."""

    def for_noise(alpha, sigma, gain):
        snr = (alpha / sigma).square()
        return snr.clamp(max=5.0) / snr

    denoiser = Denoiser(Silent(), SCHEDULES["zero terminal"], VPrediction())
    with pytest.raises(UserError, match=r"not finite at t=1 .*divides by an SNR of 0"):
        DiffusionLoss(Uniform(), for_noise).check(denoiser)
    with pytest.raises(UserError, match=r"gamma=0 must be a number above 0"):
        MinSNR(0)


@pytest.mark.parametrize(
    ("schedule", "scaling", "weighting", "levels"),
    [
        (schedule, scaling, weighting, levels)
        for (schedule, scaling) in [
            ("linear", "epsilon"),
            ("linear", "v"),
            ("zero terminal", "v"),
            ("flow", "velocity"),
        ]
        for weighting in (Unit(), MinSNR())
        for levels in (Uniform(), LogitNormal(), LogNormal())
    ],
)
def test_every_other_combination_has_a_finite_loss_and_gradient(schedule, scaling, weighting, levels):
    network = nn.Module()
    network.bias = nn.Parameter(torch.zeros(1))
    network.forward = lambda x, label, context, mask: x * 0.1 + network.bias
    denoiser = Denoiser(network, SCHEDULES[schedule], SCALINGS[scaling])
    loss = DiffusionLoss(levels, weighting)
    loss.check(denoiser)
    value = loss(denoiser, torch.randn(64, 2, 4, 4), None, None, torch.Generator().manual_seed(0))
    value.backward()
    assert 0 < value.item() < 100
    assert torch.isfinite(network.bias.grad).all()


def test_log_normal_levels_follow_their_distribution_on_both_kinds_of_schedule():
    generator = torch.Generator().manual_seed(0)
    t = draw(LogNormal(-0.4, 1.2), 20_000, RectifiedFlow(), generator)
    assert (t / (1 - t)).log().mean().item() == pytest.approx(-0.4, abs=0.01)
    assert (t / (1 - t)).log().std().item() == pytest.approx(1.2, abs=0.01)
    schedule = LinearBeta()
    alpha, sigma = schedule(draw(LogNormal(-0.4, 1.2), 20_000, schedule, generator))
    assert (sigma / alpha).log().median().item() == pytest.approx(-0.4, abs=0.02)
    assert (sigma / alpha).log().std().item() == pytest.approx(1.2, abs=0.03)


@pytest.mark.parametrize("name", ["linear", "zero terminal"])
def test_time_of_inverts_the_schedule(name):
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    alpha, sigma = SCHEDULES[name](t)
    torch.testing.assert_close(SCHEDULES[name].time_of(sigma / alpha), t)


@pytest.mark.parametrize("law", [LogitNormal, LogNormal])
@pytest.mark.parametrize("wrong", [{"mean": float("nan")}, {"std": float("nan")}, {"std": 0.0}, {"std": -1.0}], ids=str)
def test_a_law_of_noise_levels_refuses_each_of_its_numbers_alone(law, wrong):
    with pytest.raises(UserError, match="must be a number and std="):
        law(**wrong)
