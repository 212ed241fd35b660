"""FID and KID against outside witnesses: closed forms, scipy, numpy, torchmetrics."""

from statistics import stdev

import numpy as np
import pytest
import scipy.linalg
import torch

from cxr_ldm.benchmark.torchmetrics_peers import torchmetrics_frechet_distance, torchmetrics_kernel_distance
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances import kernel
from cxr_ldm.metrics.distances.coverage import coverage
from cxr_ldm.metrics.distances.floors import distance_metrics, floors
from cxr_ldm.metrics.distances.frechet import covariance_settings, frechet_distance
from cxr_ldm.metrics.distances.kernel import kernel_distance, kernel_jackknife


def features(n, width, seed, shift=0.0, scale=1.0):
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((width, width)) / width**0.5
    return torch.from_numpy(random.standard_normal((n, width)) @ mixing * scale + shift)


def people(n, m):
    """Every image its own patient."""
    return [f"real {i}" for i in range(n)], [f"generated {i}" for i in range(m)]


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


def test_both_ways_to_the_trace_agree_and_a_nearly_singular_covariance_takes_the_exact_one():
    base = features(400, 32, 1)
    flat = base * torch.logspace(0, -9, 32, dtype=torch.float64)  # variances down to 1e-18 of the largest
    for one, two in ((base, features(300, 32, 2)), (flat, flat + 0.5)):
        # Turned by a rotation and with a constant feature beside them, the same sets have a singular covariance.
        turned = [torch.cat([each, torch.zeros(len(each), 1, dtype=torch.float64)], dim=1) for each in (one, two)]
        assert frechet_distance(one, two) == pytest.approx(frechet_distance(*turned), abs=1e-9)
    assert frechet_distance(flat, flat + 0.5) == pytest.approx(32 * 0.25, abs=1e-9)


def test_too_few_images_for_a_covariance_are_said_to_be():
    assert "rank" not in covariance_settings(65, 64)
    assert covariance_settings(64, 64)["rank"] == "covariance of rank 63 < 64; read KID first"


@pytest.mark.parametrize(("n", "m"), [(80, 80), (80, 50)])
def test_kernel_distance_is_the_closed_form_in_any_blocks(n, m, monkeypatch):
    one, two = features(n, 32, 1), features(m, 32, 2, shift=0.2)
    expected = pytest.approx(numpy_kid(one, two), rel=1e-10)
    assert kernel_distance(one, two) == expected
    monkeypatch.setattr(kernel, "BLOCK", 17)
    assert kernel_distance(one, two) == expected
    assert kernel_jackknife(one, two, *people(n, m)).value == expected


def test_kernel_distance_is_torchmetrics():
    one, two = features(80, 32, 1), features(80, 32, 2, shift=0.2)
    mean, deviation = torchmetrics_kernel_distance(one, two, subset_size=80, subsets=1)
    assert kernel_distance(one, two) == pytest.approx(mean, rel=1e-10)
    assert deviation == 0
    mean, deviation = torchmetrics_kernel_distance(one, two, subset_size=40, subsets=60)
    assert kernel_distance(one, two) == pytest.approx(mean, abs=4 * deviation / 60**0.5)
    with pytest.raises(UserError, match="fewer than subset_size=90"):
        torchmetrics_kernel_distance(one, two, subset_size=90)


def test_torchmetrics_subsets_leave_the_global_generator_alone():
    one, two = features(60, 16, 1), features(60, 16, 2)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = torchmetrics_kernel_distance(one, two, 30, 5, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torchmetrics_kernel_distance(one, two, 30, 5, seed=3) == first


def test_jackknife_error_is_the_spread_over_repeated_draws():
    values, errors = [], []
    for seed in range(150):
        one, two = features(60, 8, 2 * seed + 1), features(50, 8, 2 * seed + 2, shift=0.4)
        values.append(numpy_kid(one, two))
        errors.append(kernel_jackknife(one, two, *people(60, 50)).error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.2)


def test_jackknife_over_patients_sees_that_images_of_one_patient_are_alike():
    values, errors, naive = [], [], []
    for seed in range(150):
        (one, two) = (features(24, 8, 2 * seed + i, shift=0.4 * i).repeat_interleave(3, 0) for i in (1, 2))
        values.append(numpy_kid(one, two))
        patients = [f"{side}{i // 3}" for side in "rg" for i in range(72)]
        errors.append(kernel_jackknife(one, two, patients[:72], patients[72:]).error)
        naive.append(kernel_jackknife(one, two, *people(72, 72)).error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.2)
    assert np.mean(naive) < 0.7 * np.std(values)


def test_jackknife_is_leaving_out_one_patient_at_a_time(monkeypatch):
    monkeypatch.setattr(kernel, "BLOCK", 5)
    one, two = features(12, 5, 1), features(9, 5, 2, shift=0.3)
    real, generated = list("aabbccddeefg"), list("abcdhhijk")  # a to d are on both sides
    found = kernel_jackknife(one, two, real, generated)
    variance = 0.0
    for stratum in ("abcd", "efg", "hijk"):
        left_out = []
        for name in stratum:
            keep = [torch.tensor([each != name for each in group]) for group in (real, generated)]
            left_out.append(numpy_kid(one[keep[0]], two[keep[1]]))
        np.testing.assert_allclose(found.without[["abcdefghijk".index(name) for name in stratum]], left_out, rtol=1e-9)
        variance += (len(stratum) - 1) / len(stratum) * ((left_out - np.mean(left_out)) ** 2).sum()
    assert found.error == pytest.approx(variance**0.5, rel=1e-9)
    assert kernel_jackknife(one, two, ["a"] * 12, generated).error is None


def test_floors_use_disjoint_patients_and_fall_with_n():
    # Each patient's images are one point: were a patient on both sides, the distance would show it.
    patients = [str(i // 4) for i in range(400)]
    base = features(400, 16, 1)
    small = floors(base, patients, 40, repeats=3)
    large = floors(base, patients, 180, repeats=3)
    assert np.mean(large.values["fid"]) < np.mean(small.values["fid"])
    assert abs(np.mean(large.values["kid"])) < 0.05
    two = torch.cat([torch.zeros(10, 4), torch.ones(10, 4)]).double()
    apart = floors(two, ["a"] * 10 + ["b"] * 10, 10, repeats=2)
    assert apart.values["fid"] == pytest.approx((4.0, 4.0))
    assert apart.values["precision"] == apart.values["coverage"] == (0.0, 0.0)
    assert floors(base, patients, 40, 2, 7) == floors(base, patients, 40, 2, 7)


@pytest.mark.parametrize(("patients", "n"), [([str(i) for i in range(30)], 16), (["one"] * 30, 10)])
def test_too_few_patients_give_a_reason(patients, n):
    found = floors(features(30, 8, 1), patients, n)
    assert found.values == {}
    assert "patient-disjoint" in found.reason


KINDS = ("fid", "kid", "precision", "recall", "density", "coverage")


def test_distance_entries():
    pool, generated = features(200, 16, 1), features(90, 16, 2, shift=0.5)
    patients = [str(i) for i in range(200)]
    metrics = distance_metrics(pool[:90], generated, pool, patients, {"extractor": "net"}, repeats=4)
    splits = floors(pool, patients, 90, repeats=4).values["kid"]
    stated = metrics["kid_net_floor"].settings
    assert stated["standard_deviation"] == pytest.approx(stdev(splits))
    assert stated["standard_error"] == pytest.approx(stdev(splits) / 2)
    names = {f"{kind}_net{end}" for kind in KINDS for end in ("", "_floor")} | {"fid_net_ratio", "kid_net_difference"}
    assert metrics.keys() == names
    assert all(metric.n == 90 for metric in metrics.values())
    ratio, fid = metrics["fid_net_ratio"], metrics["fid_net"]
    assert ratio.value == pytest.approx(fid.value / metrics["fid_net_floor"].value)
    assert 2 < ratio.ci95[0] < ratio.value < ratio.ci95[1]
    assert metrics["kid_net_difference"].ci95[0] > 0
    assert fid.ci95[0] < fid.value < fid.ci95[1]
    for kind in KINDS[2:]:
        assert metrics[f"{kind}_net"].value < metrics[f"{kind}_net_floor"].value
        assert metrics[f"{kind}_net"].higher_is_better
        assert 0 <= metrics[f"{kind}_net"].ci95[0] <= metrics[f"{kind}_net"].value
    without = distance_metrics(pool[:90], generated, pool[:100], patients[:100], {"extractor": "net"})
    assert without.keys() == {f"{kind}_net" for kind in KINDS}
    assert "patient-disjoint" in without["fid_net"].settings["floor_reason"]


def test_a_recall_of_nothing_in_every_half_has_no_interval_of_no_width():
    real = features(60, 16, 1)
    arguments = real, real[:1] + 1e-3 * features(60, 16, 2) + 100, real, [str(i) for i in range(60)]
    metrics = distance_metrics(*arguments, {"extractor": "net"})
    assert metrics["recall_net"].value == 0
    assert metrics["recall_net"].ci95 is None
    assert metrics["recall_net"].reason.startswith("all halves gave the same value")
    assert metrics["fid_net"].ci95 is not None


def test_patients_decide_the_intervals_of_distances_and_few_of_them_give_none():
    pool, generated = features(200, 16, 1), features(90, 16, 2, shift=0.5)
    everyone, asked = [str(i) for i in range(200)], [str(i // 3) for i in range(90)]
    arguments = pool[:90], generated, pool, everyone, {"extractor": "net"}
    metrics = distance_metrics(*arguments, patients=(asked, asked), repeats=1)
    assert metrics["fid_net"].settings["patients"] == 30
    assert metrics["fid_net"].settings["drawn"] == "patients"
    few = [str(i // 10) for i in range(90)]
    metrics = distance_metrics(*arguments, patients=(few, few), repeats=1)
    for kind in ("fid", *KINDS[2:]):
        assert metrics[f"{kind}_net"].ci95 is None
        assert metrics[f"{kind}_net"].reason == "9 patients on a side; subsampling needs at least 20"
    one = ["one"] * 90
    metrics = distance_metrics(*arguments, patients=(one, one), repeats=1)
    assert metrics["kid_net"].ci95 is metrics["kid_net_difference"].ci95 is None
    few_images = distance_metrics(pool[:20], generated, pool, everyone, {"extractor": "net"}, neighbours=10)
    assert few_images["fid_net"].reason == "halves of 20 images are fewer than the 11 that are needed"


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
        kernel_distance(one, two)
    with pytest.raises(UserError, match=word):
        coverage(one, two, 1)
