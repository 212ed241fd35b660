"""The table of autoencoders: peers from their published files, the linear start, one row each."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import save_file

from cxr_ldm.assets import CONF
from cxr_ldm.benchmark.autoencoders import linear_start, of_autoencoder, page, run
from cxr_ldm.bundle import load_vae, save_bundle
from cxr_ldm.commands import export
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import read_metrics, run_entry, write_metrics
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.tiny import PUBLISHED, published

diffusers = pytest.importorskip("diffusers")
VAE = {"latent_channels": 4, "channels": [8, 8], "blocks": 1, "groups": 4, "attention": False, "patch": 4}
VAE |= {"shortcut": True}


@pytest.fixture(scope="module")
def taesd(tmp_path_factory):
    """Random weights in the layout of the published files, and the networks that they belong to."""
    folder, networks = tmp_path_factory.mktemp("taesd"), {}
    for name, channels in PUBLISHED.items():
        torch.manual_seed(channels)
        networks[name] = diffusers.AutoencoderTiny(latent_channels=channels).eval()
        for half, first in (("encoder", 0), ("decoder", 1)):
            tensors = {}
            for key, value in getattr(networks[name], half).layers.state_dict().items():
                layer, _, rest = key.partition(".")
                tensors[f"{int(layer) + first}.{rest}"] = value.contiguous()
            save_file(tensors, folder / f"{name}_{half}.safetensors")
    return folder, networks


def test_a_peer_is_loaded_as_it_was_published(taesd):
    folder, networks = taesd
    pixels = torch.rand(2, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        colour = pixels.expand(-1, 3, -1, -1)
        expected = networks["taesd3"].decode(networks["taesd3"].encode(colour).latents).sample.mean(1, keepdim=True)
        made = of_autoencoder(published(folder, "taesd3"))(pixels)
        torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=r"taesd_encoder\.safetensors does not exist"):
        published(folder / "nowhere", "taesd")


def test_published_files_become_the_bundle_of_a_vae(taesd, tmp_path):
    folder, networks = taesd
    options = ["form=taesd3", f"bundle={folder}", f"out={tmp_path / 'vae'}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("export", options)
    export.main(cfg)
    vae = load_vae(tmp_path / "vae")
    pixels = torch.rand(1, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        expected = networks["taesd3"].encode(pixels.expand(-1, 3, -1, -1)).latents
        torch.testing.assert_close(vae.parts["autoencoder"].encode(pixels)[:, :16], expected, rtol=1e-4, atol=1e-5)
    assert "An autoencoder of photographs" in (tmp_path / "vae" / "README.md").read_text()
    with pytest.raises(UserError, match="exists already"):
        export.main(cfg)


def test_every_maker_gets_a_row_on_every_collection(taesd, tmp_path):
    splits = {"seed": 0, "val": 0.1, "test": 0.2}
    prepared = prepare(PhantomReader(160, 32, 0), tmp_path / "data", Target(32), name="p", splits=splits)
    network = Autoencoder(**VAE)
    network.fit_shortcut(prepared.pixels(prepared.rows("train")))
    save_bundle(tmp_path / "vae", "vae", {"autoencoder": {"part": "Autoencoder", **VAE}}, {"autoencoder": network}, {})
    folders = {"one": str(prepared.folder), "two": str(prepared.folder)}
    metrics = run(str(tmp_path / "vae"), folders, str(taesd[0]), n=12, linear_images=200, seed=0)
    assert len(metrics) == 2 * 4 * 4
    assert metrics["ours_psnr_one"].n == 12
    # its convolutions are silent and its shortcut is fitted to the same images
    assert metrics["ours_psnr_one"].value == pytest.approx(metrics["linear_psnr_one"].value, abs=1e-3)
    assert metrics["ours_psnr_one"].value > metrics["taesd_psnr_one"].value + 5
    write_metrics(tmp_path / "metrics.json", metrics, run_entry(composed={}, bundle_sha256=None, seed=0, command="x"))
    text = page(read_metrics(tmp_path / "metrics.json"))
    assert text.count("\n| ours |") == text.count("\n| linear |") == text.count("\n| taesd3 |") == 2
    assert "## two, n = 12" in text


def test_a_vae_without_a_shortcut_has_no_linear_start_and_nothing_chosen_is_refused():
    assert linear_start(Autoencoder(**VAE | {"shortcut": False}), torch.zeros(1, 1, 8, 8)) is None
    with pytest.raises(UserError, match=r"suite\.run\.bundle=FOLDER"):
        run(None, {}, "", 20, 20, 0)
