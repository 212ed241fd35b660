"""Precision, recall, density and coverage against a plain version, closed cases and what theory expects."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances import coverage as module
from cxr_ldm.metrics.distances.coverage import coverage


def cloud(n, width, seed, shift=0.0, scale=1.0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, width)) * scale + shift)


def plain(real, generated, k):
    """All distances at once, by differences in float64, as the papers write it."""
    real, generated = real.numpy(), generated.numpy()
    reach = [np.sort(cdist(each, each), axis=1)[:, k] for each in (real, generated)]  # place 0 is the image itself
    across = cdist(real, generated)
    in_real, in_generated = across <= reach[0][:, None], across <= reach[1]
    return {
        "precision": in_real.any(0).mean(),
        "recall": in_generated.any(1).mean(),
        "density": in_real.sum(0).mean() / k,
        "coverage": in_real.any(1).mean(),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(
    ("one", "two"),
    [
        (cloud(90, 6, 1), cloud(70, 6, 2, shift=0.4)),
        (cloud(60, 200, 1), cloud(80, 200, 2, scale=0.9)),
        (cloud(60, 20, 1, shift=1e4), cloud(60, 20, 2, shift=1e4)),  # cancels all digits of float32
        (cloud(60, 8, 1, scale=1e-4, shift=30), cloud(60, 8, 2, scale=2e-4, shift=30)),
        (torch.cat([cloud(50, 8, 1), cloud(10, 8, 9, scale=1e-6)]), cloud(60, 8, 2, shift=300)),  # far from the middle
    ],
    ids=["few", "many", "offset", "small", "mixed"],
)
def test_it_is_the_plain_version_whatever_the_scale_and_the_blocks(one, two, k, monkeypatch):
    expected = pytest.approx(plain(one, two, k), abs=1e-12)
    assert vars(coverage(one, two, k)) == expected
    monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(module, "PAIRS", 5)
    assert vars(coverage(one, two, k)) == expected


def test_points_of_a_grid_lie_on_the_balls_and_count():
    # Distances on a grid are equal in masses, which float32 could decide either way; all numbers are exact in float64.
    axis = torch.arange(6, dtype=torch.float64) + 1000
    grid = torch.cartesian_prod(axis, axis)
    for k in (1, 4):
        assert vars(coverage(grid, grid + 1, k)) == pytest.approx(plain(grid, grid + 1, k), abs=1e-12)


def test_identical_sets_have_everything_and_disjoint_ones_nothing():
    one = cloud(50, 16, 1)
    same = coverage(one, one[torch.randperm(50)], 5)
    # Each ball holds its own image and the 5 neighbours that define it.
    assert vars(same) == {"precision": 1.0, "recall": 1.0, "density": pytest.approx(6 / 5), "coverage": 1.0}
    assert set(vars(coverage(one, one + 100, 5)).values()) == {0.0}


def test_a_collapsed_generator_has_precision_and_no_recall():
    real = cloud(300, 8, 1)
    collapsed = real[:1] + 1e-3 * cloud(300, 8, 2)
    found = coverage(real, collapsed, 5)
    assert found.precision == 1.0
    assert found.recall <= 0.01
    assert found.coverage < 0.05
    assert found.density >= 1


def test_duplicates_have_balls_of_no_size_which_hold_each_other():
    # All radii and the distances of copies are 0; float32 gives noise on both sides of it.
    real = cloud(4, 64, 1, shift=50).repeat_interleave(10, 0)
    found = coverage(real, real[::2], 4)
    assert vars(found) == {"precision": 1.0, "recall": 1.0, "density": pytest.approx(10 / 4), "coverage": 1.0}


def test_expectations_for_two_sets_of_one_distribution():
    n, k = 1000, 5
    found = [coverage(cloud(n, 12, 2 * seed), cloud(n, 12, 2 * seed + 1), k) for seed in range(10)]
    # Naeem et al. 2020, section 3.4: E density = 1, E coverage = 1 - Π (n - i) / (2n - i).
    assert np.mean([each.density for each in found]) == pytest.approx(1, abs=0.03)
    expected = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    assert np.mean([each.coverage for each in found]) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("one", "two", "k", "word"),
    [
        (cloud(5, 3, 1), cloud(9, 3, 1), 5, "5 real and 9 generated images; each must be more than the 5 neighbours"),
        (cloud(5, 3, 1), cloud(9, 3, 1), 0, "neighbours at least 1"),
        (cloud(9, 4, 1), cloud(9, 3, 1), 2, "do not match"),
        (cloud(9, 3, 1) * torch.nan, cloud(9, 3, 1), 2, "NaN"),
    ],
)
def test_bad_input_is_one_sentence(one, two, k, word):
    with pytest.raises(UserError, match=word):
        coverage(one, two, k)
