"""Figures by sex, age and view in an evaluation."""

import numpy as np
import pytest
import torch

from cxr_ldm.data.findings.targets import all_targets
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.groups import FEWEST, auroc_by_group, distances_by_group, groups_of
from cxr_ldm.evaluation.ldm import Evaluation, sampled
from cxr_ldm.metrics.distances.floors import kernel_metric
from cxr_ldm.metrics.faithfulness.judged import Judged

SPLITS = {"seed": 0, "val": 0.2, "test": 0.2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(PhantomReader(60, 16, 0), tmp_path_factory.mktemp("p"), Target(16), name="p", splits=SPLITS)


def test_groups_are_those_that_the_collection_knows(data):
    rows = data.rows("test")
    found = groups_of(data, rows)
    assert {"sex_female", "sex_male"} <= set(found)
    for column in ("age", "view"):
        assert sum(inside.sum() for name, inside in found.items() if name.startswith(f"{column}_")) == len(rows)
    assert not found["sex_female"][found["sex_male"]].any()
    people = data.people(rows)
    assert [each["sex"] == "female" for each in people] == found["sex_female"].tolist()
    assert [each["age"] >= 65 for each in people] == found.get("age_65_and_older", np.zeros(len(rows), bool)).tolist()


def halves(n=2 * FEWEST):
    """Two groups of patients, and one that is all of them, which says nothing of its own."""
    first = np.arange(n) < n // 2
    return {"sex_female": first, "sex_male": ~first, "view_pa": np.ones(n, bool)}, [str(each) for each in range(n)]


def test_a_distance_of_one_group_is_that_of_its_images_alone():
    groups, patients = halves()
    features = torch.randn(2, len(patients), 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    real, made = features[0], features[1] + torch.from_numpy(groups["sex_male"])[:, None] * 2.0
    found = distances_by_group(groups, "net", real, made, patients, {"extractor": "net"})
    assert set(found) == {"kid_net_sex_female", "kid_net_sex_male"}
    of = patients[: len(patients) // 2]
    alone = kernel_metric(real[: len(of)], made[: len(of)], (of, of), {})
    near, far = found["kid_net_sex_female"], found["kid_net_sex_male"]
    assert (near.value, near.n, near.ci95) == (alone.value, len(of), alone.ci95)
    assert near.ci95[1] < far.ci95[0]
    assert far.settings["group"] == "sex_male"


def test_auroc_of_one_group_is_that_of_its_images_alone_and_small_groups_have_none():
    groups, patients = halves()
    shown = (np.arange(len(patients)) % 2).astype(float)[:, None]
    seen = np.where(groups["sex_female"][:, None], shown, 1 - shown) * 0.8 + 0.1  # right in women, wrong in men
    sources = np.array(["a"] * len(patients))
    judged = Judged(["edema"], seen, shown, np.array([0.5]), ["x"] * len(patients), patients, sources)
    found = auroc_by_group(groups, judged, {}, "_real", 0)
    assert {name: metric.value for name, metric in found.items()} == {
        "auroc_mean_sex_female_real": 1.0,
        "auroc_mean_sex_male_real": 0.0,
    }
    assert auroc_by_group({"sex_female": np.arange(len(patients)) < FEWEST - 1}, judged, {}, "", 0) == {}


class Sets:
    """Features that are the pictures themselves."""

    first = "net"

    def __init__(self, data):
        self.data = data

    def settings(self, name):
        return {"extractor": name}

    def of_rows(self, name, rows, what):
        assert (name, what) == ("net", "real")
        return self.data.pixels(rows).flatten(1).double()


class Judge:
    """Knows what the text says of real images, and guesses at generated ones."""

    sha256 = "0" * 64

    def judged(self, data, rows, images=None):
        targets = all_targets(data.prepared.manifest, ["cardiomegaly"]).values[rows]
        seen = targets if images is None else np.full_like(targets, 0.5)
        prepared = data.prepared
        sources = prepared.column("source").astype(str)[rows]
        return Judged(
            ["cardiomegaly"], seen, targets, np.array([0.5]), prepared.texts(rows), prepared.patients(rows), sources
        )


def test_an_evaluation_of_a_model_has_them_beside_real_images(tmp_path):
    splits = {"seed": 0, "val": 0.1, "test": 0.6}
    data = Collection(prepare(PhantomReader(400, 16, 0), tmp_path, Target(16), name="p", splits=splits), "test")
    rows = data.rows
    evaluation = Evaluation(data, Sets(data.prepared), None, Judge())
    images = data.prepared.pixels(rows)
    found = evaluation.by_group(rows, images, {"net": images.flatten(1).double()})
    for group in ("sex_female", "sex_male", "age_18_to_64", "view_pa"):
        assert found[f"kid_net_{group}"].value <= 0.0  # the same images: the unbiased estimate is below zero
        assert found[f"auroc_mean_{group}"].value == 0.5
        assert found[f"auroc_mean_{group}_real"].value == 1.0
    assert [sampled(name) for name in ("kid_net_sex_female", "auroc_mean_sex_female_real")] == [True, False]
