"""Contrast, sharpness and entropy against OpenCV, Pillow, scikit-image, numpy; their distance against closed forms."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.measure import shannon_entropy

from cxr_ldm.errors import UserError
from cxr_ldm.imaging.contrast import entropy, michelson_contrast, rms_contrast, sharpness
from cxr_ldm.metrics.images.looks import relative_distance, statistics_metrics, values_of
from cxr_ldm.metrics.statistics import spread
from cxr_ldm.report.terminal import meaning


def pictures(n=6, size=64, seed=0, noise=0.1):
    random = np.random.default_rng(seed)
    ramp = np.linspace(-0.8, 0.6, size)
    bumps = random.uniform(0.4, 1, (n, 1, 1, 1)) * ramp[:, None] * ramp[None] + random.uniform(-0.3, 0.3, (n, 1, 1, 1))
    values = bumps + noise * random.standard_normal((n, 1, size, size))
    return torch.from_numpy(np.clip(values, -1, 1)).float()


def levels(pixels):
    """8-bit grey levels, not rounded, [N, H, W]."""
    return ((pixels[:, 0].double() + 1) * 127.5).numpy()


def test_sharpness_is_opencvs_laplacian_at_its_resolution():
    for size, side in ((64, 64), (256, 256)):
        pixels = pictures(size=size)
        expected = [cv2.Laplacian(each, cv2.CV_64F).var() for each in levels(pixels)]
        np.testing.assert_allclose(sharpness(pixels, side), expected, rtol=1e-9)
    assert (sharpness(pictures(size=96)) < sharpness(pictures(size=96), 96)).all()  # enlarged is blurred


def test_another_size_is_brought_to_the_resolution_as_pillow_does_it():
    for size in (128, 40):
        pixels = pictures(size=size)
        pictures_64 = [Image.fromarray(each.astype(np.float32)) for each in levels(pixels)]
        resized = [np.asarray(each.resize((64, 64), Image.Resampling.BILINEAR), np.float64) for each in pictures_64]
        expected = [cv2.Laplacian(each, cv2.CV_64F).var() for each in resized]
        np.testing.assert_allclose(sharpness(pixels, 64), expected, rtol=1e-4)


def test_entropy_is_scikit_images_of_8_bit_levels():
    pixels = pictures()
    expected = [shannon_entropy(np.rint(each).astype(np.uint8)) for each in levels(pixels)]
    np.testing.assert_allclose(entropy(pixels), expected, rtol=1e-12)
    every = (torch.arange(256.0) / 127.5 - 1).view(1, 1, 16, 16)
    assert entropy(every).item() == pytest.approx(8.0)
    assert entropy(torch.zeros(1, 1, 8, 8)).item() == 0


def test_contrasts_are_numpys():
    pixels = pictures()
    grey = levels(pixels).reshape(len(pixels), -1) / 255
    low, high = np.percentile(grey, [5, 95], axis=1)
    np.testing.assert_allclose(michelson_contrast(pixels), (high - low) / (high + low), rtol=1e-6)
    np.testing.assert_allclose(rms_contrast(pixels), grey.std(1), rtol=1e-9)
    for flat in (-1.0, 0.3):
        picture = torch.full((1, 1, 8, 8), flat)
        assert michelson_contrast(picture).item() == rms_contrast(picture).item() == 0


@pytest.mark.parametrize(
    ("pixels", "word"),
    [
        (torch.zeros(2, 3, 8, 8), "N, 1, H, W"),
        (torch.full((1, 1, 8, 8), 128.0), "outside"),
        (torch.full((1, 1, 8, 8), torch.nan), "NaN"),
    ],
)
def test_bad_pixels_are_refused(pixels, word):
    for measure in (michelson_contrast, rms_contrast, sharpness, entropy):
        with pytest.raises(UserError, match=word):
            measure(pixels)


def test_distance_of_two_samples_is_the_closed_form():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(400))
    assert relative_distance(x, x) == 0
    assert relative_distance(x + 2 * x.std(), x) == pytest.approx(2)
    # Equal counts: the mean distance of sorted values.
    y = torch.from_numpy(np.random.default_rng(1).exponential(size=400))
    expected = float((x.sort().values - y.sort().values).abs().mean() / x.std())
    assert relative_distance(y, x) == pytest.approx(expected)
    with pytest.raises(UserError, match="same value"):
        relative_distance(x, torch.zeros(5))
    with pytest.raises(UserError, match="no image"):
        values_of([])


def test_entries_show_generated_and_real_side_by_side_with_a_distance_and_its_floor():
    real, pool, noisy = pictures(60), pictures(150, seed=1), pictures(60, seed=2, noise=0.25)
    people = [str(i // 2) for i in range(60)]
    sets = [values_of(each.split(16)) for each in (noisy, real, pool)]
    metrics = statistics_metrics(*sets, [str(i) for i in range(150)], (people, people), repeats=3)
    ends = ("", "_of_real", "_distance", "_distance_floor")
    names = ("contrast_michelson", "contrast_rms", "sharpness", "entropy")
    assert metrics.keys() == {name + end for name in names for end in ends}
    assert metrics["sharpness"].value > metrics["sharpness_of_real"].value
    assert metrics["sharpness"].settings["direction"].startswith("neither")
    far = metrics["sharpness_distance"]
    assert far.ci95[0] > metrics["sharpness_distance_floor"].value
    assert far.settings["patients"] == 30
    assert meaning("sharpness_of_real") == "variance of the Laplacian; on the real images"
    few = statistics_metrics(*sets, ["one"] * 150, (people, people))
    assert "sharpness_distance_floor" not in few
    assert "patient-disjoint" in few["sharpness_distance"].settings["floor_reason"]


def test_a_saturated_statistic_has_a_distance_where_one_image_differs_and_none_where_all_are_alike():
    people = [str(i) for i in range(60)]
    values = values_of([pictures(60)])
    saturated = values | {"entropy": torch.ones(60, dtype=torch.float64)}
    metrics = statistics_metrics(values, saturated, values, people, (people, people), repeats=1)
    assert "entropy_distance" not in metrics
    assert metrics["entropy_of_real"].settings["distance"].startswith("none")
    saturated["entropy"][7] = 0.5  # most halves of these 60 have no spread of their own
    metrics = statistics_metrics(values, saturated, values, people, (people, people), repeats=1)
    assert metrics["entropy_distance"].ci95 is not None
    assert metrics["sharpness_distance"].value == 0


def test_the_interval_of_a_distance_covers_its_expectation():
    def draw(seed, shift=0.0):
        return torch.from_numpy(np.random.default_rng(seed).standard_normal(80) + shift)

    pairs = [(draw(2 * i, 0.8), draw(2 * i + 1)) for i in range(1000)]
    values = np.array([relative_distance(*pair) for pair in pairs])
    truth, width = values.mean(), 0.0
    people = [f"g{i}" for i in range(80)], [f"r{i}" for i in range(80)]
    covered = 0
    for one, two in pairs[:60]:
        found = spread(lambda a, b: [relative_distance(a, b)], [one, two], people)
        low, high = found.interval(relative_distance(one, two), low=0.0)
        covered += low <= truth <= high
        width += (high - low) / 60
    assert 0.75 <= width / (2 * 1.96 * values.std()) <= 1.5  # one of any width would hold it, too
    assert covered / 60 >= 0.86
