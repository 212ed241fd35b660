"""Sizes of the slides' networks, and what is refused."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from cxr_ldm.assets import CONF
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder, kl_divergence, sample_posterior
from cxr_ldm.networks.blocks import Attention, parameter_count
from cxr_ldm.networks.unet import UNet
from cxr_ldm.networks.whitening import Moments, Whitening, live_channels

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


def test_heads_have_one_width_and_wider_levels_have_more_of_them():
    options = SMALL | {"channels": [16, 32], "attention_levels": [0, 1], "heads": None, "head_width": 8}
    network = UNet(4, 16, **options)
    found = [block.heads for block in network.modules() if isinstance(block, Attention)]
    assert found == [2] * 2 + [4] * 2 + [4] * 2 + [4] * 4 + [2] * 4  # down, middle, up; to itself and to the text
    weights = network.state_dict()
    UNet(4, 16, **options | {"head_width": None, "heads": 4}).load_state_dict(
        weights
    )  # heads have no weights of their own


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
        ({"heads": 3}, "heads=3 must divide"),
        ({"heads": None, "head_width": 12}, "head_width=12 must divide"),
        ({"heads": None}, "give either"),
        ({"head_width": 8}, "give either"),
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
    measured = Moments.of([moments])
    whitening = Whitening(measured.mean.tolist(), measured.std.tolist())
    latents = sample_posterior(moments, generator)
    white = whitening.whiten(latents)
    torch.testing.assert_close(white.mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=0.02)
    torch.testing.assert_close(white.std(dim=(0, 2, 3)), torch.ones(3), rtol=0, atol=0.02)
    torch.testing.assert_close(whitening.restore(white), latents, rtol=1e-4, atol=1e-4)


def test_a_collapsed_channel_is_neither_diffused_nor_noise_when_decoded():
    """Its posterior is the prior: whitened it would be pure noise, which a denoiser learns for nothing."""
    torch.manual_seed(0)
    mean = torch.randn(200, 3, 4, 4) * torch.tensor([2.0, 0.05, 1.0])[:, None, None] + 0.5
    log_variance = torch.tensor([0.01, 1.0, 0.1]).log()[:, None, None].expand_as(mean)
    moments = torch.cat([mean, log_variance], dim=1)
    measured = Moments.of(moments.split(100))
    shares = measured.signal
    assert shares == pytest.approx([4 / 4.01, 0.0025 / 1.0025, 1 / 1.1], abs=0.03)
    live = live_channels(shares, 0.25)
    whitening = Whitening(measured.mean.tolist(), measured.std.tolist(), live, 0.25)
    white = whitening.whiten(sample_posterior(moments))
    assert (live, white.shape, whitening.channels) == ([0, 2], (200, 2, 4, 4), 2)
    assert white.mean((0, 2, 3)).abs().max() < 0.03
    assert (white.std((0, 2, 3)) - 1).abs().max() < 0.02
    restored = whitening.restore(whitening.whiten(mean))
    torch.testing.assert_close(restored[:, live], mean[:, live])
    torch.testing.assert_close(restored[:, 1], torch.full_like(mean[:, 1], mean[:, 1].mean().item()), atol=1e-4, rtol=0)
    assert Whitening(**whitening.arguments).live.tolist() == [0, 2]
    with pytest.raises(UserError, match="ascending order"):
        Whitening([0.0, 0.0], [1.0, 1.0], [1, 0])


def faded_squares(count: int) -> torch.Tensor:
    """Pictures whose squares of 4 × 4 pixels vary in three directions only, and a little noise."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(3, 16, generator=generator)
    amounts = torch.randn(count, 3, 6, 6, generator=generator)
    planes = torch.einsum("nkhw,kp->nphw", amounts, directions) * 0.1
    return torch.nn.functional.pixel_shuffle(planes + 0.001 * torch.randn(planes.shape, generator=generator), 4)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_a_fitted_shortcut_is_the_principal_components_and_the_convolutions_start_silent(patch):
    from sklearn.decomposition import PCA

    channels = [8] * (3 - patch // 2)
    network = Autoencoder(3, channels, 1, 4, attention=False, patch=patch, shortcut=True)
    assert network.factor == 4
    pixels = faded_squares(20)
    network.fit_shortcut(pixels)
    with torch.no_grad():
        mean, log_variance = network.encode(pixels).chunk(2, dim=1)
        back = network.decode(mean)
    assert mean.mean((0, 2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(mean.std((0, 2, 3), unbiased=False), torch.ones(3), atol=1e-3, rtol=0)
    assert (log_variance == -6).all()
    squares = torch.nn.functional.pixel_unshuffle(pixels, 4).movedim(1, -1).flatten(0, 2)
    witness = PCA(3).fit(squares)
    expected = torch.from_numpy(witness.inverse_transform(witness.transform(squares))).float()
    found = torch.nn.functional.pixel_unshuffle(back, 4).movedim(1, -1).flatten(0, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="take fewer"):
        network.fit_shortcut(torch.zeros(2, 1, 8, 8))


def test_moments_of_parts_are_those_of_the_whole():
    whole = torch.randn(50, 6, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 100
    means, log_variances = whole[:, :3], whole[:, 3:] / 100
    whole = torch.cat([means, log_variances], dim=1)
    found = Moments.of(whole.split([1, 20, 7, 22]))
    torch.testing.assert_close(found.mean, means.mean((0, 2, 3)), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.between, means.var((0, 2, 3), unbiased=False), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.within, log_variances.exp().mean((0, 2, 3)), rtol=1e-12, atol=0)
