"""Own-worded prompts say what they are meant to say, and the figures are those of images that follow them or do not."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.metrics.faithfulness.judged import Judged
from cxr_ldm.metrics.faithfulness.own_prompts import own_auroc, own_prompts, own_real, own_side
from cxr_ldm.metrics.faithfulness.own_words import NORMAL, OWN_WORDS, SIDED, of_side
from cxr_ldm.metrics.results import Metric

CLASSES = ["cardiomegaly", "no finding", "pneumonia", "pneumonia right", "pneumonia left"]


def test_every_wording_is_read_as_its_finding_and_side_and_as_nothing_else():
    for name, wordings in OWN_WORDS.items():
        assert len(set(wordings)) == 5
        for text in wordings:
            said = [(each["name"], each["certainty"], each["side"]) for each in read_findings(text)]
            assert said == ([] if name == "emphysema" else [(name, "present", None)]), text  # which only labels say
    for text in NORMAL:
        assert [each["name"] for each in read_findings(text) if each["certainty"] == "present"] == ["no finding"], text
    for name in SIDED:
        for side in ("right", "left"):
            for text in of_side(name, side):
                said = [(each["name"], each["certainty"], each["side"]) for each in read_findings(text)]
                assert said == [(name, "present", side)]


def test_prompts_are_cycled_and_no_seed_is_used_twice():
    asked = own_prompts(CLASSES, 7)
    kinds = [(each.name, each.side) for each in asked]
    expected = ["no finding", "cardiomegaly", "pneumonia"]
    assert kinds == [(name, None) for name in expected for _ in range(7)] + [
        ("pneumonia", side) for side in ("right", "left") for _ in range(7)
    ]
    assert len({each.seed for each in asked}) == len(asked)
    assert [each.prompt for each in asked if each.name == "cardiomegaly"][5:] == list(OWN_WORDS["cardiomegaly"][:2])
    alone = {each.prompt: each.seed for each in own_prompts(["pneumonia"], 5)}
    assert all(each.seed == alone[each.prompt] for each in asked[14:19])  # whatever else the classifier knows


def seen(asked, strength):
    """Probabilities of a classifier that sees what was asked for, or at 0 strength nothing."""
    random = np.random.default_rng(0)
    truth = np.array(
        [[each.name == name or f"{each.name} {each.side}" == name for name in CLASSES] for each in asked], dtype=float
    )
    return 1 / (1 + np.exp(-(strength * truth + random.standard_normal(truth.shape))))


def test_auroc_is_scikit_learns_on_the_images_of_the_finding_and_of_normal_prompts():
    asked = own_prompts(CLASSES, 60)
    metrics = own_auroc(asked, seen(asked, 1.5), CLASSES, {})
    rows = [i for i, each in enumerate(asked) if each.side is None and each.name in ("pneumonia", "no finding")]
    truth = [asked[row].name == "pneumonia" for row in rows]
    metric = metrics["auroc_own_pneumonia"]
    assert metric.value == pytest.approx(roc_auc_score(truth, seen(asked, 1.5)[rows, 2]), abs=1e-12)
    assert metric.ci95[0] < metric.value < metric.ci95[1]
    assert metrics["auroc_own_mean"].value == pytest.approx(
        (metric.value + metrics["auroc_own_cardiomegaly"].value) / 2
    )
    assert "atelectasis" in metrics["auroc_own_mean"].settings["unknown_to_the_judge"]
    blind = own_auroc(asked, np.full((len(asked), 5), 0.5), CLASSES, {})
    assert blind["auroc_own_mean"].value == 0.5


def test_the_side_is_judged_only_where_the_classifier_tells_it_on_real_images():
    asked = own_prompts(CLASSES, 60)
    able = Metric(0.8, 50, True, ci95=(0.7, 0.9))
    metric = own_side(asked, seen(asked, 4.0), CLASSES, able, {})["side_own"]
    assert metric.n == 120
    assert metric.value > 0.95
    assert metric.settings["judged"]
    swapped = seen(asked, 4.0)[:, [0, 1, 2, 4, 3]]
    assert own_side(asked, swapped, CLASSES, able, {})["side_own"].value == pytest.approx(1 - metric.value)
    for real, why in ((None, "too few real"), (Metric(0.6, 50, True, ci95=(0.45, 0.75)), "0.450 to 0.750")):
        unable = own_side(asked, seen(asked, 4.0), CLASSES, real, {})["side_own"]
        assert unable.ci95 is None
        assert not unable.settings["judged"]
        assert why in unable.reason


def test_real_images_stand_beside_as_the_generated_ones_do_against_normal():
    random = np.random.default_rng(1)
    n = 400
    kind = random.choice(3, n)  # normal, pneumonia, other
    targets = np.stack([kind == 0, kind == 1], axis=1).astype(float)
    scores = np.stack([kind == 0, (kind == 1) * 2.0 + (kind == 2)], axis=1) + random.standard_normal((n, 2))
    names = [str(i) for i in range(n)]
    real = Judged(["no finding", "pneumonia"], scores, targets, np.array([0.3, 0.3]), names, names, np.full(n, "x"))
    metric = own_real(real, {})["auroc_own_pneumonia_real"]
    two = kind != 2
    assert metric.value == pytest.approx(roc_auc_score(kind[two] == 1, scores[two, 1]))
    counts = [metric.settings[key] for key in ("shown", "not_shown")]
    assert counts == [(kind == 1).sum(), (kind == 0).sum()]
    assert metric.ci95[0] < metric.value < metric.ci95[1]
    found = own_real(real, {})
    assert found.keys() == {"auroc_own_pneumonia_real", "auroc_own_mean_real"}
    assert found["auroc_own_mean_real"].value == pytest.approx(metric.value)
    asked = own_prompts(CLASSES, 60)
    beside = own_auroc(asked, seen(asked, 1.5), CLASSES, {}, real=found)
    assert beside["auroc_own_mean"].value == beside["auroc_own_pneumonia"].value  # cardiomegaly has no figure beside
    assert beside["auroc_own_mean"].settings["without_real_images"] == ["cardiomegaly"]
    assert beside["auroc_own_mean"].n == 120
    unable = replace(real, classes=["edema", "pneumonia"])
    assert own_real(unable, {}) == {}  # no image is known to be normal
