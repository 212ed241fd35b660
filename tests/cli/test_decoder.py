"""A decoder that learns on alone, and the model that takes it: the encoder and the latents stay what they were."""

import pytest
import torch

from cxr_ldm.bundle import load_bundle, load_vae

TINY = ["data.reader.n=120", "data.size=32", "vae=tiny", "logger=csv"]
ADVERSARY = [
    "+vae.adversary._target_=cxr_ldm.stages.adversary.Adversary",
    "+vae.adversary.network._target_=cxr_ldm.networks.discriminator.PatchDiscriminator",
    "+vae.adversary.network.channels=[8,8]",
    "+vae.adversary.network.groups=4",
    "+vae.adversary.weight=0.5",
    "+vae.adversary.start=0.0",
]
LENGTHS = ["training.vae.images=64", "training.vae.validate_every=64", "training.vae.batch_size=8"]
MODEL = ["denoiser=tiny", "text_encoder.layers=1", "text_encoder.width=32"]


@pytest.fixture(scope="module")
def outputs(command, tmp_path_factory):
    """prepare -> vae -> its decoder alone -> a model of the first VAE's latents."""
    folder = tmp_path_factory.mktemp("outputs")
    where = f"paths.outputs={folder}"
    command("-m", "cxr_ldm.prepare", *TINY[:2], where)
    command("train.py", "stage=vae", "name=first", *TINY, *ADVERSARY, *LENGTHS, where)
    first = f"vae_bundle={folder}/vae/first/bundle"
    longer = [first, "name=second", "training.vae.latent_noise=0.4"]
    printed = command("train.py", "stage=vae", *longer, *TINY, *ADVERSARY, *LENGTHS, where).stdout
    assert "and from its discriminator" in printed
    lengths = ["training.ldm.images=64", "training.ldm.validate_every=64"]
    command("train.py", "stage=ldm", first, "name=model", *TINY, *MODEL, *lengths, where)
    return folder


def weights(folder, name):
    return load_bundle(folder / "vae" / name / "bundle", "vae").parts["autoencoder"].state_dict()


@pytest.mark.campaign
def test_the_encoder_stays_and_the_decoder_learns(outputs):
    before, after = weights(outputs, "first"), weights(outputs, "second")
    for name, value in before.items():
        kept = name.startswith(("encoder.", "quant_conv."))
        assert torch.equal(value, after[name]) == kept, name


@pytest.mark.campaign
def test_another_network_is_refused_before_anything_is_written(outputs, command):
    where = [f"vae_bundle={outputs}/vae/first/bundle", "name=third", f"paths.outputs={outputs}"]
    error = command("train.py", "stage=vae", *TINY, "vae=small", *LENGTHS, *where, code=2).stderr
    assert "holds another network than vae.network" in error
    assert not (outputs / "vae" / "third").exists()


@pytest.mark.campaign
def test_a_model_takes_the_decoder_of_its_own_encoder_alone(outputs, command, tmp_path):
    model = [f"bundle={outputs}/ldm/model/bundle", f"paths.outputs={outputs}"]
    export = ["-m", "cxr_ldm.export", *model, "form=full", f"out={tmp_path}/sharper"]
    command(*export, f"decoder={outputs}/vae/second/bundle")
    swapped, old = (load_bundle(place, "ldm") for place in (tmp_path / "sharper", outputs / "ldm" / "model" / "bundle"))
    assert swapped.info["made_from"] == old.sha256
    decoder = swapped.parts["autoencoder"].state_dict()
    assert all(torch.equal(value, decoder[name]) for name, value in weights(outputs, "second").items())
    command("sample.py", "prompt=Normal.", "n=1", "sampler.steps=2", f"bundle={tmp_path}/sharper", model[1])
    stranger = ["train.py", "stage=vae", "name=stranger", "seed=1", *TINY, *ADVERSARY, *LENGTHS, model[1]]
    command(*stranger)
    export[-1] = f"out={tmp_path}/wrong"
    error = command(*export, f"decoder={outputs}/vae/stranger/bundle", code=2).stderr
    assert "has another encoder than the model" in error
    assert not (tmp_path / "wrong").exists()
    assert "go together" in command(*export[:-2], f"out={tmp_path}/half", "form=full", code=2).stderr


def test_a_model_in_the_latents_of_the_public_autoencoder_needs_none_of_its_own(command, tmp_path):
    where = f"paths.outputs={tmp_path}"
    lengths = ["training.ldm.images=64", "training.ldm.validate_every=64"]
    data = [option for option in TINY if option != "vae=tiny"]
    command("train.py", "stage=ldm", "vae_bundle=taesd", "name=public", *data, *MODEL, *lengths, where)
    bundle = tmp_path / "ldm" / "public" / "bundle"
    loaded = load_bundle(bundle, "ldm")
    assert loaded.spec["autoencoder"] == {"part": "TinyAutoencoder", "latent_channels": 4}
    assert loaded.parts["whitening"].channels == 4
    assert "photographs, by the authors of TAESD (MIT licence)" in (bundle / "README.md").read_text()
    command("sample.py", "prompt=Normal.", f"bundle={bundle}", "n=1", "sampler.steps=2", where)
    # and its decoder can learn on
    learnt = ["vae_bundle=taesd", "vae=taesd", "name=tuned", "training.vae.batch_size=4", "training.vae.images=4"]
    command("train.py", "stage=vae", *learnt, "training.vae.validate_every=4", *data, where)
    before, after = load_vae("taesd").parts["autoencoder"].state_dict(), weights(tmp_path, "tuned")
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert same == {name for name in before if name.startswith("encoder.")}
