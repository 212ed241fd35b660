"""The picture stays what it was, whatever the weights; tiles leave no seam; nothing beyond the reach is looked at."""

import pytest
import torch

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.diffusion.scaling import Velocity
from cxr_ldm.diffusion.schedules import RectifiedFlow
from cxr_ldm.imaging.enlarging import enlarged
from cxr_ldm.networks.upscaler import (
    Block,
    Tiled,
    Upscaler,
    interpolated,
    mean_of_squares,
    repeated,
    strength_of,
    without_mean,
)


def random_upscaler(factor, blocks=2, grain=0.1, texture=0.5):
    torch.manual_seed(factor)
    network = Upscaler(8, blocks, factor, grain, texture).double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def smooth(side, factor, contrast=1.0):
    """Two small pictures, and noise at the large size."""
    made = torch.Generator().manual_seed(0)
    coarse = contrast * (torch.rand(2, 1, 4, 4, generator=made, dtype=torch.float64) - 0.5)
    small = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return small, torch.randn(2, 1, side * factor, side * factor, generator=made, dtype=torch.float64)


@pytest.mark.parametrize("contrast", [1.0, 8.0])  # the second has black and white places, where grain has no room
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_averaged_down_it_is_the_small_picture(factor, contrast):
    small = smooth(12, factor, contrast)[0].clamp(-1, 1)
    denoiser = Denoiser(random_upscaler(factor), RectifiedFlow(), Velocity())
    large = enlarged(denoiser, small, [1, 2], Sampling(3))
    assert large.shape == (2, 1, 12 * factor, 12 * factor)
    assert large.abs().max() <= 1 + 1e-7
    assert torch.allclose(mean_of_squares(large, factor), small, atol=1e-7)
    assert (large - repeated(small, factor)).abs().mean() > 0.01  # and it is not the small picture repeated
    assert torch.allclose(enlarged(denoiser, small[1:], [2], Sampling(3)), large[1:], atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_a_picture_is_its_small_one_and_its_detail(factor):
    large = (smooth(12, factor)[1] / 3).clamp(-1, 1)
    network = random_upscaler(factor, 2, *strength_of(large, factor))
    small, detail = network.detail_of(large)
    assert torch.allclose(network.enlarge(small, detail), large)
    assert mean_of_squares(detail, factor).abs().max() < 1e-12


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("tile", [7, 16])
def test_tiles_are_the_whole(factor, tile):
    small, noise = smooth(40, factor)
    network, label = random_upscaler(factor), torch.tensor([0.3, 0.7], dtype=torch.float64)
    whole = network(noise, label, small)
    assert torch.allclose(Tiled(network, tile)(noise, label, small), whole, atol=1e-12)
    assert whole.std() > 1e-3


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_no_pixel_beyond_the_reach_is_looked_at(factor):
    small, noise = smooth(41, factor)
    network, middle, label = random_upscaler(factor), 20, torch.tensor([0.5, 0.5], dtype=torch.float64)
    other = small.clone()
    other[..., middle, middle] += 1.0
    changed = (network(noise, label, other) - network(noise, label, small)).abs().amax(dim=(0, 1)) > 0
    rows = changed.any(dim=1).nonzero()[:, 0] // factor
    assert max(middle - rows.min(), rows.max() - middle) == network.reach


def test_means_of_the_noise_count_for_nothing():
    small, noise = smooth(12, 4)
    network, label = random_upscaler(4), torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert torch.allclose(network(noise, label, small), network(without_mean(noise, 4), label, small))


def test_one_step_of_a_flow_that_knows_the_mean_draws_it():
    """At t = 1 the direction of the best flow is noise less the mean of what may be drawn (here: of no detail)."""
    small, _ = smooth(12, 4)

    class Best(Upscaler):
        def forward(self, detail, label, small, mask=None):
            return without_mean(detail, self.factor)

    denoiser = Denoiser(Best(8, 1, 4).double(), RectifiedFlow(), Velocity())
    drawn = enlarged(denoiser, small, [1, 2], Sampling(1))
    cubic = interpolated(small, 4)
    assert torch.allclose(drawn, cubic + repeated(small - mean_of_squares(cubic, 4), 4), atol=1e-6)


def test_a_block_adds_what_two_convolutions_make_scaled_and_shifted_by_the_time():
    block = Block(4, 6).double()
    for weights in block.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    x, time = torch.randn(2, 4, 5, 5, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    asked = time @ block.modulation.weight.T + block.modulation.bias
    scale, shift = asked[:, :4, None, None], asked[:, 4:, None, None]
    silu = torch.nn.functional.silu
    change = block.conv2(silu(block.conv1(silu(x)) * (1 + scale) + shift))
    torch.testing.assert_close(block(x, time), x + change, rtol=1e-12, atol=1e-12)


def test_the_strength_of_detail_is_measured():
    """Detail of 0.01 of grain, and half of a contrast that is nothing in the leftmost tenth and grows."""
    made = torch.Generator().manual_seed(1)
    rough = torch.rand(2, 1, 64, 64, generator=made, dtype=torch.float64) - 0.5
    small = rough * torch.linspace(-0.1, 0.9, 64, dtype=torch.float64).clamp(min=0)
    network = random_upscaler(4, grain=0.01, texture=0.5)
    detail = without_mean(torch.randn(2, 1, 256, 256, generator=made, dtype=torch.float64), 4) * (16 / 15) ** 0.5
    grain, texture = strength_of(network.enlarge(small, detail), 4)
    assert abs(grain / 0.01 - 1) < 0.1
    assert abs(texture / 0.5 - 1) < 0.1
