"""A worse generator must be ranked worse by the metric that should see it: on real radiographs, made worse on purpose.

The perfect generator is real images of other patients. Shuffled prompts are the business of the classifier's tests.
"""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from cxr_ldm.metrics.copies.extraction import attempt
from cxr_ldm.metrics.copies.memorisation import feature_copy_metrics, near_copy_metrics, search, search_features
from cxr_ldm.metrics.distances.coverage import coverage
from cxr_ldm.metrics.distances.frechet import frechet_distance
from cxr_ldm.metrics.distances.kernel import kernel_distance
from cxr_ldm.metrics.features.efficientnet import EfficientNetLite0, extract
from cxr_ldm.metrics.images.diversity import pairwise_ssim
from cxr_ldm.metrics.images.looks import relative_distance, values_of

pytestmark = [pytest.mark.real, pytest.mark.campaign]
SIZE, COUNT = 64, 110


def gaussian_blur(images, sigma):
    blurred = np.stack([cv2.GaussianBlur(each, (0, 0), sigma) for each in images[:, 0].numpy()])
    return torch.from_numpy(blurred)[:, None]


@pytest.fixture(scope="module")
def images(shared):
    """Real, perfect, training: one image of each patient, no patient twice; and the perfect ones made worse."""
    folder = shared / "nih_cxr"
    table = pd.read_csv(folder / "Data_Entry_2017.csv").drop_duplicates("Patient ID").sort_values("Image Index")
    names = np.random.default_rng(0).permutation(table["Image Index"].to_numpy())[: 3 * COUNT]
    read = [cv2.imread(str(folder / "images" / name), cv2.IMREAD_GRAYSCALE) for name in names]
    small = np.stack([cv2.resize(each, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for each in read])
    real, perfect, training = (torch.from_numpy(small).float()[:, None] / 127.5 - 1).split(COUNT)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(perfect.shape, generator=generator)
    return {
        "real": real,
        "perfect": perfect,
        "training": training,
        "noise": (perfect + 0.15 * noise).clamp(-1, 1),
        "blur": F.avg_pool2d(F.pad(perfect, (1, 1, 1, 1), mode="replicate"), 3, 1),
        "collapse": (perfect[:4].repeat(-(-COUNT // 4), 1, 1, 1)[:COUNT] + 0.01 * noise).clamp(-1, 1),
        "copies": (0.97 * training + 0.003 * noise).clamp(-1, 1),
        # as 1.5 pixels of 96
        "blurred copies": gaussian_blur(training, 1.0),
    }


@pytest.fixture(scope="module")
def features(images):
    network = EfficientNetLite0()
    return {name: extract(network, pixels.split(32)) for name, pixels in images.items()}


@pytest.mark.parametrize("kind", ["noise", "blur", "collapse"])
def test_distances_of_features_rank_noise_blur_and_collapse_worse(features, kind):
    for distance in (frechet_distance, kernel_distance):
        good, bad = (distance(features["real"], features[name]) for name in ("perfect", kind))
        assert bad > 1.5 * good


@pytest.mark.parametrize("kind", ["noise", "blur"])
def test_image_statistics_rank_noise_and_blur_worse(images, kind):
    values = {name: values_of([images[name]])["sharpness"] for name in ("real", "perfect", kind)}
    good, bad = (relative_distance(values[name], values["real"]) for name in ("perfect", kind))
    assert bad > good + 0.3


def test_recall_coverage_and_similarity_of_pairs_see_a_collapse(images, features):
    good, bad = (coverage(features["real"], features[name]) for name in ("perfect", "collapse"))
    assert bad.recall < 0.5 * good.recall
    assert bad.coverage < 0.5 * good.coverage
    assert pairwise_ssim(images["collapse"], 100).mean() > pairwise_ssim(images["perfect"], 100).mean() + 0.1


def test_copies_of_training_images_are_seen_by_the_search_and_by_no_distance(images, features):
    for name, expected in (("perfect", 0), ("copies", 1), ("blurred copies", 1)):
        near = search(images[name], images["real"], [images["training"]])
        metrics = near_copy_metrics(near, {})
        assert metrics["near_copies"].value == expected * COUNT
        if name != "blurred copies":  # an ImageNet network takes blur for another thing
            far = search_features(features[name], features["real"], [features["training"]])
            metrics |= feature_copy_metrics(far, {"extractor": "net"})
            assert metrics["feature_copies_net"].value == expected * COUNT
        for space in ("pixels", "net") if name != "blurred copies" else ("pixels",):
            assert metrics[f"copies_excess_{space}"].value == pytest.approx(expected, abs=0.05)
            shares = metrics[f"nearer_to_training_{space}"]
            assert shares.value == 1 if expected else 0.4 < shares.value < 0.6
            for metric in (shares, metrics[f"copies_excess_{space}"]):
                assert (metric.settings["p_value"] <= 0.01) == (expected == 1)
    # what FID and KID cannot see: training images are as good as any others
    assert kernel_distance(features["real"], features["copies"]) < kernel_distance(features["real"], features["blur"])


def test_training_images_are_got_out_of_a_generator_that_returns_them_and_of_no_other(images):
    for name, expected in (("training", True), ("perfect", False)):
        found = attempt(
            lambda prompts, seeds, name=name: images[name][[int(prompt) for prompt in prompts]],
            [str(i) for i in range(10)],
            3,
            images["real"],
            [images["training"]],
        )
        assert found.extracted.tolist() == [expected] * 10
