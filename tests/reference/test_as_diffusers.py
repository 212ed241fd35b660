"""A model of ours by diffusers alone: its networks, its latents, and the image that its script draws."""

import importlib.util

import pytest
import torch

from cxr_ldm.as_diffusers import check, vae_weights, whole, write_diffusers
from cxr_ldm.assets import CHEST, DEMO
from cxr_ldm.bundle import load_bundle
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.samplers import euler
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.pipeline import TextToCXR, normal
from cxr_ldm.text.encoders import TextEncoder

diffusers = pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("diffusers") / "model"
    write_diffusers(load_bundle(DEMO, "ldm"), place)
    return place


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_script_of_diffusers_draws_the_same_image(folder, scale):
    spec = importlib.util.spec_from_file_location("draw_by_diffusers", folder / "draw.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    pipeline = TextToCXR.from_bundle(DEMO, "cpu")
    prompt = "Right pleural effusion, small. The heart is normal in size."
    noise = normal([torch.Generator().manual_seed(3)], pipeline.latent_shape)
    expected = pipeline.draw([prompt], [3], Sampling(8, Guidance(scale), euler))
    found = script.draw(prompt, noise, 8, scale)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 if scale == 1 else 3e-3)


def test_latents_of_the_written_autoencoder_are_white(folder):
    pipeline, vae = TextToCXR.from_bundle(DEMO, "cpu"), diffusers.AutoencoderKL.from_pretrained(folder / "vae")
    pixels = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(vae.encode(pixels).latent_dist.mean, pipeline.encode(pixels), rtol=1e-4, atol=1e-4)


def test_channels_that_are_not_diffused_are_decoded_at_their_mean():
    torch.manual_seed(0)
    autoencoder = Autoencoder(3, (8, 16), blocks=1, groups=4)
    whitening = Whitening([0.3, -0.2, 0.5], [2.0, 0.1, 0.7], live=[0, 2])
    theirs = diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=3,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    ).eval()
    theirs.load_state_dict(vae_weights(autoencoder, whitening))
    white, pixels = torch.randn(1, 2, 4, 4), torch.rand(1, 1, 8, 8)
    spread = torch.randn(1, 3, 4, 4)
    spread[:, [0, 2]] = white
    with torch.no_grad():
        expected = autoencoder.decode(whitening.restore(white))
        torch.testing.assert_close(theirs.decode(spread).sample, expected, rtol=1e-4, atol=1e-5)
        mean, log_variance = autoencoder.encode(pixels).chunk(2, dim=1)
        found = theirs.encode(pixels).latent_dist
        torch.testing.assert_close(found.mean[:, [0, 2]], whitening.whiten(mean), rtol=1e-4, atol=1e-5)
        expected = log_variance - 2 * whitening.std.log()
        torch.testing.assert_close(found.logvar, expected, rtol=1e-4, atol=1e-5)


def test_layers_that_train_apart_are_put_back():
    whole_encoder = load_bundle(DEMO, "ldm").parts["text_encoder"]
    parted = TextEncoder(**whole_encoder.arguments | {"trained_layers": 2})
    ids, mask = parted.tokenizer(["Left pneumothorax.", ""])
    with torch.no_grad():
        expected = parted.projection[0](parted._above(parted.frozen(ids, mask), mask))
        states = whole(parted)(ids, attention_mask=mask).last_hidden_state
        kept = mask[:, :, None]
        torch.testing.assert_close(parted.projection[0](states) * kept, expected * kept, rtol=1e-4, atol=1e-5)


def test_what_diffusers_does_not_know_is_refused(folder):
    with pytest.raises(UserError, match="form=onnx writes any"):
        check(TextToCXR.from_bundle(CHEST, "cpu"))
    with pytest.raises(UserError, match="exists already"):
        write_diffusers(load_bundle(DEMO, "ldm"), folder)
