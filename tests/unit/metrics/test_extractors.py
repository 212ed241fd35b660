"""Feature extractors: the real loading code on tiny folders, the preprocessing, and what a missing package says."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, Dinov2Config, Dinov2Model

from cxr_ldm.bundle import save_bundle
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.features import fetched
from cxr_ldm.metrics.features.efficientnet import extract
from cxr_ldm.metrics.features.fetched import Inception, RadDino, XRVDenseNet, as_rgb, input_size, resized
from cxr_ldm.metrics.features.frozen import ClassifierFeatures
from cxr_ldm.networks.classifier import Classifier

PROCESSING = {
    "image_processor_type": "BitImageProcessor",
    "crop_size": {"height": 28, "width": 28},
    "do_center_crop": True,
    "size": {"shortest_edge": 28},
    "image_mean": [0.5307, 0.5307, 0.5307],
    "image_std": [0.2583, 0.2583, 0.2583],
}


@pytest.fixture
def bundle(tmp_path):
    torch.manual_seed(0)
    arguments = {"classes": ["edema", "nodule"], "channels": [8, 16], "blocks": 1, "groups": 4}
    network = Classifier(**arguments)
    specs = {"classifier": {"_target_": "cxr_ldm.networks.classifier.Classifier", **arguments}}
    save_bundle(tmp_path / "bundle", "classifier", specs, {"classifier": network}, {"size": 32})
    return network, tmp_path / "bundle"


@pytest.fixture
def dinov2(tmp_path):
    """A folder as the hub has it: config.json, weights and preprocessor_config.json."""
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    model = Dinov2Model(config).eval()
    model.save_pretrained(tmp_path / "rad-dino")
    (tmp_path / "rad-dino" / "preprocessor_config.json").write_text(json.dumps(PROCESSING))
    return model, tmp_path / "rad-dino"


def pixels(n=3, size=32):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_our_classifiers_features_are_those_of_its_network(bundle):
    network, folder = bundle
    extractor = ClassifierFeatures(folder)
    features = extract(extractor, pixels().split(2))
    assert features.dtype == torch.float64
    assert features.shape == (3, extractor.num_features) == (3, 32)
    with torch.no_grad():
        torch.testing.assert_close(features, network.features(pixels()).double(), rtol=1e-4, atol=1e-5)
    assert extractor.settings() == {"extractor": "classifier", "bundle": extractor.sha256, "input": 32}
    with pytest.raises(UserError, match=r"trained at 32 pixels and the images have \(64, 64\)"):
        extractor(pixels(1, 64))
    with pytest.raises(ValueError, match="N, 1, H, W"):
        extractor(torch.zeros(1, 3, 32, 32))


def test_a_missing_or_foreign_bundle_is_one_sentence(bundle, tmp_path):
    with pytest.raises(UserError, match="python train.py stage=classifier"):
        ClassifierFeatures(None)
    with pytest.raises(UserError, match="is no bundle"):
        ClassifierFeatures(tmp_path / "nothing")
    _, folder = bundle
    weights = folder / "classifier.safetensors"
    save_file({"other": torch.zeros(1)}, weights)
    with pytest.raises(UserError, match="does not have the hash"):
        ClassifierFeatures(folder)


def test_rad_dino_is_transformers_own_on_a_local_folder(dinov2):
    model, folder = dinov2
    extractor = RadDino(str(folder))
    image = pixels(2, 56)
    features = extractor(image)
    assert features.shape == (2, 32)
    grey = torch.nn.functional.interpolate(image, size=(28, 28), mode="bilinear", antialias=True)
    normalised = ((grey + 1) / 2 - 0.5307) / 0.2583
    with torch.no_grad():
        expected = model(normalised.repeat(1, 3, 1, 1)).last_hidden_state[:, 0]
    torch.testing.assert_close(features, expected.double(), rtol=1e-4, atol=1e-5)
    stated = extractor.settings()
    assert (stated["extractor"], stated["weights"], stated["input"]) == ("rad_dino", "rad-dino", 28)
    assert extractor.train().training is False


def test_rad_dino_says_how_to_get_what_is_missing(dinov2, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="huggingface-cli download .*nothing --local-dir FOLDER"):
        RadDino(str(tmp_path / "nothing"))
    _, folder = dinov2
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match="must hold config.json, preprocessor_config.json"):
        RadDino(str(folder))
    bert = BertModel(BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    bert.save_pretrained(tmp_path / "bert")
    (tmp_path / "bert" / "preprocessor_config.json").write_text(json.dumps(PROCESSING))
    with pytest.raises(UserError, match="is a bert; a dinov2 is needed"):
        RadDino(str(tmp_path / "bert"))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (Inception, r"features=inception needs the package torch-fidelity.*pip install 'cxr-ldm\[inception\]'"),
        (XRVDenseNet, r"features=xrv_densenet needs the package torchxrayvision.*pip install 'cxr-ldm\[xrv\]'"),
    ],
)
def test_a_missing_package_is_one_sentence(build, words, monkeypatch):
    monkeypatch.setattr(fetched, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=words):
        build()


class FakeDenseNet(torch.nn.Module):
    """Has torchxrayvision's `features`: [N, 1, 224, 224] -> maps."""

    def __init__(self, weights, cache_dir):
        super().__init__()
        if weights == "nothing":
            raise Exception("weights value must be in [...]")
        self.features = torch.nn.Identity()


def test_xrv_sees_one_channel_of_224_pixels_in_1024_either_way(monkeypatch):
    module = type("torchxrayvision", (), {"models": type("models", (), {"DenseNet": FakeDenseNet})})
    monkeypatch.setitem(__import__("sys").modules, "torchxrayvision", module)
    monkeypatch.setattr(fetched, "find_spec", lambda name: object())
    extractor, seen = XRVDenseNet(), []
    extractor.layers.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    features = extractor(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(-1, -1, 64, 64))
    assert seen[0].shape == (2, 1, 224, 224)
    assert features.flatten().tolist() == [1024.0, 0.0]  # rectified, then the mean over places
    with pytest.raises(UserError, match="cannot load the weights nothing .*features.xrv_densenet.cache_dir=FOLDER"):
        XRVDenseNet("nothing")


def test_inception_sees_uint8_in_three_channels(monkeypatch):
    seen = []

    class Fake(torch.nn.Module):
        def __init__(self, name, features, path):
            super().__init__()
            if path is not None:
                raise FileNotFoundError(2, "No such file", path)

        def forward(self, images):
            seen.append(images)
            return images.float().mean(dim=(2, 3))

    monkeypatch.setattr(fetched, "find_spec", lambda name: object())
    monkeypatch.setattr("torchmetrics.image.fid.NoTrainInceptionV3", Fake)
    features = Inception()(pixels(2))
    assert seen[0].dtype == torch.uint8
    assert seen[0].shape == (2, 3, 32, 32)
    assert features.dtype == torch.float64
    with pytest.raises(UserError, match="features.inception.weights=FILE"):
        Inception("/no/such/file.pth")


def test_grey_is_rounded_and_clamped_never_wrapped():
    levels = np.arange(256)
    image = torch.from_numpy(levels / 127.5 - 1).float().view(1, 1, 16, 16)
    assert as_rgb(image)[0, 1].flatten().tolist() == levels.tolist()
    assert as_rgb(image * 2).min() == 0
    assert as_rgb(image * 2).max() == 255


def test_shrinking_is_antialiased_and_the_same_size_is_untouched():
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1)[None, None]
    assert resized(board, 16)[..., 2:-2, 2:-2].abs().max() < 0.05
    assert resized(board, 64) is board


@pytest.mark.parametrize(
    ("processing", "side"),
    [
        (PROCESSING, 28),
        ({"size": {"height": 224, "width": 224}}, 224),
        ({"size": 196, "crop_size": {"height": 100, "width": 100}, "do_center_crop": False}, 196),
    ],
)
def test_the_input_size_is_the_processors(processing, side):
    assert input_size(processing) == side
