"""Diffusion against closed forms and diffusers."""

import math

import pytest
import torch
from torch import nn

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.guidance import guided
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.noise_levels import LogitNormal, Uniform, draw
from cxr_ldm.diffusion.scaling import Epsilon, Velocity
from cxr_ldm.diffusion.schedules import LinearBeta, RectifiedFlow, trailing
from cxr_ldm.diffusion.weighting import Unit
from cxr_ldm.errors import UserError


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


@pytest.fixture
def asked():
    """A denoiser that notes the size of each batch it is asked for, and the arguments of `guided` before the rule."""
    torch.manual_seed(0)
    denoiser, sizes = Denoiser(TextShift(), RectifiedFlow(), Velocity()), []
    denoiser.register_forward_pre_hook(lambda module, arguments: sizes.append(len(arguments[0])))
    context, mask = torch.randn(2, 4, 5), torch.ones(2, 4, dtype=torch.bool)
    return (denoiser, context, mask, torch.randn(1, 2, 5), torch.ones(1, 2, dtype=torch.bool)), sizes


def test_guidance_outside_its_interval_is_the_conditional_model(asked):
    """Both ends are inside; outside, the batch is not doubled."""
    arguments, sizes = asked
    limited = guided(*arguments, Guidance(5.0, (0.25, 0.75)))
    everywhere, conditional = guided(*arguments, 5.0), guided(*arguments, 1.0)
    x = torch.randn(2, 3, 4, 4)
    for t, inside in ((1.0, False), (0.76, False), (0.75, True), (0.5, True), (0.25, True), (0.1, False)):
        sizes.clear()
        result = limited(x, torch.tensor(t))
        assert sizes == [4 if inside else 2]
        assert torch.equal(result, (everywhere if inside else conditional)(x, torch.tensor(t)))


@pytest.mark.parametrize(("steps", "interval"), [(25, (0.2, 0.8)), (15, (0.2, 0.4)), (20, (0.05, 0.45))])
def test_both_ends_of_an_interval_are_inside_on_a_grid_of_float32(asked, steps, interval):
    arguments, sizes = asked
    limited = guided(*arguments, Guidance(5.0, interval))
    low, high = (steps - round(steps * end) for end in interval)
    for step, t in enumerate(trailing(steps)[:-1]):
        sizes.clear()
        limited(torch.randn(2, 3, 4, 4), t)
        assert sizes == [4 if high <= step <= low else 2]


def test_one_evaluation_where_only_one_counts(asked):
    arguments, sizes = asked
    for rule, size in ((1.0, 2), (0.0, 2), (Guidance(0.0, rescale=0.5), 4), (2.0, 4)):
        sizes.clear()
        guided(*arguments, rule)(torch.randn(2, 3, 4, 4), torch.tensor(0.5))
        assert sizes == [size]


def test_rescaled_guidance_keeps_the_contrast_of_the_conditional_estimate(asked):
    """Lin et al. 2024, eq. 15 and 16: phi 1 restores each sample's std, phi 0 changes nothing, between is linear."""
    arguments, _ = asked
    x, t = torch.randn(2, 3, 4, 4) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1), torch.tensor(0.6)
    text, plain = guided(*arguments, 1.0)(x, t), guided(*arguments, 6.0)(x, t)
    # a text that only shifts has no say in the contrast; one that scales has
    torch.testing.assert_close(text.std(dim=(1, 2, 3)), plain.std(dim=(1, 2, 3)))
    arguments[0].network.forward = lambda x, label, context, mask: x * context.mean(dim=(1, 2))[:, None, None, None]
    text, plain = guided(*arguments, 1.0)(x, t), guided(*arguments, 6.0)(x, t)
    full, half, none = (guided(*arguments, Guidance(6.0, rescale=phi))(x, t) for phi in (1.0, 0.5, 0.0))
    assert (plain.std(dim=(1, 2, 3)) / text.std(dim=(1, 2, 3)) - 1).abs().min() > 0.05
    torch.testing.assert_close(full.std(dim=(1, 2, 3)), text.std(dim=(1, 2, 3)))
    torch.testing.assert_close(half, (full + plain) / 2)
    assert torch.equal(none, plain)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scale": -1.0}, "guidance.scale=-1.0 must be a number of 0 or more."),
        ({"scale": "high"}, "guidance.scale=high must be"),
        ({"scale": math.nan}, "guidance.scale=nan must be"),
        ({"interval": [0.5]}, r"guidance.interval=\[0.5\] must be two times"),
        ({"interval": 0.5}, "guidance.interval=0.5 must be two times"),
        ({"interval": [0.6, 0.4]}, "0 <= lo < hi <= 1"),
        ({"interval": [0.0, 2.0]}, "0 <= lo < hi <= 1"),
        ({"interval": [False, True]}, "0 <= lo < hi <= 1"),
        ({"rescale": 1.5}, "guidance.rescale=1.5 must be a number from 0 to 1."),
    ],
)
def test_bad_guidance_is_one_sentence(values, words):
    with pytest.raises(UserError, match=words):
        Guidance(**values)


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
