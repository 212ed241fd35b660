"""Closed forms of training: accumulation is the mean over images, and the optimum of the loss is the exact denoiser."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.noise_levels import Uniform
from cxr_ldm.diffusion.scaling import Velocity, VPrediction
from cxr_ldm.diffusion.schedules import LinearBeta, RectifiedFlow
from cxr_ldm.diffusion.uncertainty import LogVariance
from cxr_ldm.diffusion.weighting import MinSNR, Unit
from cxr_ldm.networks.unet import UNet


def test_the_learnt_variance_reads_random_waves_of_the_level():
    """sqrt(2) cos(2 pi (a w + b)) of a = ln(alpha/sigma) / 4, of mean square 1 (Karras et al. 2024)."""
    learnt = LogVariance(512)
    nn.init.ones_(learnt.linear.weight)
    nn.init.constant_(learnt.linear.bias, 0.5)
    alpha, sigma = torch.tensor([0.9, 0.1]), torch.tensor([0.2, 0.8])
    waves = [
        math.sqrt(2) * np.cos(2 * np.pi * (math.log(a / s) / 4 * learnt.frequencies.numpy() + learnt.phases.numpy()))
        for a, s in zip(alpha.tolist(), sigma.tolist(), strict=True)
    ]
    assert all(abs(np.square(wave).mean() - 1) < 0.1 for wave in waves)
    torch.testing.assert_close(
        learnt(alpha, sigma), torch.tensor([wave.sum() + 0.5 for wave in waves]), atol=1e-3, rtol=0
    )


def test_the_gradient_of_8_batches_of_1_equals_that_of_2_batches_of_4():
    """In float64, to 1e-10 of the largest."""
    torch.manual_seed(0)
    network = UNet(2, 4, channels=[8, 16], blocks=1, attention_levels=[0], middle_attention=True, heads=2, groups=4)
    for parameter in network.double().parameters():
        nn.init.normal_(parameter, std=0.1)
    denoiser, loss = Denoiser(network, RectifiedFlow(), Velocity()), DiffusionLoss(Uniform(), MinSNR())
    data, noise = torch.randn(2, 8, 2, 4, 4, dtype=torch.float64)
    t, context = torch.rand(8, dtype=torch.float64), torch.randn(8, 3, 4, dtype=torch.float64)
    mask = torch.ones(8, 3, dtype=torch.bool)

    def gradients(size):
        network.zero_grad()
        for rows in torch.arange(8).split(size):
            parts = (data[rows], noise[rows], t[rows], context[rows], mask[rows])
            (loss.at(denoiser, *parts).mean() / (8 // size)).backward()
        return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])

    one, four = gradients(1), gradients(4)
    torch.testing.assert_close(one, four, rtol=0, atol=1e-10 * four.abs().max().item())


class Affine(nn.Module):
    """F = a x_t + b at one noise level: the family that holds the exact answer for Gaussian data."""

    def __init__(self):
        super().__init__()
        self.slope, self.offset = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x, label, context, mask):
        return self.slope * x + self.offset


@pytest.mark.parametrize(
    ("schedule", "scaling"), [(RectifiedFlow(), Velocity()), (LinearBeta(zero_terminal=True), VPrediction())]
)
def test_the_loss_is_least_at_the_exact_denoiser(schedule, scaling):
    """For data N(0.7, 0.4²) the minimiser of the loss at t = 0.6 gives E[x_0 | x_t], to 4 % of the data's std."""
    network, mean, std = Affine(), 0.7, 0.4
    denoiser, loss = Denoiser(network, schedule, scaling), DiffusionLoss(Uniform(), Unit())
    random = torch.Generator().manual_seed(0)
    data = mean + std * torch.randn(40_000, 1, 1, 1, generator=random)
    noise, t = torch.randn(data.shape, generator=random), torch.full((len(data),), 0.6)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=50)

    def closure():
        optimizer.zero_grad()
        value = loss.at(denoiser, data, noise, t, None, None).mean()
        value.backward()
        return value

    optimizer.step(closure)
    alpha, sigma = schedule(t[:1])
    x = torch.linspace(-1.0, 1.5, 7)[:, None, None, None]
    expected = mean + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (x - alpha * mean)
    with torch.no_grad():
        torch.testing.assert_close(denoiser(x, t[:7], None, None), expected, rtol=0, atol=0.04 * std)


def test_the_learnt_log_variance_is_the_log_of_the_loss_at_every_level():
    """A silent network's velocity loss is 2 w(t) on data of unit variance. u starts at 0: the plain loss."""
    levels, learnt = Uniform(), LogVariance()
    denoiser = Denoiser(Affine().requires_grad_(False), RectifiedFlow(), Velocity())
    loss, plain = DiffusionLoss(levels, MinSNR(5.0), learnt), DiffusionLoss(levels, MinSNR(5.0))
    data = torch.randn(512, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    first = [each(denoiser, data, None, None, torch.Generator().manual_seed(1)).item() for each in (loss, plain)]
    assert first[0] == first[1]
    optimizer = torch.optim.Adam(learnt.parameters(), lr=0.02)
    random = torch.Generator().manual_seed(2)
    for _ in range(300):
        optimizer.zero_grad()
        loss(denoiser, data, None, None, random).backward()
        optimizer.step()
    t = torch.linspace(0.1, 0.9, 9)
    expected = (2.0 * plain.weights(denoiser, t)).log()
    assert expected.max() - expected.min() > 2
    torch.testing.assert_close(learnt(*denoiser.schedule(t)), expected, rtol=0, atol=0.15)
