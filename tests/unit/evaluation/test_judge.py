"""Which classifier judges an evaluation, and which is refused."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from cxr_ldm import artifacts
from cxr_ldm.bundle import save_bundle
from cxr_ldm.commands.evaluate import classifier_recorded
from cxr_ldm.commands.measuring import judge_of, with_classifier
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation import judge
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.judge import Judge, captions, measure_classifier
from cxr_ldm.metrics.faithfulness.judged import Judged
from cxr_ldm.networks.classifier import Classifier

ARGUMENTS = {"classes": ["bright"], "channels": [8], "blocks": 1, "groups": 4}


class Prepared:
    """Stands for a prepared folder: 40 images, of which every other is bright."""

    name, size, fingerprint, folder = "mine", 8, "abc", "prepared/mine"
    manifest = pd.DataFrame(
        [
            {"findings": None, "labels": ["bright"] if i % 2 else ["dark"], "source": "table", "split": "test"}
            for i in range(40)
        ],
        dtype=object,
    )

    def column(self, name):
        return self.manifest[name].to_numpy()

    def rows(self, split):
        return np.arange(40)

    def pixels(self, rows):
        return torch.tensor([1.0 if row % 2 else -1.0 for row in rows]).view(-1, 1, 1, 1).expand(-1, -1, 8, 8)

    def texts(self, rows):
        return [f"{'bright' if row % 2 else 'dark'} {row}" for row in rows]

    def patients(self, rows):
        return [str(row) for row in rows]


def classifier(outputs, name, data="mine", fingerprint="abc", size=8):
    """A complete run whose network says how bright an image is."""
    network = Classifier(**ARGUMENTS)
    network.features = lambda pixels: pixels.mean(dim=(2, 3)).expand(-1, network.num_features)
    torch.nn.init.ones_(network.head.weight)
    folder = outputs / "classifier" / name
    info = {"size": size, "data": {"name": data, "fingerprint": fingerprint}, "prevalence": [0.5]}
    specs = {"classifier": {"_target_": "cxr_ldm.networks.classifier.Classifier", **ARGUMENTS}}
    save_bundle(folder / "bundle", "classifier", specs, {"classifier": network}, info)
    artifacts.write_record(folder, {}, complete=True, data=data, finished=name)
    return folder / "bundle"


def config(outputs, **changes):
    node = {"_target_": "cxr_ldm.metrics.features.efficientnet.EfficientNetLite0", "weights": None}
    cfg = {
        "features": {"efficientnet_lite0": node},
        "paths": {"outputs": str(outputs)},
        "bundle_packages": [],
        "seed": 0,
        "split": "test",
        "classifier": None,
    }
    cfg |= {"metrics": {"batch_size": 16}, "trainer": {"accelerator": "cpu"}}
    return OmegaConf.create(cfg | changes)


def test_the_newest_complete_classifier_of_the_same_data_judges(tmp_path, capsys):
    classifier(tmp_path, "2026-01")
    newest = classifier(tmp_path, "2026-02")
    classifier(tmp_path, "2026-03", data="others")
    cfg = with_classifier(config(tmp_path), "ldm", Prepared())
    assert cfg.classifier == str(newest)
    assert "2026-02" in capsys.readouterr().out
    assert len(classifier_recorded(cfg)["classifier"]) == 64


def test_without_one_it_is_said_and_left_out(tmp_path, capsys):
    cfg = with_classifier(config(tmp_path), "ldm", Prepared())
    assert "python train.py stage=classifier" in capsys.readouterr().out
    assert classifier_recorded(cfg) == {}
    assert judge_of(cfg) is None


def test_the_vae_needs_none(tmp_path):
    assert with_classifier(config(tmp_path), "vae", Prepared()).classifier is None


def test_one_of_another_size_or_that_may_know_the_test_images_is_refused(tmp_path):
    large = classifier(tmp_path, "large", size=16)
    with pytest.raises(UserError, match="was trained at 16 pixels and prepared/mine has 8"):
        with_classifier(config(tmp_path, classifier=str(large)), "ldm", Prepared())
    other = classifier(tmp_path, "other", data="others", fingerprint="def")
    with pytest.raises(UserError, match="trained on others, .* may have seen these test images"):
        with_classifier(config(tmp_path, classifier=str(other)), "ldm", Prepared())
    assert with_classifier(config(tmp_path, classifier=str(other), external=True), "ldm", Prepared())


def test_missing_features_are_refused_before_anything_is_generated(tmp_path):
    node = {"_target_": "cxr_ldm.metrics.features.frozen.ClassifierFeatures", "bundle": None}
    with pytest.raises(Exception, match="features=classifier needs a trained classifier"):
        with_classifier(config(tmp_path, features={"classifier": node}), "vae", Prepared())


def test_generated_images_stand_beside_the_real_ones_of_their_texts(tmp_path, monkeypatch):
    bundle, prepared, rows = classifier(tmp_path, "one"), Prepared(), np.arange(40)
    cfg = config(tmp_path, classifier=str(bundle))
    monkeypatch.setattr(
        Classifier, "features", lambda self, x: x.mean(dim=(2, 3)).expand(-1, self.num_features), raising=True
    )
    opposite = prepared.pixels(rows[::-1].copy())
    metrics = judge_of(cfg).of_prompts(Collection(prepared, "test", batch_size=16), rows, opposite)
    assert metrics["auroc_bright_real"].value == 1.0
    assert metrics["auroc_bright"].value == 0.0
    assert metrics["auroc_bright"].settings["images"] == "generated from the texts of test images"


def test_too_few_test_images_for_any_figure_are_refused(tmp_path):
    class Few(Prepared):
        def rows(self, split):
            return np.arange(10)

    parts = {"classifier": Classifier(**ARGUMENTS)}
    loaded = SimpleNamespace(parts=parts, info={"prevalence": [0.5]}, sha256="ab")
    with pytest.raises(UserError, match="too few test patients"):
        measure_classifier(Judge(loaded, torch.device("cpu")), Collection(Few(), "test"), tmp_path)


def test_the_picture_of_a_classifier_has_three_rows_of_four(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(judge, "save_grid", lambda *arguments: drawn.append(arguments))
    chosen = judge_of(config(tmp_path, classifier=str(classifier(tmp_path, "one"))))
    measure_classifier(chosen, Collection(Prepared(), "test", batch_size=16), tmp_path)
    ((path, images, columns, words),) = drawn
    assert (path.name, len(images), columns, len(words)) == ("grid.png", 12, 4, 12)


def test_a_picture_is_said_to_show_what_its_text_says_and_what_the_classifier_finds():
    probabilities = np.array([[0.25, 0.5, 0.75], [0.9, 0.1, 0.2]])
    targets = np.array([[1.0, 0.0, 1.0], [0.0, np.nan, 0.0]])
    seen = Judged(["edema", "mass", "nodule"], probabilities, targets, np.full(3, 0.5), ["", ""], ["a", "b"], ["x"] * 2)
    assert captions(seen, 2) == ["edema, nodule | nodule 0.75, mass 0.50", "nothing | edema 0.90, nodule 0.20"]
