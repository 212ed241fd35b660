"""Bundles load strictly or not at all; the pipeline keeps its promises."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cxr_ldm import artifacts
from cxr_ldm.bundle import SUMS, bundle_sha256, load_bundle, save_again, save_bundle
from cxr_ldm.diffusion import samplers
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.unet import UNet
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.text.attributes import PatientAttributes
from cxr_ldm.text.encoders import scratch
from cxr_ldm.training import prompt_grid

UNET = {"channels": [8, 16], "blocks": 1, "attention_levels": [0, 1], "middle_attention": True, "heads": 2, "groups": 4}
VAE = {"latent_channels": 2, "channels": [8, 8], "blocks": 1, "groups": 4}
TEXTS = ["Right pleural effusion.", "Normal chest X-ray, clear lungs.", ""]


@pytest.fixture
def folder(tmp_path):
    """A bundle with random weights, everything away from its silent start."""
    torch.manual_seed(0)
    text = scratch(TEXTS * 3, vocabulary=100, layers=1, width=16, heads=2, length=12)
    network = UNet(latent_channels=2, context_width=16, **UNET)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    parts = {
        "autoencoder": Autoencoder(**VAE),
        "network": network,
        "text_encoder": text,
        "whitening": Whitening([0.0, 0.5], [1.0, 2.0]),
    }
    specs = {
        "autoencoder": {"_target_": "cxr_ldm.networks.autoencoder.Autoencoder", **VAE},
        "network": {"_target_": "cxr_ldm.networks.unet.UNet", "latent_channels": 2, "context_width": 16, **UNET},
        "schedule": {"_target_": "cxr_ldm.diffusion.schedules.RectifiedFlow"},
        "scaling": {"_target_": "cxr_ldm.diffusion.scaling.Velocity"},
        "text_encoder": {"_target_": "cxr_ldm.text.encoders.TextEncoder", **text.arguments},
        "whitening": {"_target_": "cxr_ldm.networks.whitening.Whitening", "mean": [0.0, 0.5], "std": [1.0, 2.0]},
    }
    save_bundle(tmp_path / "bundle", "ldm", specs, parts, {"size": 16})
    return tmp_path / "bundle"


def resum(folder):
    """Make SHA256SUMS true again after a change that should be caught by something else."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    (folder / SUMS).write_text("".join(f"{artifacts.sha256_file(f)}  {f.name}\n" for f in files))


def test_a_bundle_holds_no_pickle_and_loads_what_was_saved(folder):
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ""}
    bundle = load_bundle(folder, "ldm")
    saved = load_file(folder / "network.safetensors")
    loaded = bundle.parts["network"].state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[key], loaded[key]) for key in saved)


def test_a_wrong_hash_is_refused(folder):
    with open(folder / "network.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(UserError, match=r"network\.safetensors does not have the hash"):
        load_bundle(folder, "ldm")


def test_a_missing_or_additional_weight_is_refused(folder):
    weights = load_file(folder / "network.safetensors")
    weights.pop("conv_out.bias")
    save_file(weights, folder / "network.safetensors")
    resum(folder)
    with pytest.raises(UserError, match=r"conv_out\.bias"):
        load_bundle(folder, "ldm")


def test_wrong_kind_no_bundle_and_listed_but_missing_files_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="kind 'vae'"):
        load_bundle(folder, "vae")
    with pytest.raises(UserError, match="is no bundle"):
        load_bundle(tmp_path, "ldm")
    (folder / "whitening.safetensors").unlink()
    with pytest.raises(UserError, match=r"whitening\.safetensors"):
        load_bundle(folder, "ldm")


def test_a_bundle_does_not_choose_foreign_code(folder):
    config = json.loads((folder / "config.json").read_text())
    config["parts"]["schedule"] = {"_target_": "os.getcwd"}
    (folder / "config.json").write_text(json.dumps(config))
    resum(folder)
    with pytest.raises(UserError, match=r"bundle_packages=\[os\]"):
        load_bundle(folder, "ldm")


def test_a_sample_depends_on_its_prompt_and_seed_not_on_the_batch(folder):
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    together = pipeline(TEXTS, [0, 1, 2], steps=3, guidance=2.0)
    assert together.shape == (3, 1, 16, 16)
    assert together.abs().max() <= 1.0
    alone = torch.cat([pipeline([text], [seed], steps=3, guidance=2.0) for seed, text in enumerate(TEXTS)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    split = pipeline(TEXTS, [0, 1, 2], steps=3, guidance=2.0, batch_size=2)
    torch.testing.assert_close(together, split, rtol=0, atol=1e-4)
    assert torch.equal(pipeline(TEXTS[:1], [0], steps=3), pipeline(TEXTS[:1], [0], steps=3))


def test_guidance_and_prompt_change_the_image(folder):
    """Defect 1: images at scale 1, 7.5 and 15 were identical."""
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    images = [pipeline(TEXTS[:1], [0], steps=3, guidance=scale) for scale in (0.0, 1.0, 7.5, 15.0)]
    for index in range(3):
        assert (images[index] - images[index + 1]).abs().max() > 1e-4
    unconditional = pipeline(TEXTS[1:2], [0], steps=3, guidance=0.0)
    torch.testing.assert_close(images[0], unconditional, rtol=0, atol=1e-5)


def test_a_bundle_brings_the_guidance_that_its_model_is_used_with(folder, tmp_path):
    assert TextToCXR.from_bundle(folder, device="cpu").guidance == Guidance(1.0)  # one that states none
    entry = Guidance(3.0, (0.2, 0.9)).settings() | {"chosen": "stated"}
    save_again(folder, tmp_path / "guided", half=False, guidance=entry)
    assert load_bundle(tmp_path / "guided", "ldm").info["made_from"] == bundle_sha256(folder)
    pipeline = TextToCXR.from_bundle(tmp_path / "guided", device="cpu")

    def drawn(**stated):
        return pipeline(TEXTS[:1], [0], steps=3, **stated)

    assert torch.equal(drawn(), drawn(guidance=Guidance(3.0, (0.2, 0.9))))
    assert torch.equal(drawn(guidance=5.0), drawn(guidance=Guidance(5.0, (0.2, 0.9))))  # as guidance.scale=5 does
    assert not torch.equal(drawn(), drawn(guidance=1.0))


def test_at_one_the_network_runs_for_the_text_alone(folder):
    pipeline, sizes = TextToCXR.from_bundle(folder, device="cpu"), []
    pipeline.denoiser.network.register_forward_pre_hook(lambda module, arguments: sizes.append(len(arguments[0])))
    for stated, expected in ((None, 3), (1.0, 3), (1.05, 6), (0.0, 3)):
        sizes.clear()
        pipeline(TEXTS, [0, 1, 2], steps=4, guidance=stated)
        assert set(sizes) == {expected}


def test_defect_1_guidance_has_an_effect_with_every_sampler(folder):
    """Images at scale 1, 7.5 and 15 were identical; also, limiting or rescaling the guidance changes the image."""
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    rules = (1.0, 7.5, 15.0, Guidance(15.0, (0.2, 0.7)), Guidance(15.0, rescale=0.7))
    for name in ("ddim", "ddpm", "euler", "heun", "dpmpp_2m", "unipc"):
        images = [pipeline(TEXTS[:1], [0], steps=3, guidance=rule, sampler=getattr(samplers, name)) for rule in rules]
        for index, image in enumerate(images):
            assert image.isfinite().all()
            for other in images[:index]:
                assert (image - other).abs().max() > 1e-4, name
    same = pipeline(TEXTS[:1], [0], steps=3, guidance=Guidance(7.5))
    assert torch.equal(same, pipeline(TEXTS[:1], [0], steps=3, guidance=7.5))


def test_latents_are_restored_and_not_clamped(folder):
    """Defects 5 and 7: sampling starts from white noise, latents are never clamped, the last step ends on the data."""
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    seen = {}

    def sampler(denoise, x, times, schedule, **rest):
        seen["start"], seen["times"] = x, times
        return torch.full_like(x, 5.0)

    def decode(latents):
        seen["latents"] = latents
        return torch.zeros(len(latents), 1, 16, 16)

    pipeline.autoencoder.decode = decode
    pipeline([""] * 64, list(range(64)), steps=4, sampler=sampler)
    assert seen["start"].std().item() == pytest.approx(1.0, abs=0.02)
    assert seen["times"][0] == 1.0
    assert seen["times"][-1] == 0.0
    assert seen["latents"][0, :, 0, 0].tolist() == [5.0, 10.5]


def test_bad_calls_are_refused(folder):
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    for prompts, seeds, steps in (([], [], 3), (["a"], [0, 1], 3), (["a"], [0], 0)):
        with pytest.raises(UserError):
            pipeline(prompts, seeds, steps=steps)


def test_half_the_size_gives_nearly_the_same_images(folder, tmp_path):
    """float16 has 11 bits: the latents differ by thousandths, and the images hardly."""
    save_again(folder, tmp_path / "half", half=True)
    weights = [
        sum(path.stat().st_size for path in place.glob("*.safetensors")) for place in (folder, tmp_path / "half")
    ]
    assert weights[1] < 0.6 * weights[0]
    info = load_bundle(tmp_path / "half", "ldm").info
    assert info["weights"] == "float16"
    assert info["made_from"] == bundle_sha256(folder)
    whole, half = (
        TextToCXR.from_bundle(place)(["Normal."], seeds=[0], steps=4) for place in (folder, tmp_path / "half")
    )
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, rtol=0, atol=0.02)
    with pytest.raises(UserError, match="exists already"):
        save_again(folder, tmp_path / "half", half=True)


def with_attributes(pipeline):
    torch.manual_seed(1)
    attributes = PatientAttributes(["view", "age", "sex"], 16)
    parts = (pipeline.autoencoder, pipeline.denoiser, pipeline.text_encoder, pipeline.whitening)
    return TextToCXR(*parts, pipeline.size, pipeline.sha256, attributes)


def test_view_age_and_sex_change_the_image_and_nothing_known_is_the_default(folder):
    pipeline = with_attributes(TextToCXR.from_bundle(folder))
    people = [{}, {"age": None}, {"view": "AP"}, {"age": 80}, {"sex": "male"}]
    people = [*people, {"age": 80}]
    images = pipeline(["Normal."] * 6, seeds=[0] * 6, steps=3, guidance=2.0, patients=people, batch_size=4)
    assert torch.equal(images[0], images[1])
    for one, other in ((0, 2), (0, 3), (0, 4), (2, 3)):
        assert (images[one] - images[other]).abs().max() > 1e-3
    torch.testing.assert_close(images[3], images[5])


def test_a_patient_is_refused_by_a_model_that_does_not_know_patients(folder):
    with pytest.raises(UserError, match="patient.age is set, but this model was trained without"):
        TextToCXR.from_bundle(folder)(["Normal."], seeds=[0], steps=1, patients=[{"age": 50, "sex": None}])


def test_more_steps_than_noise_levels_and_fewer_patients_than_prompts_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["parts"]["schedule"] = {"_target_": "cxr_ldm.diffusion.schedules.LinearBeta", "levels": 10}
    (folder / "config.json").write_text(json.dumps(config))
    resum(folder)
    pipeline = TextToCXR.from_bundle(folder)
    with pytest.raises(UserError, match="sampler.steps=11 is more than the 10 noise levels"):
        pipeline(["Normal."], seeds=[0], steps=11)
    with pytest.raises(UserError, match="2 prompts and 1 patients"):
        pipeline(["Normal."] * 2, seeds=[0, 1], steps=2, patients=[{}])


def test_a_bundle_of_another_version_is_refused_in_a_sentence(folder):
    config = json.loads((folder / "config.json").read_text())
    config["parts"]["whitening"]["trains"] = True
    (folder / "config.json").write_text(json.dumps(config))
    resum(folder)
    with pytest.raises(UserError, match=r"made by another version of .*Whitening .*train it again"):
        load_bundle(folder, "ldm")


def test_the_pictures_of_a_training_are_drawn_with_the_guidance_that_is_asked_for(folder, tmp_path):
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    prepared = SimpleNamespace(rows=lambda split: np.arange(2), texts=lambda rows: TEXTS[:2], size=16)
    parts = {"denoiser": pipeline.denoiser, "text_encoder": pipeline.text_encoder, "whitening": pipeline.whitening}
    module = SimpleNamespace(device="cpu", attributes=None, **parts)
    for rule in (Guidance(), Guidance(4.0, (0.1, 0.9))):
        pictures = prompt_grid(pipeline.autoencoder, prepared, tmp_path, rule)
        assert torch.equal(pictures.draw(module), pipeline(TEXTS[:2], [0, 1], steps=20, guidance=rule))
