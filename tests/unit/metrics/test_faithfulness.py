"""Does the image say what its prompt said? The measure must see it where they do, and see it where they do not."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxr_ldm.metrics.faithfulness.judged import Judged, auroc_differences, faithfulness, weighted_medians
from cxr_ldm.metrics.faithfulness.retrieval import evidence, rank_prompts

NAN = np.nan
CLASSES = ["edema", "nodule", "nodule right", "nodule left"]


def judged(n=300, strength=3.0, seed=0) -> Judged:
    """Images whose probabilities follow what their texts say; 0 strength ignores them."""
    random = np.random.default_rng(seed)
    edema, side = random.random(n) < 0.3, random.choice(3, n, p=[0.5, 0.35, 0.15])
    truth = np.stack([edema, side > 0, side == 1, side == 2], axis=1).astype(float)
    prevalence = np.array([0.3, 0.5, 0.35, 0.15])
    logits = np.log(prevalence / (1 - prevalence)) + strength * (truth - prevalence)
    logits += min(strength, 1.0) * random.standard_normal(truth.shape)
    texts = [f"edema {int(e)}, nodule {s}, seen on day {day}" for e, s, day in zip(edema, side, range(n), strict=True)]
    patients = [f"p{i // 2}" for i in range(n)]
    return Judged(CLASSES, 1 / (1 + np.exp(-logits)), truth, prevalence, texts, patients, np.full(n, "phantom"))


def shuffled(images: Judged, seed=1) -> Judged:
    """The same images beside the prompts of others."""
    order = np.random.default_rng(seed).permutation(len(images.texts))
    return replace(images, probabilities=images.probabilities[order])


def test_auroc_of_each_finding_is_scikit_learns_and_the_mean_is_over_findings():
    images = judged()
    metrics = faithfulness(images, {})
    for place, name in enumerate(["auroc_edema", "auroc_nodule", "auroc_nodule_right", "auroc_nodule_left"]):
        expected = roc_auc_score(images.targets[:, place], images.probabilities[:, place])
        assert metrics[name].value == pytest.approx(expected, abs=1e-12)
        low, high = metrics[name].ci95
        assert low < expected < high
    assert metrics["auroc_mean"].value == pytest.approx(
        (metrics["auroc_edema"].value + metrics["auroc_nodule"].value) / 2
    )
    assert metrics["auroc_mean"].settings["findings"] == ["edema", "nodule"]


def test_shuffled_prompts_are_ranked_worse_by_every_figure():
    images = judged()
    right, wrong = faithfulness(images, {}), faithfulness(shuffled(images), {})
    assert right.keys() == wrong.keys()
    for name, metric in right.items():
        ends, others = metric.ci95, wrong[name].ci95
        assert ends[0] > others[1] if metric.higher_is_better else ends[1] < others[0], name


def test_images_that_ignore_their_prompts_get_exactly_chance():
    """Whatever they show: here one image for all, which says that a nodule on the right is the most probable."""
    images = judged()
    blind = replace(images, probabilities=np.tile(images.probabilities[:1], (300, 1)))
    metrics = faithfulness(blind, {})
    assert metrics["auroc_mean"].value == 0.5
    assert metrics["side_accuracy"].value == pytest.approx(0.5)
    for top in (1, 5):
        metric = metrics[f"prompt_retrieval_top{top}"]
        assert metric.value == pytest.approx(metric.settings["chance"])
    assert metrics["prompt_retrieval_median_rank"].settings["chance"] == pytest.approx(50.5)  # of a hundred
    always_right = replace(blind, probabilities=np.tile([0.1, 0.9, 0.9, 0.1], (300, 1)))
    assert faithfulness(always_right, {})["side_accuracy"].value == pytest.approx(0.5)
    assert faithfulness(blind, {})["auroc_edema"].ci95 is None  # no spread is no interval
    assert "same value" in faithfulness(blind, {})["auroc_edema"].reason


def test_a_mirrored_generator_loses_the_side_and_nothing_else():
    images = judged()
    mirrored = replace(images, probabilities=images.probabilities[:, [0, 1, 3, 2]])
    right, wrong = faithfulness(images, {}), faithfulness(mirrored, {})
    assert right["side_accuracy"].value > 0.9
    assert wrong["side_accuracy"].value == pytest.approx(1 - right["side_accuracy"].value)
    assert wrong["auroc_mean"].value == right["auroc_mean"].value


def test_findings_of_few_patients_are_left_out_and_named():
    images = judged()
    targets = images.targets.copy()
    targets[:, 0] = 0.0
    targets[:18, 0] = 1.0  # 18 images of 9 patients
    metrics = faithfulness(replace(images, targets=targets), {}, "_real")
    assert "auroc_edema_real" not in metrics
    assert metrics["auroc_mean_real"].settings["fewer_patients"] == {
        "than": 10,
        "classes": ["edema"],
        "shown": {"edema": (18, 300)},
    }


def test_telling_two_sources_apart_is_no_seeing():
    images = judged(strength=0.0)
    sources = np.where(np.arange(300) < 150, "adults", "children")
    targets, probabilities = images.targets.copy(), images.probabilities.copy()
    random = np.random.default_rng(3)
    targets[:, 0] = random.random(300) < np.where(sources == "adults", 0.1, 0.9)
    probabilities[:, 0] = 0.5 * (sources == "children") + 0.1 * random.random(300)
    metric = faithfulness(replace(images, targets=targets, probabilities=probabilities, sources=sources), {})[
        "auroc_edema"
    ]
    assert metric.value == pytest.approx(0.5, abs=0.15)
    assert metric.settings["over_all_pairs"] > 0.85
    assert metric.settings["by_source"].keys() == {"adults", "children"}


def test_unknown_targets_do_not_count():
    images = judged()
    targets = images.targets.copy()
    targets[::2, 0] = NAN
    metric = faithfulness(replace(images, targets=targets), {})["auroc_edema"]
    assert metric.n == 150
    assert metric.value == pytest.approx(roc_auc_score(images.targets[1::2, 0], images.probabilities[1::2, 0]))


def test_evidence_is_the_log_of_bayes_factor():
    p, prior = np.array([[0.9, 0.2]]), np.array([0.3, 0.5])
    value = evidence(p, np.array([[1.0, 0.0], [0.0, NAN]]), prior)
    np.testing.assert_allclose(value, [[np.log(0.9 / 0.3) + np.log(0.8 / 0.5), np.log(0.1 / 0.7)]])


def test_identical_texts_are_one_prompt_and_tied_prompts_share_their_rank():
    targets = np.array([[1.0], [1.0], [0.0], [0.0]])
    probabilities = np.array([[0.9], [0.8], [0.1], [0.7]])
    ranks = rank_prompts(probabilities, targets, ["a", "a", "b", "c"], np.array([0.5]))
    at = np.argsort(ranks.rows)
    assert ranks.group == 4
    assert ranks.prompts.tolist() == [3] * 4
    assert ranks.weights[at].tolist() == [0.5, 0.5, 1.0, 1.0]
    # b and c say the same: whichever comes first by chance; the last image speaks for a
    assert ranks.hits(1)[at].tolist() == [1.0, 1.0, 0.5, 0.0]
    assert ranks.ranks()[at].tolist() == [1.0, 1.0, 1.5, 2.5]
    assert ranks.hits(3).tolist() == [1.0] * 4
    assert ranks.chance(1) == pytest.approx(1 / 3)


def test_groups_hold_a_hundred_images_each():
    images = judged(n=250)
    ranks = rank_prompts(images.probabilities, images.targets, images.texts, images.prevalence)
    assert ranks.group == 100
    assert len(ranks.rows) == len(set(ranks.rows.tolist())) == 200


def test_the_ceiling_of_the_retrieval_is_what_the_findings_can_tell():
    """Seven kinds of text among 100 different ones: no classifier can tell those of a kind apart."""
    metrics = faithfulness(judged(strength=12.0), {})
    metric = metrics["prompt_retrieval_top1"]
    assert metric.value == pytest.approx(metric.settings["if_all_findings_were_seen"], abs=0.01)
    assert metric.settings["chance"] == pytest.approx(0.01)
    assert 0.01 < metric.value < 0.2


def test_weighted_medians_are_numpys_where_all_weigh_alike():
    values = np.random.default_rng(0).permutation(31).astype(float)
    assert weighted_medians(values, np.ones((1, 31))).tolist() == [np.median(values)]


def test_two_sets_are_compared_in_pairs_by_the_same_patients():
    """The interval of a difference of near twins is far narrower than that of either; a weaker set loses."""
    images = judged()
    noise = 0.02 * np.random.default_rng(5).standard_normal(images.probabilities.shape)
    twin, weaker = replace(images, probabilities=images.probabilities + noise), judged(strength=0.5)
    near = auroc_differences(images, twin, {})
    alone = faithfulness(images, {})
    assert list(near) == [
        f"auroc_{name}_difference" for name in ("edema", "nodule", "nodule_right", "nodule_left", "mean")
    ]
    for name, metric in near.items():
        low, high = metric.ci95
        assert low < metric.value < high, name
        ends = alone[name.removesuffix("_difference")].ci95
        assert high - low < 0.3 * (ends[1] - ends[0]), name
    found = auroc_differences(images, replace(weaker, targets=images.targets), {})["auroc_mean_difference"]
    value = alone["auroc_mean"].value - faithfulness(replace(weaker, targets=images.targets), {})["auroc_mean"].value
    assert found.value == pytest.approx(value)
    assert found.ci95[0] > 0.05
    same = auroc_differences(images, images, {})["auroc_edema_difference"]
    assert (same.value, same.ci95) == (0.0, None)
