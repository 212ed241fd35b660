"""Adherence: the measure must agree with what was drawn, on pictures that it was not calibrated on."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm

from cxr_ldm.data.phantom.reader import draw_findings, load_image
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.faithfulness import lung_floor
from cxr_ldm.metrics.faithfulness.adherence import (
    EFFUSION,
    NO_CHEST,
    PhantomAdherence,
    chance,
    finding_shown,
    rate,
    side_shown,
)

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


def test_real_images_of_other_patients_show_what_they_say(adherence, test_set):
    metrics = adherence.of_real(*test_set)
    assert metrics["adherence_finding_real"].value >= 0.97
    assert metrics["adherence_side_real"].value >= 0.97
    assert metrics["adherence_finding_real_all"].value >= 0.97
    assert metrics["adherence_side_real_all"].value >= 0.95
    assert metrics["adherence_finding_real_all"].n == 500


def test_consolidation_is_not_taken_for_fluid(adherence, test_set):
    pixels, findings = test_set
    chosen = [i for i, each in enumerate(findings) if [f["name"] for f in each] == ["consolidation"]]
    sides = adherence.measure(pixels[chosen])
    assert len(chosen) > 30
    assert np.mean([side is not None for side in sides]) < 0.05


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
    metrics = adherence.of_real(change(pixels), findings)
    assert metrics["adherence_finding_real"].value >= 0.95
    assert metrics["adherence_side_real"].value >= 0.95


def test_a_mirror_image_shows_the_other_side(adherence, test_set):
    pixels, findings = test_set
    chosen = [i for i, each in enumerate(findings) if [f["name"] for f in each] == [EFFUSION]]
    sides = adherence.measure(pixels[chosen].flip(3))
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


def noise(grain, n=200):
    pixels = torch.randn(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(grain))
    if grain:
        pixels = F.interpolate(F.avg_pool2d(pixels, grain), size=SIZE, mode="bilinear") * grain
    return (0.4 * pixels).clamp(-1, 1)


def gradients():
    axis, angles = torch.linspace(-1, 1, SIZE), torch.linspace(0, 2 * torch.pi, 25)[:-1]
    return torch.stack([(a.cos() * axis + a.sin() * axis[:, None]) / 1.5 for a in angles])[:, None]


@pytest.mark.parametrize(
    "pixels",
    [torch.full((3, 1, SIZE, SIZE), -0.2), gradients(), noise(0), noise(2), noise(8), noise(16), noise(32)],
    ids=["blank", "gradient", "white noise", "grain 2", "grain 8", "grain 16", "grain 32"],
)
def test_a_picture_without_lungs_is_never_right(adherence, pixels):
    assert set(adherence.measure(pixels)) == {NO_CHEST}
    metrics = adherence.rates(dict.fromkeys(adherence.prompts, pixels))
    assert metrics["adherence_finding"].value == 0.0
    assert metrics["adherence_side"].value == 0.0
    assert metrics["adherence_finding"].settings["without_lungs"] == 3 * len(pixels)


def test_no_real_phantom_is_taken_for_a_picture_without_lungs(adherence, test_set):
    metrics = adherence.of_real(*test_set)
    assert metrics["adherence_finding_real_all"].settings["without_lungs"] == 0


def test_chance_is_what_shuffled_texts_get(adherence, test_set):
    pixels, findings = test_set
    stated = adherence.of_real(pixels, findings)["adherence_finding_real_all"].settings["chance"]
    seen, wanted = adherence.measure(pixels), [adherence.asked(said) for said in findings]
    random = np.random.default_rng(0)
    dealt = [
        np.mean([finding_shown(wanted[i], side) for i, side in zip(order, seen, strict=True)])
        for order in (random.permutation(len(wanted)) for _ in range(200))
    ]
    assert stated == pytest.approx(np.mean(dealt), abs=0.01)
    assert chance(side_shown, ["right", "left", "left"], ["right", "left", "left"]) == pytest.approx(5 / 9)


def test_wilson_interval_is_the_closed_form():
    hits, n, z = 57, 64, norm.ppf(0.975)
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    metric = rate([True] * hits + [False] * (n - hits), "images")
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


@pytest.mark.parametrize("sign", [1, -1])
def test_the_lung_floor_is_read_in_a_narrow_strip(sign):
    """Of three columns near each other two are deep, and the one beyond these, which is shallow, does not count."""
    x, y = torch.linspace(-1, 1, 256)[None, :] * sign, torch.linspace(-1, 1, 256)[:, None]
    lung = (y < torch.where((x > -0.03) & (x < 0.12), 0.5, -0.1)).double()
    at = torch.tensor([0.0], dtype=torch.float64)
    assert lung_floor._floor((1 - 2 * lung)[None, None], at).item() == pytest.approx(0.5, abs=0.06)
