"""The paired comparison of adherence: it must see which of two sets shows the finding, and which on the right side."""

import numpy as np
import pytest
import torch

from cxr_ldm.data.phantom.reader import draw_findings, load_image
from cxr_ldm.evaluation.adherence import Adherence
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.compare import adherence_differences
from cxr_ldm.metrics.distances.paired import corrected
from cxr_ldm.metrics.faithfulness.adherence import EFFUSION, PhantomAdherence
from cxr_ldm.metrics.results import Metric
from cxr_ldm.report.terminal import significance

TRAIN, TEST = np.arange(200), np.arange(200, 320)


class Phantoms:
    """Stands for a prepared folder of phantoms, two images of each patient."""

    def __init__(self):
        self.findings = [
            [{"name": each.name, "side": each.side} for each in draw_findings(0, index)] for index in range(320)
        ]

    def column(self, name):
        return np.array([*self.findings, None], dtype=object)[:-1]

    def rows(self, split):
        return TRAIN

    def pixels(self, rows):
        images = np.stack([load_image(0, int(row), 64) for row in rows])
        return torch.from_numpy(images).float()[:, None] / 127.5 - 1

    def patients(self, rows):
        return [str(row // 2) for row in rows]


@pytest.fixture(scope="module")
def phantoms():
    return Phantoms()


@pytest.fixture(scope="module")
def adherence(phantoms):
    return Adherence(PhantomAdherence(), Collection(phantoms, "test"))


def test_mirrored_images_show_the_finding_as_often_and_on_the_wrong_side(phantoms, adherence):
    real = phantoms.pixels(TEST)
    metrics = adherence_differences(adherence, TEST, [real, real.flip(3)], {})
    side, finding = metrics["adherence_side_texts_difference"], metrics["adherence_finding_texts_difference"]
    named = [any(each["name"] == EFFUSION for each in phantoms.findings[row]) for row in TEST]
    assert (side.n, finding.n) == (sum(named), len(TEST))
    assert side.value == 1.0  # so every draw of the bootstrap is 1, and there is no interval
    assert (side.ci95, side.reason) == (None, "all draws of the bootstrap give the same value")
    assert side.settings["p_value"] < 0.001
    assert abs(finding.value) < 0.1
    assert finding.settings["p_value"] > 0.05


def test_a_set_against_itself_has_no_difference_and_a_side_that_nobody_names_is_left_out(phantoms, adherence):
    real = phantoms.pixels(TEST)
    metrics = adherence_differences(adherence, TEST, [real, real], {})
    assert [(each.value, each.settings["p_value"]) for each in metrics.values()] == [(0.0, 1.0)] * 2
    healthy = np.array([row for row in TEST if not phantoms.findings[row]])
    images = phantoms.pixels(healthy)
    assert list(adherence_differences(adherence, healthy, [images, images], {})) == [
        "adherence_finding_texts_difference"
    ]


def test_holms_correction_is_the_step_down_rule_and_stands_in_words_beside_p():
    metrics = {
        f"m{place}": Metric(0.1, 9, True, ci95=(0.0, 0.2), settings={"p_value": p}, over="patients")
        for place, p in enumerate([0.01, 0.04, 0.03, 0.005])
    } | {"count": Metric(3, 9, True, reason="a count")}
    found = corrected(metrics)
    # by hand: 4 · 0.005, 3 · 0.01, 2 · 0.03, and 0.04 may not fall below the one before it
    assert [found[f"m{place}"].settings["p_value_holm"] for place in range(4)] == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )
    assert "p_value_holm" not in found["count"].settings
    assert significance(found["m1"].settings) == ", p = 0.0400 (0.0600 by Holm, 4 tests)"
    assert corrected({"one": metrics["m0"]})["one"].settings["p_value_holm"] == 0.01
