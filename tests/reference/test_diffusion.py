"""Diffusion against closed forms and diffusers."""

import math

import pytest
import torch
from torch import nn

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.guidance import guided
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.noise_levels import LogitNormal, Uniform, draw
from cxr_ldm.diffusion.samplers import ddim
from cxr_ldm.diffusion.scaling import Epsilon, Velocity
from cxr_ldm.diffusion.schedules import LinearBeta, RectifiedFlow, leading, trailing
from cxr_ldm.diffusion.weighting import Unit


class TextShift(nn.Module):
    """A network whose output is the mean of its context: easy to follow by hand."""

    def forward(self, x, label, context, mask):
        weights = mask / mask.sum(dim=1, keepdim=True)
        return x * 0.1 + (context.mean(dim=2) * weights).sum(dim=1)[:, None, None, None]


def test_linear_beta_preserves_variance_and_ends_at_the_data():
    schedule = LinearBeta()
    alpha, sigma = schedule(torch.linspace(0, 1, 1001, dtype=torch.float64))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-12)
    assert alpha[0] == 1.0
    assert sigma[0] == 0.0


def test_linear_beta_equals_diffusers():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear").alphas_cumprod
    alpha, _ = LinearBeta()(torch.arange(1, 1001) / 1000)
    torch.testing.assert_close(alpha**2, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("schedule", "scaling"), [(LinearBeta(), Epsilon()), (RectifiedFlow(), Velocity())])
def test_scalings_read_back_the_data(schedule, scaling):
    data, noise = torch.randn(2, 16, 1, 2, 2, dtype=torch.float64)
    t = torch.linspace(0.01, 0.99, 16, dtype=torch.float64)
    alpha, sigma = (scale[:, None, None, None] for scale in schedule(t))
    output = scaling.target(data, noise, alpha, sigma)
    recovered = scaling.to_data(output, alpha * data + sigma * noise, alpha, sigma)
    torch.testing.assert_close(recovered, data, rtol=0, atol=1e-9)


def gaussian_denoiser(schedule, mean, std):
    """The exact E[x_0 | x_t] for data N(mean, std²)."""

    def denoise(x, t):
        alpha, sigma = schedule(t)
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        return mean + gain * (x - alpha * mean)

    return denoise


def test_euler_error_halves_as_steps_double():
    """Flow of Gaussian data has the closed form x_0 = mean + std * x_1 for x_1 ~ N(0, 1)."""
    start = torch.randn(64, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    schedule, mean, std = RectifiedFlow(), 0.7, 0.4
    errors = []
    for steps in (32, 64, 128):
        end = ddim(gaussian_denoiser(schedule, mean, std), start, trailing(steps), schedule)
        errors.append((end - (mean + std * start)).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=0.2)
    assert errors[1] / errors[2] == pytest.approx(2.0, abs=0.1)


def test_stochastic_sampling_keeps_the_distribution():
    generator = torch.Generator().manual_seed(0)
    schedule = LinearBeta()
    start = torch.randn(4000, 1, 1, 1, dtype=torch.float64, generator=generator)

    def noise(step):
        return torch.randn(start.shape, dtype=torch.float64, generator=generator)

    end = ddim(gaussian_denoiser(schedule, 0.5, 0.3), start, trailing(200), schedule, eta=1.0, noise=noise)
    assert end.mean().item() == pytest.approx(0.5, abs=0.02)
    assert end.std().item() == pytest.approx(0.3, abs=0.02)


def test_ddim_equals_diffusers():
    """Leading spacing and eta = 0; float32 schedules there, float64 here."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(beta_schedule="linear", clip_sample=False, set_alpha_to_one=True)
    theirs.set_timesteps(20)
    network, schedule = TextShift(), LinearBeta()
    context, mask = torch.randn(3, 4, 5, dtype=torch.float64), torch.ones(3, 4, dtype=torch.bool)
    expected = start = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    for k in theirs.timesteps:
        expected = theirs.step(network(expected, k, context, mask), k, expected).prev_sample
    denoise = guided(Denoiser(network, schedule, Epsilon()), context, mask, context[:1], mask[:1], 1.0)
    ours = ddim(denoise, start, leading(20).double(), schedule)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_sampler_does_not_change_its_start():
    start = torch.randn(2, 1, 2, 2)
    before = start.clone()
    ddim(gaussian_denoiser(RectifiedFlow(), 0.0, 1.0), start, trailing(3), RectifiedFlow())
    assert torch.equal(start, before)


def test_guidance_has_its_stated_meaning():
    """0 is unconditional, 1 conditional, and every other scale lies on the line through both."""
    denoiser = Denoiser(TextShift(), RectifiedFlow(), Velocity())
    context, mask = torch.randn(2, 4, 5), torch.ones(2, 4, dtype=torch.bool)
    null, null_mask = torch.randn(1, 2, 5), torch.ones(1, 2, dtype=torch.bool)
    x, t = torch.randn(2, 3, 4, 4), torch.tensor(0.6)
    values = {s: guided(denoiser, context, mask, null, null_mask, s)(x, t) for s in (0.0, 1.0, 3.0, 7.5)}
    torch.testing.assert_close(values[1.0], denoiser(x, t.expand(2), context, mask))
    expected = denoiser(x, t.expand(2), null.expand(2, -1, -1), null_mask.expand(2, -1))
    torch.testing.assert_close(values[0.0], expected)
    for scale in (3.0, 7.5):
        torch.testing.assert_close(values[scale], values[0.0] + scale * (values[1.0] - values[0.0]))
    assert (values[7.5] - values[1.0]).abs().max() > 0.1  # defect 1: guidance computed and thrown away


def test_noise_levels_follow_their_distributions():
    generator = torch.Generator().manual_seed(0)
    uniform = draw(Uniform(), 10_000, RectifiedFlow(), generator)
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
    assert uniform.min() > 0
    stepped = draw(Uniform(), 10_000, LinearBeta(), generator) * 1000
    torch.testing.assert_close(stepped, stepped.round(), rtol=0, atol=1e-3)
    assert (stepped.min().round(), stepped.max().round()) == (1, 1000)
    logits = torch.logit(draw(LogitNormal(-0.5, 0.8), 10_000, RectifiedFlow(), generator))
    assert logits.mean().item() == pytest.approx(-0.5, abs=0.02)
    assert logits.std().item() == pytest.approx(0.8, abs=0.02)


def test_loss_of_a_silent_network_has_its_closed_form():
    """With F = 0 the loss is the target's second moment: 1 for noise, 1 + Var x_0 for a velocity."""
    data = 0.5 * torch.randn(4000, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    context, mask = torch.zeros(4000, 1, 1), torch.ones(4000, 1, dtype=torch.bool)
    silent = type("Silent", (nn.Module,), {"forward": lambda self, x, label, context, mask: torch.zeros_like(x)})()
    for schedule, scaling, levels, expected in (
        (LinearBeta(), Epsilon(), Uniform(), 1.0),
        (RectifiedFlow(), Velocity(), LogitNormal(), 1.25),
    ):
        loss = DiffusionLoss(levels, Unit())(Denoiser(silent, schedule, scaling), data, context, mask)
        assert loss.item() == pytest.approx(expected, rel=0.02)
    assert math.isfinite(loss.item())
