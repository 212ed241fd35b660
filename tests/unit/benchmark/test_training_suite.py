"""The training suites: what a step of either side does, and the ratios of the page."""

import pytest
import torch

from cxr_ldm.benchmark import training
from cxr_ldm.benchmark.diffusers_peers import AutoencoderShape, Shapes, UNetShape, randomised, twin_autoencoder
from cxr_ldm.benchmark.training import Clock, noise_error, own_step, plain_step, run, vae
from cxr_ldm.networks.autoencoder import Autoencoder, kl_divergence

UNET = {"channels": [8, 16], "blocks": 1, "attention_levels": [0, 1], "middle_attention": True, "groups": 4}
VAE = {"latent_channels": 4, "channels": [8, 16], "blocks": 1, "groups": 4, "attention": True}
DENOISER, ORIGINAL, AUTOENCODER = UNetShape(**UNET, head_width=8), UNetShape(**UNET, heads=4), AutoencoderShape(**VAE)
BERT = {"vocab_size": 200, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def shapes():
    return Shapes(DENOISER, ORIGINAL, AUTOENCODER, 16, 6, 16)


def test_both_sides_learn(shapes):
    """A step that trained nothing would be fast, too."""
    network = shapes.twin(shapes.unet(DENOISER), DENOISER)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain_step(shapes, network, 2)()
    assert all(not torch.equal(value, before[name]) for name, value in network.state_dict().items())
    made, kept = [], shapes.unet

    class Watched(Shapes):
        def unet(self, shape):
            made.append(kept(shape))
            return made[-1]

    clock = Clock()
    step = own_step(Watched(DENOISER, ORIGINAL, AUTOENCODER, 16, 6, 16), 2, clock)
    before = {name: value.clone() for name, value in made[0].state_dict().items()}
    step()
    assert all(not torch.equal(value, before[name]) for name, value in made[0].state_dict().items())
    assert set(clock.spent) == {"data", "forward", "backward", "optimiser", "ema"}


def test_the_peer_s_error_is_that_of_the_noise(shapes):
    class Silent(torch.nn.Module):
        def forward(self, x, label, context, mask):
            assert ((label >= 0) & (label <= 1000)).all()
            return torch.zeros_like(x)

    error = noise_error(Silent(), torch.randn(64, 4, 8, 8), *shapes.text(64))
    assert error.item() == pytest.approx(1.0, abs=0.05)  # the variance of the noise


def test_the_kl_of_diffusers_is_ours():
    ours = randomised(Autoencoder(**VAE))
    posterior = twin_autoencoder(ours, AUTOENCODER).encode(torch.randn(2, 1, 16, 16)).latent_dist
    theirs = posterior.kl().mean() / posterior.mean[0].numel()
    torch.testing.assert_close(theirs, kl_divergence(torch.cat([posterior.mean, posterior.logvar], 1)))


@pytest.mark.parametrize("has_bf16", [True, False])
def test_every_ratio_of_the_pages_is_there(shapes, has_bf16, monkeypatch):
    monkeypatch.setattr(training, "has_bf16", lambda device: has_bf16)
    counts = {"padded": 8, "batch": 2, "repeats": 1, "seed": 0}
    metrics = run(shapes, architecture=BERT, **counts)
    shares = {name for name in metrics if name.startswith("share_")}
    expected = {"speed_to_original", "speed_to_diffusers", "speed_alike", "self_check"}
    if has_bf16:
        expected |= {"speed_bf16_to_original", "speed_bf16_to_diffusers", "speed_alike_bf16", "bf16_speed"}
    assert set(metrics) - shares == expected
    assert sum(metrics[name].value for name in shares) == pytest.approx(1.0)
    assert set(vae(AUTOENCODER, 16, 2, 1, 0)) == {"speed_alike", "self_check"}
