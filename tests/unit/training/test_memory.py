"""What a training needs is counted rightly, and parts of a batch that fit train the same."""

import copy
from types import SimpleNamespace

import pytest
import torch

from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.checkpointing import checkpointed, kept_bytes
from cxr_ldm.networks.unet import UNet
from cxr_ldm.stages.recipe import Recipe
from cxr_ldm.training.memory import COPIES, USABLE, fitted, need


def unet():
    torch.manual_seed(0)
    network = UNet(2, 6, channels=[8, 16], blocks=1, attention_levels=[0, 1], middle_attention=True, heads=2, groups=4)
    for value in network.parameters():  # a branch at zero would have no gradient
        torch.nn.init.normal_(value, std=0.2)
    return network


def of_unet(network, count):
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(1)
    x, states = torch.randn(count, 2, 8, 8, generator=generator), torch.randn(count, 5, 6, generator=generator)
    mask = torch.ones(count, 5, dtype=torch.bool)
    return network(*(value.to(device) for value in (x, torch.full((count,), 0.5), states, mask)))


def autoencoder():
    torch.manual_seed(0)
    return Autoencoder(2, [8, 16], 1, 4, attention=True)


def of_autoencoder(network, count):
    mean, _ = network.encode(torch.zeros(count, 1, 16, 16, device=next(network.parameters()).device)).chunk(2, dim=1)
    return network.decode(mean)


CASES = [(unet, of_unet), (autoencoder, of_autoencoder)]


@pytest.mark.parametrize(("make", "step"), CASES, ids=["unet", "autoencoder"])
@pytest.mark.parametrize("again", [False, True])
def test_what_is_counted_without_computing_is_what_is_kept(make, step, again):
    """On fake tensors as by the hooks of a real pass, and never less: attention may be counted by its plain form."""
    network = make().train()
    if again:
        checkpointed(network)
    real = [kept_bytes(lambda count=count: step(network, count), network) for count in (1, 3)]
    counted = need(network, make(), step, again)
    weights = sum(value.nbytes for value in network.parameters())
    for count, kept in zip((1, 3), real, strict=True):
        assert 0.99 * kept <= counted.fixed - COPIES * weights + count * counted.image <= 1.1 * kept


@pytest.mark.parametrize(("make", "step"), CASES, ids=["unet", "autoencoder"])
def test_blocks_that_compute_again_keep_less_and_change_nothing(make, step):
    plain = make().train()
    other = copy.deepcopy(plain)
    checkpointed(other)
    assert plain.state_dict().keys() == other.state_dict().keys()
    kept = [kept_bytes(lambda network=network: step(network, 2), network) for network in (plain, other)]
    assert kept[1] < 0.6 * kept[0]
    for network in (plain, other):
        step(network, 2).square().sum().backward()
    for mine, theirs in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    copied = copy.deepcopy(other)  # as the average of the weights is
    with torch.no_grad():
        for value in copied.parameters():
            value.zero_()
    assert step(other, 1).abs().sum() == step(plain, 1).abs().sum()


def plan(batch=12):
    network = unet()
    recipe = Recipe(torch.optim.AdamW, batch_size=batch, images=48, validate_every=24, checkpoint_every=24)
    return SimpleNamespace(recipe=recipe, heaviest=lambda module: (network, of_unet)), network


@pytest.mark.parametrize(
    ("images", "size", "again"), [(100, 12, False), (7.5, 6, False), (4.5, 4, False), (1.5, 3, True)]
)
def test_a_batch_is_divided_into_equal_parts_that_fit(images, size, again, capsys):
    made, network = plan()
    found = need(network, network, of_unet, checkpointing=False)
    gigabytes = (found.fixed + images * found.image) / USABLE / 1e9
    recipe, checkpointing = fitted(made, network, gigabytes)
    assert checkpointing == again
    assert recipe.batch_size * recipe.accumulate == 12
    assert recipe.batch_size == size if not again else recipe.batch_size >= size
    assert recipe.periods().images == made.recipe.periods().images
    assert f"{recipe.batch_size} of 12 images at once" in capsys.readouterr().out


def test_what_no_part_fits_is_refused():
    made, network = plan()
    with pytest.raises(UserError, match=r"does not hold one image of this training, which needs some 0\.0 GB"):
        fitted(made, network, 1e-6)
