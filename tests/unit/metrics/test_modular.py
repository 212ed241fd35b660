"""The torchmetrics classes are the functional core, fed in batches and gathered over processes."""

import pickle

import pytest
import torch
from torch import nn

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances.coverage import coverage
from cxr_ldm.metrics.distances.frechet import frechet_distance
from cxr_ldm.metrics.distances.kernel import kernel_distance
from cxr_ldm.metrics.modular import FrechetDistance, KernelDistance, PrecisionRecallDensityCoverage

CLASSES = {
    FrechetDistance: frechet_distance,
    KernelDistance: kernel_distance,
    PrecisionRecallDensityCoverage: lambda one, two: vars(coverage(one, two)),
}


class Corners(nn.Module):
    """A tiny extractor: the means of the four quarters."""

    def forward(self, pixels):
        return nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(1)


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(n, 1, 8, 8, generator=generator) * 2 - 1 for n in (40, 30)]


def fed(metric, images, size):
    for real, each in zip((True, False), images, strict=True):
        for batch in each.split(size):
            metric.update(batch, real=real)
    return metric


@pytest.mark.parametrize(("kind", "function"), CLASSES.items())
def test_a_class_is_its_function_whatever_the_batches_and_the_processes(kind, function, images):
    expected = pytest.approx(function(*(Corners()(each).double() for each in images)), rel=1e-6)
    for size in (40, 7):
        assert fed(kind(Corners()), images, size).compute() == expected
    halves = [fed(kind(Corners()), [each[part] for each in images], 9) for part in (slice(15), slice(15, None))]
    halves[0].merge_state(halves[1])
    assert halves[0].compute() == expected
    assert pickle.loads(pickle.dumps(halves[0])).compute() == expected
    assert fed(kind(), [Corners()(each) for each in images], 40).compute() == expected


@pytest.mark.parametrize("kind", CLASSES)
def test_what_is_missing_is_said_and_reset_forgets(kind, images):
    metric = kind(Corners())
    metric.update(images[0], real=True)
    with pytest.raises(UserError, match="no generated images"):
        metric.sets()
    metric.update(images[1], real=False)
    metric.compute()
    metric.reset()
    with pytest.raises(UserError, match="no real images"):
        metric.sets()


def test_only_features_are_kept(images):
    metric = FrechetDistance(Corners())
    metric.update(images[0], real=True)
    assert [part.shape for part in metric.real_features] == [(40, 4)]
    assert metric.real_features[0].dtype == torch.float64
