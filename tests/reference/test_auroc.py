"""AUROC against scikit-learn, and whether its intervals cover the truth."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cxr_ldm.metrics.faithfulness.auroc import auroc, patient_weights
from cxr_ldm.metrics.modular import FindingAUROC


def drawn(n, seed, levels=None):
    random = np.random.default_rng(seed)
    truth = random.random(n) < 0.3
    scores = random.standard_normal(n) + truth
    return (scores if levels is None else np.round(scores * levels) / levels), truth


@pytest.mark.parametrize("levels", [None, 2], ids=["no ties", "many ties"])
def test_it_is_scikit_learns(levels):
    scores, truth = drawn(500, 0, levels)
    assert auroc(scores, truth) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 2], ids=["no ties", "many ties"])
def test_weights_are_scikit_learns(levels):
    scores, truth = drawn(200, 1, levels)
    weights = np.random.default_rng(2).integers(0, 4, (5, 200)).astype(float)
    expected = [roc_auc_score(truth, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(auroc(scores, truth, weights=weights), expected, atol=1e-12)


def test_pairs_of_one_source_are_the_mean_of_scikit_learns_by_pairs():
    scores, truth = drawn(300, 3)
    source = np.arange(300) % 3
    scores = scores + 5.0 * source  # what tells the sources apart must not count
    parts = [(truth[source == s], scores[source == s]) for s in range(3)]
    pairs = [t.sum() * (~t).sum() for t, _ in parts]
    expected = np.average([roc_auc_score(*part) for part in parts], weights=pairs)
    assert auroc(scores, truth, source) == pytest.approx(expected, abs=1e-12)


def test_the_class_is_scikit_learns_over_batches_and_leaves_the_unknown_out():
    scores = torch.rand(120, 3, generator=torch.Generator().manual_seed(0))
    targets = (scores + torch.rand(120, 3, generator=torch.Generator().manual_seed(1)) > 1).float()
    targets[::3, 0] = torch.nan
    targets[:, 2] = 0.0  # no image shows it
    metric = FindingAUROC(["a", "b", "c"])
    for part in range(0, 120, 50):
        rows = slice(part, part + 50)
        metric.update(scores[rows], targets[rows], torch.zeros(len(scores[rows])))
    values = metric.compute()
    known = ~targets[:, 0].isnan()
    assert values.keys() == {"a", "b"}
    assert values["a"].item() == pytest.approx(roc_auc_score(targets[known, 0], scores[known, 0]), abs=1e-6)
    assert values["b"].item() == pytest.approx(roc_auc_score(targets[:, 1], scores[:, 1]), abs=1e-6)


def test_intervals_over_patients_cover_the_truth():
    """Two images of one patient share most of their score: 95 % nominal, 90 % at least over 300 collections."""
    truth_value, covered = 0.7602499389, 0  # P(N(1, 2) > 0) for a shift of 1 between unit normals
    for seed in range(300):
        random = np.random.default_rng(seed)
        sick = np.repeat(random.random(100) < 0.4, 2)
        shared = np.repeat(random.standard_normal(100), 2) * 0.9**0.5
        scores = sick + shared + random.standard_normal(200) * 0.1**0.5
        weights = patient_weights([str(i // 2) for i in range(200)], seed, draws=300)
        low, high = np.nanquantile(auroc(scores, sick, weights=weights), [0.025, 0.975])
        covered += low <= truth_value <= high
    assert 0.90 * 300 <= covered <= 0.985 * 300


def test_patients_are_drawn_with_all_of_their_images():
    weights = patient_weights(["a", "b", "a", "c"], 0, draws=200)
    assert (weights[:, 0] == weights[:, 2]).all()
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 1] + weights[:, 3], 3)
    assert len(np.unique(weights, axis=0)) == 10  # all ways to draw three of three
