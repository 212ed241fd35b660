"""What intervals of anybody's images are over: the images that were given, which are of no patient."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.judge import Judge
from cxr_ldm.evaluation.scoring import Scoring

COUNT = 40
LEVELS = torch.rand(COUNT, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Real:
    """Stands for a prepared collection of a test split alone."""

    def __len__(self):
        return COUNT

    def rows(self, split):
        return np.arange(COUNT if split == "test" else 0)

    def pixels(self, rows):
        return LEVELS[torch.as_tensor(rows)]

    def patients(self, rows):
        return [f"patient {row}" for row in rows]


@pytest.fixture
def scoring():
    judge = Judge.__new__(Judge)
    judge.classes, judge.sha256, judge.prevalence = ["edema"], "0" * 64, np.array([0.5])
    judge.probabilities = lambda batches: np.concatenate([batch.mean(dim=(2, 3)).numpy() for batch in batches])
    return Scoring(Collection(Real(), "test"), None, SimpleNamespace(floor_repeats=2), judge=judge)


def test_statistics_of_given_images_are_over_images_and_those_of_real_ones_over_patients(scoring):
    found = scoring.looks(np.arange(COUNT), LEVELS / 2, [f"{place}.png" for place in range(COUNT)])
    assert found["sharpness"].over == "images"
    assert "bootstrap over images" in found["sharpness"].settings["interval"]
    assert found["sharpness_of_real"].over == "patients"
    assert "bootstrap over patients" in found["sharpness_of_real"].settings["interval"]
    assert found["sharpness_distance"].over == "real patients and generated images"


def test_auroc_of_given_images_is_over_images(scoring, monkeypatch):
    monkeypatch.setattr(
        Judge, "judged", lambda self, data, rows: scoring.seen(LEVELS, prompts, data.prepared.patients(rows))
    )
    prompts = ["Pulmonary edema." if place % 2 else "Normal chest." for place in range(COUNT)]
    found = scoring.judged(LEVELS, prompts, [f"{place}.png" for place in range(COUNT)])
    assert found["auroc_edema"].over == found["prompt_retrieval_top1"].over == "images"
    assert "bootstrap over images" in found["auroc_edema"].settings["interval"]
    assert found["auroc_edema_real"].over == "patients"
