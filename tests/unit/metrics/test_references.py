"""References stand where they must: a copier is at the floor, and shuffled prompts are at chance."""

import numpy as np
import pytest
import torch

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances.floors import floors
from cxr_ldm.metrics.faithfulness.judged import Judged, faithfulness
from cxr_ldm.metrics.references import Reference, derangement, reference_distances, shuffled
from cxr_ldm.report.by_finding import findings


def features(n, seed, shift=0.0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 8)) + shift)


def test_a_copier_is_at_the_floor_by_every_distance_and_another_distribution_is_not():
    real, pool = features(80, 1), features(240, 2)
    people, others = [f"p{i}" for i in range(80)], [f"t{i}" for i in range(80)]
    floor = floors(pool, [str(i) for i in range(240)], 80, repeats=3)
    found = {}
    for name, images in (("copier", features(80, 3)), ("empty", features(80, 4, shift=1.0))):
        reference = Reference(name, images, others, {})
        found |= reference_distances(real, people, reference, floor, {"extractor": "x"})
    assert set(found) == {
        f"{kind}_reference_{name}"
        for kind in ("fid_x", "fid_x_ratio", "kid_x", "precision_x", "recall_x", "density_x", "coverage_x")
        for name in ("copier", "empty")
    }
    assert found["fid_x_ratio_reference_copier"].value == pytest.approx(1.0, abs=0.3)
    low, high = found["kid_x_reference_copier"].ci95
    assert low < 0 < high
    assert found["kid_x_reference_empty"].ci95[0] > 0
    assert found["fid_x_ratio_reference_empty"].value > 3
    assert found["kid_x_reference_copier"].settings["compared"].startswith("training images")


def judged(n=400) -> Judged:
    random = np.random.default_rng(0)
    truth = (random.random((n, 1)) < 0.4).astype(float)
    scores = 1 / (1 + np.exp(-(3 * truth + random.standard_normal(truth.shape))))
    patients = [f"p{i // 2}" for i in range(n)]
    texts = [f"text {i}" for i in range(n)]
    return Judged(["edema"], scores, truth, np.array([0.4]), texts, patients, np.full(n, "here"))


def test_shuffled_prompts_are_at_chance_where_the_true_ones_are_not():
    images = judged()
    wrong = shuffled(images, {})["auroc_edema_reference_shuffled"]
    assert wrong.ci95[0] < 0.5 < wrong.ci95[1]
    assert faithfulness(images, {})["auroc_edema"].ci95[0] > 0.9
    assert findings({"auroc_edema": {"settings": {}}, "auroc_edema_reference_shuffled": {"settings": {}}}) == ["edema"]


def test_nobody_keeps_an_image_of_the_same_patient():
    patients = np.random.default_rng(1).choice([f"p{i}" for i in range(12)], size=60)
    order = derangement(patients)
    assert sorted(order) == list(range(60))
    assert not (patients[order] == patients).any()
    with pytest.raises(UserError, match="a has 2 of 3 images"):
        derangement(["a", "a", "b"])
