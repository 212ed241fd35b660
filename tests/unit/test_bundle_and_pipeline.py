"""Bundles load strictly or not at all; the pipeline keeps its promises."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from tiny_bundle import TEXTS, write_tiny

from cxr_ldm import content
from cxr_ldm.assets import CONF
from cxr_ldm.bundle import (
    SUMS,
    bundle_sha256,
    load_bundle,
    load_vae,
    quantised,
    read_weights,
    save_again,
    write_weights,
)
from cxr_ldm.diffusion import samplers
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.provenance import provenance
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.register import PARTS, named, resolve
from cxr_ldm.stages.latents import drawing
from cxr_ldm.text.attributes import PatientAttributes
from cxr_ldm.text.conditioner import Conditioner


@pytest.fixture
def folder(tmp_path):
    """A bundle with random weights, everything away from its silent start."""
    return write_tiny(tmp_path / "bundle")


def resum(folder):
    """Make SHA256SUMS true again after a change that should be caught by something else."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    (folder / SUMS).write_text("".join(f"{content.sha256_file(f)}  {f.name}\n" for f in files))


def test_a_bundle_holds_no_pickle_and_loads_what_was_saved(folder):
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".md", ""}
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


def changed(folder, change):
    """The same bundle with another config.json, correctly hashed."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    resum(folder)


HOSTILE = [
    "cxr_ldm.artifacts.os.system",
    "cxr_ldm.artifacts.shutil.rmtree",
    "cxr_ldm.app.uploads.subprocess.run",
    "cxr_ldm.commands.settings.instantiate",
    "cxr_ldm.bundle.torch.load",
    "cxr_ldm.bundle.load_bundle",
    "cxr_ldm.networks.unet.nn.Linear",
    "cxr_ldm.imaging.verify.main",
    "os.system",
    "system",
    "",
]


@pytest.mark.parametrize("key", ["_target_", "part"])
@pytest.mark.parametrize("target", HOSTILE)
@pytest.mark.parametrize("packages", [[], ["cxr_ldm"]])
def test_a_bundle_builds_parts_and_nothing_else(folder, tmp_path, target, key, packages):
    """These ran a command from sample.py bundle= and, with no click, from the page."""
    marker = tmp_path / "ran"
    part = {key: target, "command": f"touch {marker}"}
    changed(folder, lambda config: config["parts"].update(schedule=part))
    with pytest.raises(UserError, match="no part that a bundle may build|is not part of cxr_ldm"):
        load_bundle(folder, "ldm", packages)
    assert not marker.exists()


def test_a_target_inside_an_argument_stays_data(folder, tmp_path):
    nested = {"_target_": "os.system", "command": f"touch {tmp_path / 'ran'}"}
    changed(folder, lambda config: config["parts"]["whitening"].update(mean=[nested, 0.5]))
    with pytest.raises(UserError, match="another version of Whitening"):
        load_bundle(folder, "ldm")
    assert not (tmp_path / "ran").exists()


PACKAGE = """
import os
from torch import nn
from torch.nn import Linear
from cxr_ldm.diffusion.schedules import RectifiedFlow
from cxr_ldm.register import part

class Mine(nn.Module):
    pass

@part
class Schedule(RectifiedFlow):
    pass

class Unmarked(RectifiedFlow):
    pass
"""


def test_another_package_gives_its_networks_and_what_it_marks(folder, tmp_path, monkeypatch):
    (tmp_path / "mylab.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    changed(folder, lambda config: config["parts"].update(schedule={"part": "mylab.Schedule"}))
    with pytest.raises(UserError, match=r"bundle_packages=\[mylab\]"):
        load_bundle(folder, "ldm")
    assert type(load_bundle(folder, "ldm", ["mylab"]).parts["schedule"]).__name__ == "Schedule"
    assert resolve("mylab.Mine", ["mylab"]).__name__ == "Mine"
    for name in ("mylab.Unmarked", "mylab.os.system", "mylab.Linear", "mylab.part", "mylab.os", "mylab.nothing"):
        with pytest.raises(UserError, match=r"no network defined in mylab|cannot be imported"):
            resolve(name, ["mylab"])


def test_bundles_hold_no_address_and_those_that_do_still_load(folder):
    assert "cxr_ldm." not in (folder / "config.json").read_text()
    expected = TextToCXR.from_bundle(folder, "cpu")(TEXTS[:1], [0], steps=2)

    def as_before(config):
        config["format"] = 1
        for part in config["parts"].values():
            part["_target_"] = PARTS[part.pop("part")]

    changed(folder, as_before)
    bundle = load_bundle(folder, "ldm")
    assert bundle.spec["network"]["part"] == "UNet"
    assert torch.equal(TextToCXR.from_bundle(folder, "cpu")(TEXTS[:1], [0], steps=2), expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config.clear(), "of format None"),
        (lambda config: config.pop("parts"), "not a bundle's"),
        (lambda config: config.pop("info"), "not a bundle's"),
        (lambda config: config.update(parts=[1]), "not a bundle's"),
        (lambda config: config["parts"].update(network=7), "not a bundle's"),
        (lambda config: config["parts"]["network"].pop("part"), "not a bundle's"),
        (lambda config: config["parts"].pop("network"), "has no network"),
        (lambda config: config.update(format=3), "of format 3"),
        (lambda config: config["parts"]["network"].update(channels="x"), "does not fit|another version"),
        (lambda config: config["parts"]["network"].update(channels=[]), "does not fit|another version"),
        (lambda config: config["parts"]["network"].update(groups=0), "must divide"),
        (lambda config: config["parts"]["text_encoder"].update(tokenizer="{"), "another version|does not fit"),
        (lambda config: config["parts"]["text_encoder"].update(architecture={}), "another version|does not fit"),
        (lambda config: config["parts"]["autoencoder"].update(surprise=1), "another version of Autoencoder"),
    ],
)
def test_a_malformed_bundle_with_right_hashes_gets_one_sentence(folder, change, words):
    changed(folder, change)
    with pytest.raises(UserError, match=words):
        load_bundle(folder, "ldm")


def test_weights_that_are_no_weights_or_not_finite_are_refused(folder):
    weights = load_file(folder / "network.safetensors")
    weights["conv_out.bias"][0] = torch.nan
    save_file(weights, folder / "network.safetensors")
    resum(folder)
    with pytest.raises(UserError, match=r"not finite in conv_out\.bias"):
        load_bundle(folder, "ldm")
    (folder / "network.safetensors").write_bytes(b"x" * 100)
    resum(folder)
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_bundle(folder, "ldm")


def test_the_sums_list_exactly_the_files_that_are_there(folder):
    whole = (folder / SUMS).read_text()
    (folder / SUMS).write_text("".join(line for line in whole.splitlines(True) if "config.json" not in line))
    with pytest.raises(UserError, match=r"lacks 'config\.json'"):
        load_bundle(folder, "ldm")
    (folder / SUMS).write_text(whole)
    (folder / "extra.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"extra\.safetensors is not listed"):
        load_bundle(folder, "ldm")
    (folder / "extra.safetensors").unlink()
    (folder / SUMS).write_bytes(b"\xff\xfe" + whole.encode())
    with pytest.raises(UserError, match="is damaged"):
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


def test_the_vae_of_a_model_can_be_trained_on(folder):
    vae, model = load_vae(folder), load_bundle(folder, "ldm")
    assert (vae.kind, set(vae.parts), vae.sha256) == ("vae", {"autoencoder"}, model.sha256)
    weights = model.parts["autoencoder"].state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in vae.parts["autoencoder"].state_dict().items())
    assert load_vae("chest256").info["size"] == 256


def test_a_negative_text_stands_where_the_empty_one_does(folder):
    """At scale 2 the estimate is D(negative) + 2 (D(text) - D(negative)): with the text itself, the plain model's."""
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    text, other = TEXTS[:2]
    plain = pipeline([text], [0], steps=3, guidance=1.0)
    torch.testing.assert_close(
        pipeline([text], [0], steps=3, guidance=Guidance(2.0, negative=text)), plain, rtol=0, atol=1e-4
    )
    assert torch.equal(
        pipeline([text], [0], steps=3, guidance=Guidance(2.0, negative="")),
        pipeline([text], [0], steps=3, guidance=2.0),
    )
    away, from_nothing = (
        pipeline([text], [0], steps=3, guidance=Guidance(15.0, negative=negative)) for negative in (other, "")
    )
    assert not torch.allclose(away, plain, atol=1e-3)
    assert not torch.allclose(away, from_nothing, atol=1e-3)
    sampling = replace(pipeline.sampling, steps=3, guidance=Guidance(2.0, negative=other))
    assert Sampling.of_facts(sampling.facts()).rule.negative == other
    with pytest.raises(UserError, match="guidance.negative needs a guidance.scale above 1, and it is 1"):
        Guidance(1.0, negative=other)


def test_a_bundle_brings_the_guidance_that_its_model_is_used_with(folder, tmp_path):
    assert TextToCXR.from_bundle(folder, device="cpu").guidance == Guidance(1.0)  # one that states none
    entry = Guidance(3.0, (0.2, 0.9)).settings() | {"chosen": "stated"}
    save_again(folder, tmp_path / "guided", guidance=entry)
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
    save_again(folder, tmp_path / "half", storage="half")
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
        save_again(folder, tmp_path / "half", storage="half")


def test_a_quarter_of_the_size_gives_much_the_same_images(folder, tmp_path):
    """int8 by output channel: no weight moves by more than the 254th part of its row's largest."""
    save_again(folder, tmp_path / "int8", storage="int8")
    sizes = [sum(path.stat().st_size for path in place.glob("*.safetensors")) for place in (folder, tmp_path / "int8")]
    assert sizes[1] < 0.5 * sizes[0]  # of so small a model the headers are a part
    known, found = load_bundle(folder, "ldm"), load_bundle(tmp_path / "int8", "ldm")
    assert found.info["weights"] == "int8"
    for name, value in known.parts["network"].state_dict().items():
        other = found.parts["network"].state_dict()[name]
        assert other.dtype == torch.float32
        if value.dim() > 1:
            largest = value.abs().flatten(1).amax(dim=1).reshape(-1, *[1] * (value.dim() - 1))
            assert ((other - value).abs() <= largest / 254 * (1 + 1e-5) + 1e-12).all(), name
    whole, small = (TextToCXR.of(bundle)(["Normal."], seeds=[0], steps=4) for bundle in (known, found))
    torch.testing.assert_close(small, whole, rtol=0, atol=0.1)


@pytest.mark.parametrize(
    "change", [{"a::scale": torch.ones(3)}, {"a": torch.ones(2, 2)}, {"b::scale": torch.ones(2)}], ids=str
)
def test_a_scale_that_does_not_fit_its_tensor_is_refused(change, tmp_path):
    tensors = quantised({"a": torch.ones(2, 2)}) | change
    write_weights(tmp_path / "network.safetensors", tensors)
    with pytest.raises(UserError, match="does not fit it"):
        read_weights(tmp_path / "network.safetensors")


def test_latents_are_decoded_a_few_at_once_to_the_same_pixels(folder, monkeypatch):
    """The decoder's features at full size take the most memory of all."""
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    latents, seen = torch.randn(5, *pipeline.latent_shape), []
    whole = pipeline.decode(latents)
    decode = pipeline.autoencoder.decode
    monkeypatch.setattr(pipeline.autoencoder, "decode", lambda part: seen.append(len(part)) or decode(part))
    monkeypatch.setattr("cxr_ldm.pipeline.DECODED", 2 * pipeline.size**2)
    torch.testing.assert_close(pipeline.decode(latents), whole, rtol=0, atol=1e-5)
    assert seen == [2, 2, 1]


def with_attributes(pipeline):
    torch.manual_seed(1)
    attributes = PatientAttributes(["view", "age", "sex"], 16)
    conditioner = Conditioner(pipeline.conditioner.text_encoder, attributes)
    parts = (pipeline.autoencoder, pipeline.denoiser, conditioner, pipeline.whitening)
    return TextToCXR(*parts, pipeline.size, pipeline.sha256)


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


def test_the_pictures_of_a_training_are_drawn_with_the_guidance_that_is_asked_for(folder):
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    prepared = SimpleNamespace(texts=lambda rows: TEXTS[:2], size=16)
    parts = {name: getattr(pipeline, name) for name in ("denoiser", "conditioner", "whitening")}
    module = SimpleNamespace(device="cpu", **parts)
    for rule in (Guidance(), Guidance(4.0, (0.1, 0.9))):
        draw = drawing(pipeline.autoencoder, prepared, np.arange(2), [0, 1], rule)
        assert torch.equal(draw(module), pipeline(TEXTS[:2], [0, 1], steps=20, guidance=rule))


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m", "euler", "heun", "unipc"])
def test_an_image_is_drawn_again_from_its_provenance_alone(folder, name):
    """ddim with eta 0 and with eta 1 used to have the same JSON."""
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    node = OmegaConf.load(CONF / "sampler" / f"{name}.yaml")
    drawn = []
    for changes in [{}, {"eta": 1.0}] if name == "ddim" else [{}, {"variance": "large"}] if name == "ddpm" else [{}]:
        node.step = OmegaConf.merge(node.step, changes)
        rule = Guidance(2.0, (0.1, 0.9), 0.5)
        step, times = instantiate(node.step), instantiate(node.times)
        (image,) = pipeline(TEXTS[:1], [5], steps=4, guidance=rule, sampler=step, times=times)
        sampling = Sampling(4, rule, step, times)
        stated = named(OmegaConf.to_container(node)) | {"steps": 4}  # as the page reads the same file
        assert Sampling.of_settings(stated).settings() == sampling.settings() == stated
        facts = {"prompt": TEXTS[0], "seed": 5, "bundle_sha256": pipeline.sha256}
        facts = json.loads(json.dumps(provenance(**facts, **sampling.facts())))
        assert torch.equal(pipeline.again(facts)[0], image)
        drawn.append(image)
    assert len(drawn) == 1 or not torch.equal(*drawn)


def test_what_no_provenance_can_draw_is_refused(folder):
    pipeline = TextToCXR.from_bundle(folder, device="cpu")
    facts = {"prompt": "x", "seed": 0, "steps": 2, "guidance": 1.0, "sampler": "ddim", "times": "trailing"}
    for changes, words in (
        ({"bundle_sha256": "other"}, "made by the bundle other"),
        ({"sampler": "system"}, "no sampler"),
        ({"sampler": "AdamW"}, "no sampler"),
        ({"times": None}, "no sampler"),
        ({"times": "leading", "steps": 1001}, "1001 is more than the 1000 levels of a leading grid"),
    ):
        with pytest.raises(UserError, match=words):
            pipeline.again({**facts, "bundle_sha256": pipeline.sha256, **changes})
    del facts["times"]
    with pytest.raises(UserError, match="has no 'times'"):
        pipeline.again({**facts, "bundle_sha256": pipeline.sha256})


NO_INFO = [
    ("size", "64"),
    ("size", 0),
    ("size", 64.0),
    ("size", True),
    ("guidance", None),
    ("guidance", "3"),
    ("guidance", {"scale": "x"}),
    ("guidance", {"scale": float("nan")}),
    ("guidance", {"interval": [0.5]}),
    ("guidance", {"rescale": 5}),
    ("data", None),
    ("data", "x"),
    ("data", {"name": 5}),
    ("sampling", "ddim"),
    ("sampling", {"sampler": "ddim", "steps": "x"}),
    ("sampling", {"sampler": "ddim", "steps": 0}),
    ("findings", 5),
    ("findings", "pneumonia"),
    ("init_data", [5]),
]


@pytest.mark.parametrize(("key", "value"), NO_INFO)
def test_what_a_bundle_says_of_itself_is_looked_at(folder, key, value):
    changed(folder, lambda config: config["info"].update({key: value}))
    with pytest.raises(UserError, match=rf"config\.json is not a bundle's: info\.{key}"):
        load_bundle(folder, "ldm")


def test_parts_in_each_others_places_are_refused(folder):
    def swap(config):
        parts = config["parts"]
        parts["schedule"], parts["scaling"] = parts["scaling"], parts["schedule"]

    changed(folder, swap)
    with pytest.raises(UserError, match="as its schedule, which is none"):
        load_bundle(folder, "ldm")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("whitening", lambda value: torch.zeros_like(value), "a standard deviation that is not above 0"),
        ("whitening", lambda value: -value, "a standard deviation that is not above 0"),
        ("network", lambda value: value.to(torch.int32), "as torch.int32, and the network needs torch.float32"),
        ("network", lambda value: value > 0, "as torch.bool, and the network needs torch.float32"),
    ],
)
def test_weights_of_another_kind_are_refused(folder, file, change, message):
    path = folder / f"{file}.safetensors"
    save_file({name: change(value).contiguous() for name, value in load_file(path).items()}, path)
    resum(folder)
    with pytest.raises(UserError, match=message):
        load_bundle(folder, "ldm")


def test_images_that_are_not_finite_are_no_images(folder):
    path = folder / "network.safetensors"
    save_file({name: value * 1e20 for name, value in load_file(path).items()}, path)
    resum(folder)
    with pytest.raises(UserError, match="the model's images are not finite"):
        TextToCXR.from_bundle(folder, "cpu")("Effusion.", seeds=0, steps=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"prompts": None}, "a prompt is None, which is no text"),
        ({"prompts": 5}, "a prompt is 5, which is no text"),
        ({"prompts": ["x", float("nan")]}, "a prompt is nan, which is no text"),
        ({"prompts": [None]}, "a prompt is None, which is no text"),
        ({"steps": 2.5}, "sampler.steps=2.5 must be a whole number"),
        ({"steps": True}, "sampler.steps=True must be a whole number"),
        ({"seeds": "0"}, "must be whole numbers from 0 on"),
        ({"seeds": [0.5]}, "must be whole numbers from 0 on"),
        ({"seeds": True}, "must be whole numbers from 0 on"),
        ({"seeds": 2**70}, "must be whole numbers from 0 on"),
        ({"n": 1.5}, "n=1.5 must be a whole number"),
        ({"batch_size": 0}, "batch_size=0 must be 1 or more"),
    ],
)
def test_a_call_that_makes_no_sense_is_one_sentence(folder, call, message):
    pipeline = TextToCXR.from_bundle(folder, "cpu")
    with pytest.raises(UserError, match=message):
        pipeline(**({"prompts": "x", "seeds": 0, "steps": 1} | call))


def test_numpys_whole_numbers_are_seeds(folder):
    pipeline = TextToCXR.from_bundle(folder, "cpu")
    images = [pipeline(["x"], seeds=seeds, steps=1) for seeds in (3, np.int64(3), [np.int64(3)])]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])
