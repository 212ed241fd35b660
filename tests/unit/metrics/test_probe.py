"""The linear probe: what trains, what it sees, and that it learns a side."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr_ldm.bundle import load_bundle, save_bundle
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.features.efficientnet import EfficientNetLite0
from cxr_ldm.metrics.features.probe import Probe


def pictures(count):
    """Dark pictures with a bright disc in the left or in the right half, and whether it is the left one."""
    left = torch.arange(count) % 2 == 0
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    places = torch.where(left, 16.0, 48.0)
    discs = torch.stack([((y - 32) ** 2 + (x - place) ** 2 < 81).float() for place in places])
    noise = 0.1 * torch.randn(discs.shape, generator=torch.Generator().manual_seed(0))
    return (discs - 0.5 + noise)[:, None], left.float()[:, None]


def test_only_the_head_trains_and_a_side_is_learnt():
    probe, (pixels, left) = Probe(["left"]), pictures(24)
    assert {name for name, weight in probe.named_parameters() if weight.requires_grad} == {"head.weight", "head.bias"}
    assert torch.equal(probe(pixels), probe.head.bias.expand(24, 1))  # it begins by knowing nothing
    optimizer, features = torch.optim.Adam(probe.head.parameters(), lr=0.01), probe.train().features(pixels[:16])
    for _ in range(40):
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(probe.head(features), left[:16]).backward()
        optimizer.step()
    assert torch.equal(probe.probabilities(pixels[16:]) > 0.5, left[16:] > 0.5)


def test_its_features_are_those_of_the_halves_and_do_not_depend_on_the_batch_or_the_precision():
    probe, pixels = Probe(["a"]), pictures(3)[0]
    features = probe.features(pixels)
    assert features.shape == (3, probe.num_features)
    assert torch.allclose(features[1:2], probe.features(pixels[1:2]), atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(probe.features(pixels), features)
    left, right = probe.features(pixels.flip(-1)).chunk(2, dim=1)
    assert torch.allclose(features.mean(1), torch.zeros(3), atol=1e-5)
    assert not torch.allclose(left, right, atol=0.1)
    whole = EfficientNetLite0()(pixels).float()
    both = features.unflatten(1, (2, -1)).mean(1)
    assert torch.corrcoef(torch.stack([whole[0], both[0]]))[0, 1] > 0.99


def test_it_is_kept_in_a_bundle(tmp_path):
    probe = Probe(["a", "b"])
    torch.nn.init.normal_(probe.head.weight)
    save_bundle(
        tmp_path / "b",
        "classifier",
        {"classifier": {"part": "Probe", "classes": ["a", "b"]}},
        {"classifier": probe},
        {},
    )
    again = load_bundle(tmp_path / "b", "classifier").parts["classifier"]
    assert torch.equal(again(pictures(2)[0]), probe.eval()(pictures(2)[0]))


def test_a_probe_of_nothing_is_refused():
    with pytest.raises(UserError, match="at least one class"):
        Probe([])
