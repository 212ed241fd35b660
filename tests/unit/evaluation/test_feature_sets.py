"""Several extractors in one evaluation: which are chosen, what is recorded, and that no image is extracted twice."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from cxr_ldm.artifacts import fingerprint
from cxr_ldm.commands.evaluate import common_settings
from cxr_ldm.commands.measuring import extractors_of
from cxr_ldm.commands.settings import feature_nodes
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.distance import Distances, More
from cxr_ldm.evaluation.feature_sets import FeatureSets
from cxr_ldm.metrics.distances.kernel import kernel_distance

NODE = {"_target_": "cxr_ldm.metrics.features.efficientnet.EfficientNetLite0", "weights": None}


class Pooled(nn.Module):
    """An extractor that can be followed by hand: powers of the mean grey; counts the images that it sees."""

    def __init__(self, name: str = "pooled", power: int = 1) -> None:
        super().__init__()
        self.name, self.power, self.seen = name, power, 0

    def forward(self, pixels):
        self.seen += len(pixels)
        mean = pixels.double().mean(dim=(1, 2, 3))
        return torch.stack([mean**self.power, mean ** (self.power + 1)], dim=1)

    def settings(self):
        return {"extractor": self.name, "power": self.power}


class Prepared:
    """Stands for a collection of 60 images, each of a patient and a grey of its own."""

    fingerprint = identity = "abc"

    def __len__(self):
        return 60

    def pixels(self, rows):
        return torch.linspace(-1, 1, 60)[torch.from_numpy(rows)].view(-1, 1, 1, 1).expand(-1, 1, 4, 4)

    def patients(self, rows):
        return [str(row) for row in rows]

    def rows(self, split):
        return np.arange(60)


def sets(folder, *extractors):
    return FeatureSets({each.name: each for each in extractors}, Prepared(), folder, torch.device("cpu"), 7)


def test_a_real_image_is_extracted_once_however_often_and_in_whatever_set_it_is_asked_for(tmp_path):
    network = Pooled()
    here = sets(tmp_path, network)
    asked = [np.arange(0, 20), np.arange(10, 40)[::-1].copy(), np.arange(60), np.arange(0, 20)]
    for rows in asked:
        expected = Prepared().pixels(rows).double().mean(dim=(1, 2, 3))
        assert torch.equal(here.of_rows("pooled", rows, "real")[:, 0], expected)
    assert network.seen == 60
    later = Pooled()  # another evaluation finds what the first one left on disk
    again = sets(tmp_path, later)
    assert torch.equal(again.of_rows("pooled", asked[1], "real"), here.of_rows("pooled", asked[1], "real"))
    assert later.seen == 0


def test_features_of_another_extractor_or_setting_are_not_mistaken_for_it(tmp_path):
    rows = np.arange(5)
    here = sets(tmp_path, Pooled("one", 1), Pooled("two", 3))
    assert not torch.equal(here.of_rows("one", rows, "real"), here.of_rows("two", rows, "real"))
    other = sets(tmp_path, Pooled("one", 2)).of_rows("one", rows, "real")
    assert not torch.equal(here.of_rows("one", rows, "real"), other)


def test_every_extractor_has_distances_under_its_name_with_its_own_settings(tmp_path):
    here = sets(tmp_path, Pooled("one", 1), Pooled("two", 3))
    distances = Distances(Collection(Prepared(), "test"), here, repeats=2, neighbours=3)
    rows = np.arange(0, 48, 2)
    images = Prepared().pixels(rows).clone() * 0.5
    made = {name: here.of_images(name, images) for name in here.extractors}
    metrics = distances.of(rows, made, rows, {"compared": "x"})
    for name, power in (("one", 1), ("two", 3)):
        for kind in ("fid", "kid", "precision", "recall", "density", "coverage"):
            assert metrics[f"{kind}_{name}"].settings["power"] == power
            assert metrics[f"{kind}_{name}_floor"].settings["extractor"] == name
    assert metrics["fid_one"].value != metrics["fid_two"].value
    assert here.first == "one"


def test_one_extractor_is_recorded_as_evaluations_always_recorded_it():
    cfg = OmegaConf.create(
        {"features": {"efficientnet_lite0": NODE}, "seed": 0, "split": "test", "metrics": {"n": 2}}
        | {"sampler": {}, "guidance": {}}
    )
    settings = common_settings(cfg, Prepared())
    assert settings["features"] == NODE
    # as it is since parts go by short names; before several extractors could be chosen it was of the same settings
    assert fingerprint(settings) == "eaac7bf9777b7d0e"
    cfg.split = "val"  # test, the only split that there once was, is not written; validation is
    assert common_settings(cfg, Prepared()) == settings | {"split": "val"}
    both = cfg.copy()
    both.features["classifier"] = {"_target_": "cxr_ldm.metrics.features.frozen.ClassifierFeatures", "bundle": None}
    assert list(common_settings(both, Prepared())["features"]) == ["efficientnet_lite0", "classifier"]


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(UserError, match=r"features=\[\] chooses no extractor"):
        feature_nodes(OmegaConf.create({"seed": 0}))
    with pytest.raises(UserError, match="must begin with the line `# @package features.NAME`"):
        feature_nodes(OmegaConf.create({"features": NODE}))
    with pytest.raises(UserError, match="features.mine gives its metrics the name efficientnet_lite0"):
        extractors_of(OmegaConf.create({"features": {"efficientnet_lite0": NODE, "mine": NODE}}))


def test_kid_takes_more_images_and_all_real_ones_while_fid_keeps_its_number(tmp_path):
    here = sets(tmp_path, Pooled("one", 1))
    distances = Distances(Collection(Prepared(), "test"), here, repeats=2, neighbours=3)
    rows, asked = np.arange(0, 48, 2), np.concatenate([np.arange(0, 48, 2), np.arange(1, 59, 2)])
    made = {"one": here.of_images("one", Prepared().pixels(asked) * 0.5)}
    few = {"one": made["one"][:24]}
    plain = distances.of(rows, few, rows, {"compared": "x"})
    more = distances.of(rows, few, rows, {"compared": "x"}, More(asked, made, "y"))
    assert more["kid_one"].n == 53
    assert more["fid_one_ratio"] == plain["fid_one_ratio"]
    assert more["fid_one_ratio"].n == more["fid_one"].n == 24
    real = here.of_rows("one", np.arange(60), "test")
    assert more["kid_one"].value == pytest.approx(kernel_distance(real, made["one"]), rel=1e-9)
    floor = more["kid_one_floor"].value
    assert more["kid_one_difference"].value == pytest.approx(more["kid_one"].value - floor)
    assert more["kid_one"].settings["with"] == "all 60 test images"
