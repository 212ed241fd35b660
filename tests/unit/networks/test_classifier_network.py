"""The finding classifier's network: sizes, sides, independence of the batch, and what is refused."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from cxr_ldm.assets import CONF
from cxr_ldm.errors import UserError
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.networks.classifier import Classifier


def tiny(**changes):
    torch.manual_seed(0)
    return Classifier(**{"classes": ["a", "b"], "channels": [8, 16], "blocks": 1, "groups": 4} | changes)


@pytest.mark.parametrize(("option", "size", "most"), [("tiny", 32, 2e4), ("small", 64, 4e5), ("large", 256, 2e7)])
def test_every_size_builds_and_gives_a_logit_for_each_class(option, size, most):
    network = instantiate(OmegaConf.load(CONF / "classifier_network" / f"{option}.yaml").network, classes=["a", "b"])
    pixels = torch.zeros(2, 1, size, size)
    assert network(pixels).shape == (2, 2)
    assert network.features(pixels).shape == (2, network.num_features)
    assert most / 4 < parameter_count(network) < most


def test_features_are_the_means_of_the_two_halves_so_that_the_side_is_kept():
    """A mean over the whole picture could not tell a finding on the right from one on the left."""
    network, maps = tiny(), []
    network.norm_out.register_forward_hook(lambda module, inputs, output: maps.append(output))
    features = network.features(torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0)))
    active = torch.nn.functional.silu(maps[0])
    assert active.shape == (2, 16, 10, 10)
    torch.testing.assert_close(features[:, :16], active[..., :5].mean(dim=(2, 3)))
    torch.testing.assert_close(features[:, 16:], active[..., 5:].mean(dim=(2, 3)))


def test_an_image_does_not_depend_on_its_batch():
    network = tiny()
    pixels = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(network(pixels)[:1], network(pixels[:1]), rtol=1e-4, atol=1e-5)


def test_probabilities_are_the_sigmoid_of_the_logits():
    network, pixels = tiny(), torch.zeros(1, 1, 32, 32)
    torch.testing.assert_close(network.probabilities(pixels), torch.sigmoid(network(pixels)))


def test_what_cannot_work_is_refused():
    with pytest.raises(UserError, match="groups=5 must divide"):
        tiny(groups=5)
    with pytest.raises(UserError, match="at least one class"):
        tiny(classes=[])
    with pytest.raises(UserError, match="too small for this classifier; data.size=8"):
        tiny().features(torch.zeros(1, 1, 6, 6))
