"""The learning rate of the stages that have one for all that trains."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from test_distill import distilling

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.noise_levels import Uniform
from cxr_ldm.diffusion.scaling import Velocity
from cxr_ldm.diffusion.schedules import RectifiedFlow
from cxr_ldm.diffusion.uncertainty import LogVariance
from cxr_ldm.diffusion.weighting import Unit
from cxr_ldm.networks.classifier import Classifier
from cxr_ldm.networks.upscaler import Upscaler
from cxr_ldm.stages.classifier import ClassifierStage
from cxr_ldm.stages.upscaler import UpscalerStage

RATES = (partial(torch.optim.AdamW, lr=3e-3), 2, 0.1, 0)


def upscaler(_):
    denoiser = Denoiser(Upscaler(8, 1, 2, 0.1, 0.5), RectifiedFlow(), Velocity())
    stage = UpscalerStage(denoiser, DiffusionLoss(Uniform(), Unit(), LogVariance(4)), *RATES)
    return stage, stage


def classifier(_):
    stage = ClassifierStage(Classifier(["bright"], channels=[8], blocks=1, groups=4), *RATES)
    return stage, stage


def student(folder):
    stage, _ = distilling(folder)
    return stage, stage.denoiser


@pytest.mark.parametrize("make", [upscaler, classifier, student])
def test_all_that_trains_does_so_at_the_rate_that_was_asked_for(make, tmp_path):
    """Up to it in two steps, down to a tenth of it in the rest."""
    stage, learns = make(tmp_path)
    stage._trainer = SimpleNamespace(estimated_stepping_batches=10)
    made = stage.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    held = {id(weights) for group in optimizer.param_groups for weights in group["params"]}
    assert held == {id(weights) for weights in learns.parameters()}
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    (rates,) = zip(*rates, strict=True)
    assert rates[:3] == pytest.approx((1.5e-3, 3e-3, 3e-3), rel=0.05)
    assert list(rates[2:]) == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(3e-4, rel=0.5)
