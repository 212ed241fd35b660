"""The suite of edits of real images, by a model whose edits are known and a judge that looks where they are."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cxr_ldm.benchmark import real_edits
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.pipeline import TextToCXR

EDITS = {
    "cardiomegaly": {"prompt": "Cardiomegaly.", "region": "heart"},
    "pleural effusion": {"prompt": "Right pleural effusion.", "region": "right_base"},
}


class Whitens:
    """Fills the hole with white where an effusion is asked for; whatever else is asked, with noise."""

    sha256, sampling, device = "0" * 64, Sampling(), torch.device("cpu")

    def draw(self, prompts, seeds, sampling, original):
        fresh = torch.stack([torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        asked = torch.tensor(["effusion" in prompt for prompt in prompts])[:, None, None, None]
        return torch.where(original.hole, torch.where(asked, torch.ones_like(fresh), fresh), original.pixels)


class Looks:
    """Its probability of an effusion is the grey of the right base; of a large heart, noise."""

    classes, sha256, prevalence = ["cardiomegaly", "pleural effusion"], "1" * 64, np.array([0.5, 0.5])

    def __init__(self, bundle=None, device=None):
        self.random = np.random.default_rng(0)

    def probabilities(self, batches):
        grey = torch.cat([batch[:, 0, 18:28, 4:12].mean(dim=(1, 2)) for batch in batches]).numpy()
        return np.stack([self.random.random(len(grey)), grey / 2 + 0.5], axis=1)

    def judged(self, data, rows):
        targets = real_edits.all_targets(data.prepared.manifest, self.classes).values[rows]
        seen = self.probabilities(data.batches(rows))
        patients, texts = data.prepared.patients(rows), data.prepared.texts(rows)
        return real_edits.Judged(
            self.classes, seen, targets, self.prevalence, texts, patients, np.full(len(rows), "phantom")
        )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    splits = {"seed": 0, "val": 0.1, "test": 0.6}
    folder = tmp_path_factory.mktemp("prepared") / "p"
    return prepare(PhantomReader(300, 32, 0), folder, Target(32), name="p", splits=splits)


def ran(monkeypatch, prepared, n):
    monkeypatch.setattr(real_edits, "load_bundle", lambda folder, kind: None)
    monkeypatch.setattr(real_edits, "check", lambda *arguments: None)
    monkeypatch.setattr(real_edits.naming, "bundle_named", lambda *arguments, **more: SimpleNamespace(folder="x"))
    monkeypatch.setattr(real_edits, "Judge", Looks)
    monkeypatch.setattr(TextToCXR, "from_bundle", lambda folder, device: Whitens())
    return real_edits.run("outputs", "m", str(prepared.folder), "c", EDITS, "Normal.", n, 2, 1.0, "32", 0)


def test_what_is_drawn_is_seen_and_what_is_not_is_not(monkeypatch, prepared):
    metrics = ran(monkeypatch, prepared, 30)
    assert metrics["seen_pleural_effusion"].value > 0.99
    low, high = metrics["seen_cardiomegaly"].ci95
    assert low < 0.5 < high
    assert metrics["another_cardiomegaly_pleural_effusion"].value < 0.8
    assert metrics["real_pleural_effusion"].n > 30
    text = real_edits.page({name: metric.entry() for name, metric in metrics.items()} | {"run": {"seed": 0}})
    assert "| pleural effusion | right base |" in text
    assert "30 images a row" in text


def test_only_images_that_show_nothing_are_edited(prepared):
    data = Collection(prepared, "test")
    rows = real_edits.innocent(data, Looks.classes, 30)
    assert len(set(prepared.patients(rows))) == 30
    assert not any("effusion" in text.lower() and "no " not in text.lower() for text in prepared.texts(rows))
    with pytest.raises(UserError, match="patients of the test split show no finding"):
        real_edits.innocent(data, Looks.classes, 1000)
