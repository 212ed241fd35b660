"""Larger pictures by a network: of any size, marked with what made them, and refused where they are none."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cxr_ldm.bundle import save_bundle
from cxr_ldm.diffusion.scaling import Velocity
from cxr_ldm.diffusion.schedules import RectifiedFlow
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.enlarging import Enlarger, where_a_lung_is, without_model
from cxr_ldm.imaging.finish import Finish
from cxr_ldm.networks.upscaler import Upscaler


@pytest.fixture(scope="module")
def enlarger(tmp_path_factory):
    torch.manual_seed(0)
    sizes = {"channels": 8, "blocks": 1, "factor": 2, "grain": 0.03, "texture": 0.0}
    parts = {"upscaler": Upscaler(**sizes), "schedule": RectifiedFlow(), "scaling": Velocity()}
    specs = {"upscaler": {"part": "Upscaler", **sizes}, "schedule": {"part": "RectifiedFlow"}}
    place = tmp_path_factory.mktemp("bundles") / "twice"
    save_bundle(place, "upscaler", specs | {"scaling": {"part": "Velocity"}}, parts, {"size": 32})
    return Enlarger.load(place, "twice")


def picture(seed=0, side=16):
    smooth = np.random.default_rng(seed).random((4, 4))
    return cv2.resize(smooth, (side, side), interpolation=cv2.INTER_CUBIC).clip(0.1, 0.9)


@pytest.mark.parametrize("side", [32, 64])
def test_every_size_averages_down_to_the_picture(enlarger, side):
    large = enlarger(picture(), side)
    assert large.shape == (side, side)
    assert np.abs(cv2.resize(large, (16, 16), interpolation=cv2.INTER_AREA) - picture()).max() < 1e-5


def test_between_its_sizes_it_averages_the_next_larger_one(enlarger):
    expected = cv2.resize(enlarger(picture(), 64), (48, 48), interpolation=cv2.INTER_AREA)
    assert np.allclose(enlarger(picture(), 48), expected)


def test_soft_pictures_may_be_averaged_before(enlarger):
    crisp = replace(enlarger, start=16)
    large = np.repeat(np.repeat(picture(), 2, axis=0), 2, axis=1)
    assert np.array_equal(crisp(large, 64), enlarger(picture(), 64))
    assert np.array_equal(crisp(picture(side=16), 32), enlarger(picture(), 32))
    assert crisp.facts()["from"] == 16
    assert (crisp.side(32), crisp.side(8), enlarger.side(32)) == (32, 16, 64)
    with pytest.raises(UserError, match="upscale_from=8 must be 16 pixels or more"):
        replace(enlarger, start=8)


def test_a_picture_has_its_own_grain_and_always_the_same(enlarger):
    assert np.array_equal(enlarger(picture(), 32), enlarger(picture(), 32))
    detail = [enlarger(picture(seed), 32) - cv2.resize(picture(seed), (32, 32)) for seed in (0, 1)]
    assert np.abs(detail[0] - detail[1]).max() > 1e-3


def test_a_finish_takes_it_and_says_so(enlarger):
    pixels = torch.from_numpy(picture()).float()[None, None] * 2 - 1
    four_times = Finish(enlarger=enlarger)
    assert four_times(pixels).shape == (1, 1, 32, 32)
    assert four_times.facts() == {"upscale": {"name": "twice", "bundle_sha256": enlarger.sha256, "steps": 10}}
    drawn, cubic = Finish(resolution=64, enlarger=enlarger)(pixels), Finish(resolution=64)(pixels)
    assert drawn.shape == cubic.shape
    assert not torch.allclose(drawn, cubic, atol=1e-3)


def test_what_is_no_enlargement_is_refused(enlarger):
    with pytest.raises(UserError, match="resolution=16 is no more than the 16 pixels of this model"):
        Finish(resolution=16, enlarger=enlarger).check_size(16)
    with pytest.raises(UserError, match="6000 pixels a side are too many"):
        Finish(enlarger=enlarger).check_size(3000)
    Finish(resolution=32, enlarger=enlarger).check_size(16)


def test_what_a_lung_shows_is_kept_whole_where_a_picture_is_small():
    numbers = torch.arange(120.0).view(1, 1, 12, 10)
    assert torch.equal(where_a_lung_is(numbers, 6), numbers[..., 2:8, 1:7])
    assert torch.equal(where_a_lung_is(numbers, 64), numbers[..., :10, :10])


def test_interpolation_stays_within_black_and_white_where_an_edge_would_swing_beyond():
    edge = torch.ones(1, 1, 8, 8)
    edge[..., :4] = -1.0
    large = without_model(edge, 4)
    assert large.shape == (1, 1, 32, 32)
    assert (large.min(), large.max()) == (-1.0, 1.0)
    torch.testing.assert_close(large[..., 0, :8], -torch.ones(1, 1, 8))
