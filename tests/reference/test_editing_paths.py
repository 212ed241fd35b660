"""Paths that begin at an image: against the closed form of Gaussian data, whose D is known."""

import pytest
import torch

from cxr_ldm.diffusion import samplers
from cxr_ldm.diffusion.editing import held, inverted, noised, shortened
from cxr_ldm.diffusion.schedules import LinearBeta, RectifiedFlow, trailing

MEAN, STD = 0.3, 0.6
SCHEDULES = {"flow": RectifiedFlow(), "zero_snr": LinearBeta(zero_terminal=True)}


def denoiser(schedule):
    """E[x_0 | x_t] of data N(MEAN, STD²)."""

    def denoise(x, t, s=None):
        alpha, sigma = schedule(t)
        gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
        return MEAN + gain * (x - alpha * MEAN)

    return denoise


@pytest.fixture
def x0():
    return torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * STD + MEAN


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_euler_leads_back_from_where_an_image_was_followed_to(x0, name, strength):
    """DDIM's inversion, one evaluation at the other end of each step, misses by more than a hundred times as much."""
    schedule = SCHEDULES[name]
    times = shortened(trailing(10), strength, schedule.levels)
    denoise = denoiser(schedule)
    noise = inverted(denoise, x0, times, schedule, rounds=40)
    back = samplers.euler(denoise, noise, times, schedule)
    torch.testing.assert_close(back, x0, rtol=1e-4, atol=1e-4)
    simple = samplers.euler(denoise, inverted(denoise, x0, times, schedule, rounds=1), times, schedule)
    assert (simple - x0).abs().mean() > 100 * (back - x0).abs().mean()


def test_what_an_image_is_followed_to_is_standard_normal():
    """At t = 1 of many steps the data N(MEAN, STD²) have become N(0, 1)."""
    x0 = torch.randn(20_000, 1, 1, 1, generator=torch.Generator().manual_seed(1)) * STD + MEAN
    schedule = RectifiedFlow()
    noise = inverted(denoiser(schedule), x0, trailing(50), schedule, rounds=20)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.03)
    assert noise.std().item() == pytest.approx(1.0, abs=0.05)  # Euler in 50 steps has 1.03


@pytest.mark.parametrize("sampler", ["ddim", "euler", "heun", "dpmpp_2m", "unipc", "flow_map"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_outside_the_hole_stays_the_image_and_inside_the_data_are_drawn(x0, sampler, name):
    schedule = SCHEDULES[name]
    hole = torch.zeros(4, 1, 4, 4)
    hole[..., :2] = 1
    times, random = trailing(12), torch.Generator().manual_seed(2)
    start = noised(x0, torch.randn(x0.shape, generator=random), times[0], schedule)
    reported = []
    found = getattr(samplers, sampler)(
        held(denoiser(schedule), x0, hole), start, times, schedule, report=lambda *told: reported.append(told)
    )
    torch.testing.assert_close(found[..., 2:], x0[..., 2:])
    assert (found[..., :2] - x0[..., :2]).abs().mean() > 0.1
    alone = getattr(samplers, sampler)(denoiser(schedule), start, times, schedule)
    torch.testing.assert_close(found[..., :2], alone[..., :2])  # this D looks at each place by itself
    _, x, t, estimate = reported[5]
    alpha, sigma = schedule(t)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(x[..., 2:], (alpha * x0 + sigma * noise)[..., 2:], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(estimate[..., 2:], x0[..., 2:])


def test_a_grid_begins_at_the_strength_and_keeps_the_times_below():
    assert shortened(trailing(4), 1.0).tolist() == trailing(4).tolist()
    assert shortened(trailing(4), 0.75).tolist() == [0.75, 0.5, 0.25, 0.0]
    torch.testing.assert_close(shortened(trailing(4), 0.3), torch.tensor([0.3, 0.25, 0.0]))
    torch.testing.assert_close(shortened(trailing(4), 0.3004, 1000), torch.tensor([0.3, 0.25, 0.0]))
    torch.testing.assert_close(shortened(trailing(4), 1e-5, 1000), torch.tensor([0.001, 0.0]))


def test_no_two_times_of_a_shortened_grid_are_one_level():
    # 2/3 is no thousandth: it lies below 0.667 and is of its level, so that the first step would have no length
    times = shortened(trailing(30), 0.667, 1000)
    steps = (times * 1000).round().long()
    assert (steps.diff() < 0).all()
    torch.testing.assert_close(times[:2], torch.tensor([0.667, 19 / 30]))


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "unipc", "heun"])
def test_a_path_from_any_thousandth_stays_finite(x0, sampler):
    schedule = LinearBeta()
    times = shortened(trailing(30), 0.667, schedule.levels)
    start = noised(x0, torch.randn(x0.shape), times[0], schedule)
    found = getattr(samplers, sampler)(lambda x, t: 0.5 * x, start, times, schedule)
    assert torch.isfinite(found).all()


def test_noised_at_both_ends(x0):
    noise = torch.randn(x0.shape)
    assert torch.equal(noised(x0, noise, torch.tensor(1.0), RectifiedFlow()), noise)
    assert torch.equal(noised(x0, noise, torch.tensor(0.0), RectifiedFlow()), x0)
