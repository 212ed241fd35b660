"""Adherence: the measure must agree with what was drawn, on pictures that it was not calibrated on."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm

from cxr_ldm.data.phantom import draw_findings, load_image
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.adherence import EFFUSION, PhantomAdherence, rate

SIZE = 64


def collection(indices, size=SIZE):
    images = np.stack([load_image(0, index, size) for index in indices])
    findings = [[{"name": f.name, "side": f.side} for f in draw_findings(0, index)] for index in indices]
    return torch.from_numpy(images).float()[:, None] / 127.5 - 1, findings


@pytest.fixture(scope="module")
def train():
    return collection(range(300))


@pytest.fixture(scope="module")
def test_set():
    return collection(range(300, 800))


@pytest.fixture(scope="module")
def adherence(train):
    measure = PhantomAdherence()
    measure.calibrate(*train)
    return measure


def test_real_images_of_other_patients_reach_the_ceiling(adherence, test_set):
    metrics = adherence.ceiling(*test_set)
    assert metrics["adherence_finding_real"].value >= 0.97
    assert metrics["adherence_side_real"].value >= 0.97
    assert metrics["adherence_finding_real_all"].value >= 0.97
    assert metrics["adherence_side_real_all"].value >= 0.95
    assert metrics["adherence_finding_real_all"].n == 500


def test_consolidation_is_not_taken_for_fluid(adherence, test_set):
    pixels, findings = test_set
    chosen = [i for i, each in enumerate(findings) if [f["name"] for f in each] == ["consolidation"]]
    present, _ = adherence.measure(pixels[chosen])
    assert len(chosen) > 30
    assert present.float().mean() < 0.05


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 0.6 * x - 0.2,
        lambda x: ((x + 1) / 2) ** 1.4 * 2 - 1,
        lambda x: (x + 0.08 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1),
        lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1),
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    ],
    ids=["contrast", "exposure", "noise", "blur", "size"],
)
def test_it_does_not_depend_on_exposure_noise_sharpness_or_size(adherence, test_set, change):
    pixels, findings = test_set
    metrics = adherence.ceiling(change(pixels), findings)
    assert metrics["adherence_finding_real"].value >= 0.95
    assert metrics["adherence_side_real"].value >= 0.95


def test_a_mirror_image_shows_the_other_side(adherence, test_set):
    pixels, findings = test_set
    chosen = [i for i, each in enumerate(findings) if [f["name"] for f in each] == [EFFUSION]]
    _, sides = adherence.measure(pixels[chosen].flip(3))
    assert np.mean([side != findings[i][0]["side"] for side, i in zip(sides, chosen, strict=True)]) > 0.95


def test_rates_of_a_perfect_a_mirrored_and_a_deaf_generator(adherence, test_set):
    pixels, findings = test_set
    alone = {
        name: pixels[[i for i, each in enumerate(findings) if [(f["name"], f["side"]) for f in each] == wanted][:16]]
        for name, wanted in {
            "right pleural effusion": [(EFFUSION, "right")],
            "left pleural effusion": [(EFFUSION, "left")],
            "normal": [],
        }.items()
    }
    perfect = adherence.rates(alone)
    assert perfect["adherence_finding"].value == 1.0
    assert perfect["adherence_side"].value == 1.0
    assert perfect["adherence_finding"].n == 48
    assert perfect["adherence_side"].n == 32
    swapped = {**alone, "right pleural effusion": alone["left pleural effusion"]}
    assert adherence.rates(swapped)["adherence_side"].value == 0.5
    deaf = adherence.rates(dict.fromkeys(alone, alone["normal"]))
    assert deaf["adherence_finding"].value == pytest.approx(1 / 3)
    assert deaf["adherence_side"].value == 0.0


def test_wilson_interval_is_the_closed_form():
    hits, n, z = 57, 64, norm.ppf(0.975)
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    metric = rate([True] * hits + [False] * (n - hits))
    assert metric.ci95 == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_bad_input_is_one_sentence(adherence, train):
    pixels, findings = train
    with pytest.raises(UserError, match="calibrate"):
        PhantomAdherence().measure(pixels[:2])
    normal = [i for i, each in enumerate(findings) if not each]
    with pytest.raises(UserError, match="both kinds"):
        PhantomAdherence().calibrate(pixels[normal], [[] for _ in normal])
    with pytest.raises(UserError, match="do not match"):
        PhantomAdherence().calibrate(pixels, findings[:3])
    with pytest.raises(UserError, match="the prompts are"):
        adherence.rates({"fracture": pixels[:2]})
    with pytest.raises(UserError, match="N, 1, H, W"):
        adherence.measure(pixels[:2, 0])
