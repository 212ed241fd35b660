"""LoRA: the network is what it was to begin with, its changes alone train, and merged it says the same."""

import torch

from cxr_ldm.networks.low_rank import add_low_rank, merged
from cxr_ldm.networks.unet import UNet

SHAPE = {"channels": [8, 16], "blocks": 1, "attention_levels": [0, 1], "middle_attention": True, "groups": 4}


def network():
    torch.manual_seed(0)
    unet = UNet(4, 12, **SHAPE, heads=2).eval()
    with torch.no_grad():
        for weights in unet.parameters():  # branches that begin at zero would hide a change
            weights.add_(0.05 * torch.randn_like(weights))
    return unet


def said(unet):
    generator = torch.Generator().manual_seed(1)
    x, states = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 5, 12, generator=generator)
    with torch.no_grad():
        return unet(x, torch.tensor([10.0, 500.0]), states, torch.ones(2, 5, dtype=torch.bool))


def test_it_is_what_it_was_until_its_changes_train_and_they_alone_do():
    unet, before = network(), said(network())
    known = set(unet.state_dict())
    count = add_low_rank(unet, 2)
    # four matrices of self- and of cross-attention, at two levels down, in the middle, and twice at two levels up
    assert count == 4 * 2 * 7
    torch.testing.assert_close(said(unet), before, rtol=0, atol=1e-6)
    trains = [name for name, weights in unet.named_parameters() if weights.requires_grad]
    assert len(trains) == 2 * count
    assert all(name.endswith((".down", ".up")) for name in trains)
    optimizer = torch.optim.SGD([weights for weights in unet.parameters() if weights.requires_grad], lr=30.0)
    for _ in range(2):  # the first step moves `up` alone
        x, states = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 12)
        unet(x, torch.tensor([10.0, 500.0]), states, torch.ones(2, 5, dtype=torch.bool)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = said(unet)
    assert (changed - before).abs().max() > 1e-3
    whole = merged(unet)
    assert set(whole.state_dict()) == known
    torch.testing.assert_close(said(whole), changed, rtol=0, atol=1e-5)
    torch.testing.assert_close(said(unet), changed)  # the one that trains is left as it is


def test_a_network_without_changes_is_itself():
    unet = network()
    assert merged(unet) is unet
