"""Sizes of the slides' networks, and what is refused."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from cxr_ldm.cli import CONF
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder, kl_divergence, sample_posterior
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.networks.unet import UNet
from cxr_ldm.networks.whitening import Whitening, measure

SMALL = {"channels": [8, 16], "blocks": 1, "attention_levels": [1], "middle_attention": True, "heads": 2, "groups": 4}


def test_deck_autoencoder_is_the_slides():
    network = instantiate(OmegaConf.load(CONF / "vae" / "deck.yaml").network)
    assert 3.0e6 <= parameter_count(network) <= 3.6e6
    assert (network.latent_channels, network.factor) == (8, 8)
    assert network.encode(torch.zeros(1, 1, 64, 64)).shape == (1, 16, 8, 8)


def test_deck_unet_is_the_slides():
    network = instantiate(OmegaConf.load(CONF / "denoiser" / "deck.yaml"), latent_channels=8, context_width=768)
    assert 36e6 <= parameter_count(network) <= 43e6
    attends = {}
    for level, block in enumerate(network.down_blocks):
        attends[level] = block.attends
    assert attends == {0: True, 1: True, 2: True, 3: False}


def test_attention_sees_the_resolutions_it_is_configured_for():
    """Defect 3: levels were compared with down-sampling factors, and attention sat at 4x4 only."""
    change = {"channels": [8, 16, 16], "attention_levels": [0, 1], "middle_attention": False}
    network = UNet(4, 16, **SMALL | change)
    seen = []
    for block in network.modules():
        if type(block).__name__ == "TransformerLayer":
            block.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    network(torch.zeros(1, 4, 16, 16), torch.zeros(1), torch.zeros(1, 3, 16), torch.ones(1, 3, dtype=torch.bool))
    assert set(seen) == {16 * 16, 8 * 8}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attention_levels": []}, "could not steer"),
        ({"attention_levels": [32, 16]}, "must count levels"),
        ({"groups": 5}, "must divide"),
        ({"heads": 3}, "must divide"),
    ],
)
def test_a_unet_that_cannot_work_is_refused(change, words):
    with pytest.raises(UserError, match=words):
        UNet(4, 16, **SMALL | change)


def test_sizes_that_the_levels_do_not_divide_are_refused():
    with pytest.raises(UserError, match="multiple of 2"):
        UNet(4, 16, **SMALL)(torch.zeros(1, 4, 5, 5), torch.zeros(1), torch.zeros(1, 1, 16), torch.ones(1, 1).bool())
    with pytest.raises(UserError, match="multiple of 4"):
        Autoencoder(4, [8, 8, 8], 1, 4).encode(torch.zeros(1, 1, 30, 32))
    with pytest.raises(UserError, match="groups"):
        Autoencoder(4, [8, 9], 1, 4)


def test_padding_tokens_do_not_change_the_output():
    """Defect 4: padding was attended to."""
    torch.manual_seed(0)
    network = UNet(4, 16, **SMALL).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, context = torch.randn(2, 4, 8, 8), torch.randn(2, 6, 16)
    mask = torch.tensor([[True] * 3 + [False] * 3] * 2)
    other = torch.where(mask[:, :, None], context, torch.randn_like(context) * 100)
    label = torch.tensor([1.0, 500.0])
    with torch.no_grad():
        expected = network(x, label, context, mask)
        assert torch.equal(network(x, label, other, mask), expected)
        torch.testing.assert_close(network(x, label, context[:, :3], mask[:, :3]), expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(network(x, label, -context, mask), expected, atol=1e-2)


def test_kl_has_its_closed_form():
    mean, log_variance = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), -1.0)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(0.5, torch.tensor(-0.5).exp()), normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(torch.cat([mean, log_variance], 1)), expected)


def test_posterior_samples_follow_their_moments():
    moments = torch.cat([torch.full((1, 1, 200, 200), 0.3), torch.full((1, 1, 200, 200), -2.0)], 1)
    sample = sample_posterior(moments, torch.Generator().manual_seed(0))
    assert sample.mean().item() == pytest.approx(0.3, abs=0.01)
    assert sample.var().item() == pytest.approx(torch.tensor(-2.0).exp().item(), rel=0.03)


def test_whitened_latents_are_on_the_scale_of_the_noise():
    """Defect 5: the latent scale was a copied constant."""
    generator = torch.Generator().manual_seed(0)
    scale, shift = torch.tensor([0.1, 3.0, 20.0]), torch.tensor([5.0, -1.0, 0.0])
    mean = torch.randn(64, 3, 16, 16, generator=generator) * scale[:, None, None] + shift[:, None, None]
    moments = torch.cat([mean, torch.full_like(mean, -3.0)], dim=1)
    whitening = Whitening(*measure(moments))
    latents = sample_posterior(moments, generator)
    white = whitening.whiten(latents)
    torch.testing.assert_close(white.mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=0.02)
    torch.testing.assert_close(white.std(dim=(0, 2, 3)), torch.ones(3), rtol=0, atol=0.02)
    torch.testing.assert_close(whitening.restore(white), latents, rtol=1e-4, atol=1e-4)
