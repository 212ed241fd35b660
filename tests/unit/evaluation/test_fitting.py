"""Fitted judges: they learn what is there, are trained on no patient that they score, and go on after a kill."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.crossfit import crossfit, folds
from cxr_ldm.evaluation.fitting import Recipe, batches, fit, scores
from cxr_ldm.metrics.faithfulness.trained_on import trained_on
from cxr_ldm.networks.classifier import Classifier

CLASSES = ["bright"]


def network(classes):
    return Classifier(classes, channels=[8], blocks=1, groups=4)


RECIPE = Recipe(network, lambda groups: torch.optim.AdamW(groups, lr=3e-3), epochs=6, batch_size=16)


def pictures(n=96, seed=0):
    """Noise with a bright patch where the finding is shown; two images of each patient."""
    random = np.random.default_rng(seed)
    truth = random.random(n) < 0.5
    pixels = torch.from_numpy(random.standard_normal((n, 1, 8, 8)).astype(np.float32)) * 0.3
    pixels[torch.from_numpy(truth), :, 2:6, 2:6] += 0.7
    targets = truth[:, None].astype(np.float32)
    return (lambda rows: pixels[torch.from_numpy(rows)]), targets, [f"p{i // 2}" for i in range(n)]


def test_a_fit_learns_what_is_there_and_is_the_same_again():
    pixels, targets, _ = pictures()
    unseen, truth, _ = pictures(seed=1)
    found = [scores(RECIPE, fit(RECIPE, pixels, targets, CLASSES, 3), unseen, np.arange(96)) for _ in range(2)]
    assert torch.equal(*found)
    assert roc_auc_score(truth[:, 0], found[0][:, 0]) > 0.95
    with pytest.raises(UserError, match="no image is known"):
        fit(RECIPE, pixels, np.full((96, 1), np.nan), CLASSES)


def test_stated_steps_are_of_whole_batches_that_span_passes():
    found = list(batches(np.arange(20), RECIPE, np.random.default_rng(0), 5))
    assert [len(rows) for rows in found] == [16] * 5
    assert np.bincount(np.concatenate(found)).tolist() == [4] * 20  # five batches of sixteen are four passes


def test_images_above_the_size_are_averaged_down():
    small = Recipe(network, RECIPE.optimizer, 1, 16, size=4)
    assert small.shown(torch.arange(64.0).view(1, 1, 8, 8)).ravel()[0] == (0 + 1 + 8 + 9) / 4


def test_every_image_is_scored_and_by_a_network_that_never_saw_its_patient():
    """Labels by patient that no picture shows: a network that had seen them would know them by heart."""
    pixels, _, patients = pictures()
    secret = {name: np.random.default_rng(sum(map(ord, name))).random() < 0.5 for name in patients}
    targets = np.array([[float(secret[name])] for name in patients], dtype=np.float32)
    asked = []

    def watched(rows):
        asked.append(rows)
        return pixels(rows)

    recipe = Recipe(network, RECIPE.optimizer, 1, 200)
    found = crossfit(recipe, watched, targets, CLASSES, patients, count=3)
    fold = folds(patients, 3)
    assert np.isfinite(found).all()
    for number in range(3):  # one step of all images fits, then one batch scores: in that order
        fitted, scored = asked[2 * number : 2 * number + 2]
        assert set(fold[fitted]) == {0, 1, 2} - {number}
        assert set(fold[scored]) == {number}
        assert not {patients[i] for i in fitted} & {patients[i] for i in scored}


def test_cross_fitted_scores_see_what_is_there_and_kept_folds_are_not_fitted_again():
    pixels, targets, patients = pictures()
    kept, computed = {}, []

    def keep(number, compute):
        if number not in kept:
            computed.append(number)
            kept[number] = compute()
        return kept[number]

    found = crossfit(RECIPE, pixels, targets, CLASSES, patients, 3, keep=keep)
    assert roc_auc_score(targets[:, 0], found[:, 0]) > 0.9
    del kept[1]
    again = crossfit(RECIPE, pixels, targets, CLASSES, patients, 3, keep=keep)
    assert computed == [0, 1, 2, 1]
    assert np.array_equal(found, again)


def test_folds_that_cannot_be_are_refused():
    pixels, targets, patients = pictures(4)
    with pytest.raises(UserError, match="2 patients leave"):
        crossfit(RECIPE, pixels, targets, CLASSES, patients, 5)
    with pytest.raises(UserError, match="metrics.folds=1 must be 2"):
        crossfit(RECIPE, pixels, targets, CLASSES, patients, 1)


def test_the_ratio_is_of_the_means_and_its_interval_is_paired():
    random = np.random.default_rng(0)
    n = 400
    targets = (random.random((n, 2)) < 0.4).astype(float)
    targets[:5, 1] = np.nan
    real = targets[:, :] * 1.5 + random.standard_normal((n, 2))
    patients = [f"p{i // 2}" for i in range(n)]
    same = trained_on(
        ["edema", "nodule"], {"synthetic": 2 * real, "real": real}, targets, patients, np.full(n, "x"), {}
    )
    assert same["auroc_trained_ratio"].value == 1.0
    assert same["auroc_trained_ratio"].reason is not None  # every pair of draws is alike
    worse = real + random.standard_normal((n, 2))
    found = trained_on(["edema", "nodule"], {"synthetic": worse, "real": real}, targets, patients, np.full(n, "x"), {})
    by_hand = [
        np.mean([roc_auc_score(targets[:, 0], x[:, 0]), roc_auc_score(targets[5:, 1], x[5:, 1])]) for x in (worse, real)
    ]
    assert found["auroc_trained_on_synthetic"].value == pytest.approx(by_hand[0])
    assert found["auroc_trained_ratio"].value == pytest.approx(by_hand[0] / by_hand[1])
    low, high = found["auroc_trained_ratio"].ci95
    assert low < by_hand[0] / by_hand[1] < high < 1
    ends = [found[f"auroc_trained_on_{way}"].ci95 for way in ("synthetic", "real")]
    apart = ends[0][1] / ends[1][0] - ends[0][0] / ends[1][1]
    assert high - low < apart  # pairs share their patients
    assert found["auroc_trained_on_real_nodule"].n == 395


def test_only_images_of_sources_that_can_be_compared_count():
    """A collection that never denies a finding has no pair, so that its images are no patients who show it."""
    targets, sources = np.ones((60, 1)), np.repeat(["positive", "both"], [20, 40])
    targets[21:] = 0  # of the second source a single image shows it
    scores = {way: np.random.default_rng(0).random((60, 1)) for way in ("synthetic", "real")}
    people = [str(place) for place in range(60)]
    assert trained_on(["edema"], scores, targets, people, sources, {}) == {}
    targets[21:40] = 1
    found = trained_on(["edema"], scores, targets, people, sources, {})["auroc_trained_on_real_edema"]
    assert (found.n, found.settings["shown"], found.settings["not_shown"]) == (40, 20, 20)


def test_findings_of_few_patients_say_nothing():
    targets = np.zeros((40, 1))
    targets[:9] = 1
    scores = {way: np.random.default_rng(0).random((40, 1)) for way in ("synthetic", "real")}
    assert trained_on(["edema"], scores, targets, [str(i) for i in range(40)], np.full(40, "x"), {}) == {}
