"""FID, KID, SSIM and PSNR against outside witnesses: closed forms, scipy, numpy, torchmetrics, scikit-image."""

import numpy as np
import pytest
import scipy.linalg
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances import (
    distance_metrics,
    floors,
    frechet_distance,
    kernel_distance,
    kernel_distance_error,
    torchmetrics_frechet_distance,
)
from cxr_ldm.metrics.reconstruction import mean_over_patients, metrics_of_values, psnr, reconstruction_metrics, ssim


def features(n, width, seed, shift=0.0, scale=1.0):
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((width, width)) / width**0.5
    return torch.from_numpy(random.standard_normal((n, width)) @ mixing * scale + shift)


def scipy_frechet(one, two):
    one, two = one.numpy(), two.numpy()
    first, second = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    mean = one.mean(0) - two.mean(0)
    return mean @ mean + np.trace(first) + np.trace(second) - 2 * np.trace(root)


def numpy_kid(one, two):
    one, two = one.numpy(), two.numpy()

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(one), len(two)
    own, other = kernel(one, one), kernel(two, two)
    first = (own.sum() - np.trace(own)) / (n * (n - 1))
    second = (other.sum() - np.trace(other)) / (m * (m - 1))
    return first + second - 2 * kernel(one, two).mean()


@pytest.mark.parametrize(("n", "m", "width"), [(400, 300, 64), (40, 50, 64), (40, 300, 64)])
def test_frechet_distance_is_scipys(n, m, width):
    one, two = features(n, width, 1), features(m, width, 2, shift=0.1, scale=1.3)
    # scipy's own square root of a singular product is good to about 1e-6.
    assert frechet_distance(one, two) == pytest.approx(scipy_frechet(one, two), abs=1e-6 if min(n, m) > width else 2e-5)


def test_frechet_distance_is_the_closed_form_of_commuting_covariances():
    # With diagonal covariances the distance is Σ (μ1 - μ2)² + (σ1 - σ2)². These 2·D points have exactly such ones.
    width = 32
    first, second = np.linspace(0.1, 2, width), np.linspace(3, 0.2, width)
    mean = np.linspace(-1, 1, width)

    def points(deviation, middle):
        spread = np.diag(deviation * ((2 * width - 1) / 2) ** 0.5)
        return torch.from_numpy(np.concatenate([spread, -spread]) + middle)

    expected = (mean**2).sum() + ((first - second) ** 2).sum()
    assert frechet_distance(points(first, 0), points(second, mean)) == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_is_zero_on_identical_sets_and_never_negative():
    for n in (20, 200):
        one = features(n, 64, 1) * 10
        assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
        assert frechet_distance(one, one[torch.randperm(n)]) == pytest.approx(0, abs=1e-9)
    assert all(frechet_distance(features(9, 64, seed), features(9, 64, seed) + 1e-9) >= 0 for seed in range(20))


def test_frechet_distance_is_torchmetrics_within_its_rounding():
    for n in (40, 300):
        one, two = features(n, 64, 1), features(n, 64, 2, shift=0.1)
        assert frechet_distance(one, two) == pytest.approx(torchmetrics_frechet_distance(one, two), abs=1e-4)


def test_kernel_distance_is_the_closed_form():
    one, two = features(80, 32, 1), features(80, 32, 2, shift=0.2)
    mean, deviation = kernel_distance(one, two, subset_size=80, subsets=1)
    assert mean == pytest.approx(numpy_kid(one, two), rel=1e-10)
    assert deviation == 0
    mean, deviation = kernel_distance(one, two, subset_size=40, subsets=60)
    assert mean == pytest.approx(numpy_kid(one, two), abs=4 * deviation / 60**0.5)


def test_kernel_distance_depends_on_its_seed_alone():
    one, two = features(60, 16, 1), features(60, 16, 2)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = kernel_distance(one, two, 30, 5, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert kernel_distance(one, two, 30, 5, seed=3) == first
    assert kernel_distance(one, two, 30, 5, seed=4) != first


def test_jackknife_error_is_the_spread_over_repeated_draws():
    values, errors = [], []
    for seed in range(150):
        one, two = features(60, 8, 2 * seed + 1), features(50, 8, 2 * seed + 2, shift=0.4)
        values.append(numpy_kid(one, two))
        errors.append(kernel_distance_error(one, two))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.2)


def test_jackknife_error_is_leaving_out_one_at_a_time():
    one, two = features(12, 5, 1), features(9, 5, 2, shift=0.3)
    variance = 0.0
    for n, left_out in (
        (12, [numpy_kid(one[torch.arange(12) != i], two) for i in range(12)]),
        (9, [numpy_kid(one, two[torch.arange(9) != i]) for i in range(9)]),
    ):
        variance += (n - 1) / n * ((left_out - np.mean(left_out)) ** 2).sum()
    assert kernel_distance_error(one, two) == pytest.approx(variance**0.5, rel=1e-9)


def test_floors_use_disjoint_patients_and_fall_with_n():
    # Each patient's images are one point: were a patient on both sides, the distance would show it.
    patients = [str(i // 4) for i in range(400)]
    base = features(400, 16, 1)
    small = floors(base, patients, 40, repeats=3, kid_subset=40, subsets=1)
    large = floors(base, patients, 180, repeats=3, kid_subset=180, subsets=1)
    assert np.mean(large.fid) < np.mean(small.fid)
    assert abs(np.mean(large.kid)) < 0.05
    two = torch.cat([torch.zeros(10, 4), torch.ones(10, 4)]).double()
    apart = floors(two, ["a"] * 10 + ["b"] * 10, 10, repeats=2, kid_subset=10, subsets=1)
    assert apart.fid == pytest.approx((4.0, 4.0))
    assert floors(base, patients, 40, 2, 7, kid_subset=40, subsets=1) == floors(
        base, patients, 40, 2, 7, kid_subset=40, subsets=1
    )


@pytest.mark.parametrize(("patients", "n"), [([str(i) for i in range(30)], 16), (["one"] * 30, 10)])
def test_too_few_patients_give_a_reason(patients, n):
    found = floors(features(30, 8, 1), patients, n, kid_subset=n, subsets=1)
    assert found.fid == ()
    assert "patient-disjoint" in found.reason


def test_distance_entries():
    pool, generated = features(200, 16, 1), features(90, 16, 2, shift=0.5)
    patients = [str(i) for i in range(200)]
    metrics = distance_metrics(pool[:90], generated, pool, patients, {"extractor": "net"}, repeats=4)
    names = {"fid_net", "kid_net", "fid_net_floor", "kid_net_floor", "fid_net_ratio", "kid_net_difference"}
    assert metrics.keys() == names
    assert all(metric.n == 90 for metric in metrics.values())
    assert metrics["fid_net_ratio"].value == pytest.approx(metrics["fid_net"].value / metrics["fid_net_floor"].value)
    assert metrics["fid_net_ratio"].value > 2
    assert metrics["kid_net_difference"].ci95[0] > 0
    without = distance_metrics(pool[:90], generated, pool[:100], patients[:100], {"extractor": "net"})
    assert without.keys() == {"fid_net", "kid_net"}
    assert "patient-disjoint" in without["fid_net"].settings["floor_reason"]


@pytest.mark.parametrize(
    ("one", "two", "word"),
    [
        (torch.zeros(1, 4), torch.zeros(5, 4), "at least 2"),
        (torch.zeros(5, 4), torch.zeros(5, 3), "do not match"),
        (torch.zeros(5, 4), torch.full((5, 4), torch.nan), "NaN"),
    ],
)
def test_bad_features_are_refused(one, two, word):
    with pytest.raises(UserError, match=word):
        frechet_distance(one, two)
    with pytest.raises(UserError, match=word):
        kernel_distance(one, two, 2, 1)


def pairs(n=4, size=48):
    random = np.random.default_rng(0)
    ramp = np.linspace(-1, 1, size)
    original = np.clip(ramp[:, None] * ramp[None] + 0.2 * random.standard_normal((n, 1, size, size)), -1, 1)
    return np.clip(original + 0.1 * random.standard_normal(original.shape), -1, 1), original


def test_ssim_and_psnr_are_scikit_images():
    made, original = pairs()
    made, original = (np.concatenate([each, 0.01 * each - 0.98]) for each in (made, original))  # nearly black ones too
    options = {"data_range": 2.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [structural_similarity(b[0], a[0], **options) for a, b in zip(made, original, strict=True)]
    found = ssim(torch.from_numpy(made), torch.from_numpy(original))
    # The same 11×11 window and the same border left out; the tolerance is that of float32 against float64.
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-5)
    expected = [peak_signal_noise_ratio(b, a, data_range=2.0) for a, b in zip(made, original, strict=True)]
    np.testing.assert_allclose(psnr(torch.from_numpy(made), torch.from_numpy(original)).numpy(), expected, atol=1e-9)


def test_reconstruction_entries_do_not_depend_on_batches_and_state_their_range():
    made, original = (torch.from_numpy(each) for each in pairs())
    patients = ["a", "a", "b", "c"]
    whole = reconstruction_metrics(made, original, patients)
    parts = {"ssim": torch.cat([ssim(a, b) for a, b in zip(made.split(1), original.split(1), strict=True)])}
    assert metrics_of_values(parts, patients)["ssim"].value == pytest.approx(whole["ssim"].value, abs=1e-12)
    assert whole["psnr"].settings["data_range"] == 2.0
    assert whole["psnr"].settings["patients"] == 3
    with pytest.raises(UserError, match="not finite"):
        reconstruction_metrics(original, original, patients)
    with pytest.raises(UserError, match="do not match"):
        ssim(made, original[:2])
    with pytest.raises(UserError, match="window of 11"):
        ssim(made[..., :8], original[..., :8])


def test_patient_bootstrap_covers_the_truth_at_its_rate():
    covered = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        values = torch.from_numpy((random.standard_normal((60, 1)) + 0.3 * random.standard_normal((60, 3))).ravel())
        low, high = mean_over_patients(values, [str(i // 3) for i in range(180)], {}, seed=seed).ci95
        covered += low <= 0 <= high
    assert 0.90 <= covered / 200 <= 0.98
