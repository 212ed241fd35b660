"""An AutoencoderKL that diffusers wrote, in our network: the same latents, and the mean of its colours."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from cxr_ldm.bundle import load_vae
from cxr_ldm.errors import UserError
from cxr_ldm.networks.foreign import autoencoder_kl

diffusers = pytest.importorskip("diffusers")


@pytest.fixture
def saved(tmp_path):
    """A small one in colour with random weights, as diffusers saves it."""
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(8, 16, 24),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        norm_num_groups=4,
        scaling_factor=0.18215,
    )
    with torch.no_grad():
        for weights in theirs.parameters():
            weights.add_(0.1 * torch.randn(weights.shape))
    theirs.eval().save_pretrained(tmp_path / "vae")
    return tmp_path / "vae", theirs


def assert_same(ours, theirs):
    pixels = torch.rand(2, 1, 16, 24) * 2 - 1
    with torch.no_grad():
        expected = theirs.encode(pixels.expand(-1, 3, -1, -1)).latent_dist
        moments = ours.encode(pixels)
        torch.testing.assert_close(moments, torch.cat([expected.mean, expected.logvar], 1), rtol=1e-4, atol=1e-4)
        latents = torch.randn(2, 4, 4, 6)
        colour = theirs.decode(latents).sample
        torch.testing.assert_close(ours.decode(latents), colour.mean(1, keepdim=True), rtol=1e-4, atol=1e-4)


def test_it_computes_what_diffusers_computes(saved):
    folder, theirs = saved
    assert_same(autoencoder_kl(folder)[0], theirs)


def test_older_names_and_half_precision_are_read(saved):
    folder, theirs = saved
    path = folder / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, value in load_file(path).items():
        for new, before in old.items():
            if f"attentions.0.{new}." in name:
                name = name.replace(new, before)
                value = value[:, :, None, None] if value.dim() == 2 else value
        weights[name] = value.clone()
    save_file(weights, path)
    assert_same(autoencoder_kl(folder)[0], theirs)
    save_file({name: value.half() for name, value in weights.items()}, path)
    assert next(autoencoder_kl(folder)[0].parameters()).dtype == torch.float32


def test_one_without_its_outer_convolutions_is_read(tmp_path):
    theirs = diffusers.AutoencoderKL(
        latent_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    ).eval()
    theirs.save_pretrained(tmp_path)
    ours, _ = autoencoder_kl(tmp_path)
    pixels = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        expected = theirs.encode(pixels.expand(-1, 3, -1, -1)).latent_dist.mean
        torch.testing.assert_close(ours.encode(pixels)[:, :4], expected, rtol=1e-4, atol=1e-4)


def test_the_command_makes_a_bundle_to_train_on(saved, command, tmp_path):
    folder, theirs = saved
    command("-m", "cxr_ldm.export", "form=autoencoder_kl", f"bundle={folder}", f"out={tmp_path / 'bundle'}")
    bundle = load_vae(tmp_path / "bundle")
    assert_same(bundle.parts["autoencoder"], theirs)
    assert bundle.info["size"] is None, "of no size of its own, so that any model may learn in its latents"


def test_what_ours_has_not_is_named(saved):
    folder, _ = saved
    config = json.loads((folder / "config.json").read_text())
    for change, words in (
        ({"_class_name": "VQModel"}, "not of an AutoencoderKL"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"]}, "AttnDownEncoderBlock2D"),
        ({"act_fn": "gelu"}, "another activation"),
        ({"block_out_channels": [8, 16, 32]}, "does not fit its"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=words):
            autoencoder_kl(folder)
    (folder / "diffusion_pytorch_model.safetensors").rename(folder / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match="may run code"):
        autoencoder_kl(folder)
