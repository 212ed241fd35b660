"""The models that come with the package, usable straight after the install."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from cxr_ldm.assets import CHEST, DEMO, UPSCALERS, VAES
from cxr_ldm.benchmark.guidance import real
from cxr_ldm.bundle import CARD, load_bundle, load_vae
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.diffusion.samplers import dpmpp_2m
from cxr_ldm.metrics.faithfulness.adherence import PhantomAdherence
from cxr_ldm.metrics.results import read_metrics
from cxr_ldm.pipeline import TextToCXR

FREE = {"nih", "kermany", "hannover"}  # collections whose weights may be shipped


def test_the_phantom_model_is_small_and_of_phantoms_alone():
    assert sum(path.stat().st_size for path in DEMO.iterdir()) <= 12e6
    info = load_bundle(DEMO, "ldm").info
    assert info["data"]["kind"] == "phantom"
    assert info["weights"] == "float16"


def test_the_chest_model_is_of_collections_that_may_be_shipped_and_says_so():
    assert sum(path.stat().st_size for path in CHEST.iterdir()) <= 40e6
    info = load_bundle(CHEST, "ldm").info
    assert (info["size"], info["weights"]) == (256, "float16")
    for data in (info["data"], info["vae_data"]):
        assert set(data["sources"]) <= FREE
    text = (CHEST / CARD).read_text()
    for words in ("NIH Clinical Center", "CC BY 4.0", "CC BY 3.0", "no basis for a diagnosis"):
        assert words in text


def test_the_upscaler_is_small_and_of_a_collection_that_may_be_shipped():
    place = UPSCALERS["chest_x4"]
    assert sum(path.stat().st_size for path in place.iterdir()) <= 3e6
    bundle = load_bundle(place, "upscaler")
    assert set(bundle.info["data"]["sources"]) <= FREE
    assert bundle.parts["upscaler"].factor == 4
    assert "NIH Clinical Center" in (place / CARD).read_text()


def test_the_public_autoencoder_is_small_and_keeps_a_picture(tmp_path):
    assert sum(path.stat().st_size for path in VAES["taesd"].iterdir()) <= 5e6
    assert "MIT License" in (VAES["taesd"] / "LICENSE").read_text()
    vae = load_vae("taesd")
    splits = {"seed": 0, "val": 0.2, "test": 0.2}
    picture = prepare(PhantomReader(20, 64, 0), tmp_path / "data", Target(64), name="p", splits=splits).pixels(
        np.array([0])
    )
    with torch.inference_mode():
        mean, log_variance = vae.parts["autoencoder"].encode(picture).chunk(2, dim=1)
        error = (vae.parts["autoencoder"].decode(mean) - picture).square().mean()
    assert mean.shape == (1, 4, 8, 8)
    assert (log_variance.exp() < 1e-12).all()
    assert 10 * torch.log10(4 / error) > 25  # dB


def test_sample_draws_radiographs_where_nothing_was_trained(command, tmp_path):
    where = f"paths.outputs={tmp_path}"
    options = ["n=2", "sampler.steps=8", where]
    printed = command("sample.py", "prompt=Chest X-ray, PA view, adult male. Cardiomegaly.", *options).stdout
    assert "using chest256 of the package, as" in printed
    files = sorted(tmp_path.glob("samples/*/000?.png"))
    assert json.loads(files[0].with_suffix(".json").read_text())["bundle_sha256"] == TextToCXR.from_bundle(CHEST).sha256
    first, second = (np.asarray(Image.open(file)).astype(float) for file in files)
    assert first.shape == (256, 256)
    for picture in (first, second):
        middle = picture[64:192]
        lungs = np.minimum(middle[:, 48:112].mean(), middle[:, 144:208].mean())
        assert middle[:, 118:138].mean() > lungs + 20  # spine and mediastinum are brighter than the lungs beside them
    assert np.abs(first - second).mean() > 5


def test_the_phantom_model_is_named_by_hand(command, tmp_path):
    where = f"paths.outputs={tmp_path}"
    printed = command("sample.py", "prompt=Normal.", "bundle=phantom", "n=1", "sampler.steps=3", where).stdout
    assert "using phantom of the package:" in printed
    (facts,) = tmp_path.glob("samples/*/0000.json")
    assert json.loads(facts.read_text())["bundle_sha256"] == TextToCXR.from_bundle(DEMO).sha256


def test_it_draws_the_effusion_on_the_side_that_is_asked_for():
    """At least 22 of 24 with the right finding and side; docs/results/demo_model.md has the full figures."""
    measure = PhantomAdherence()
    pixels, findings = real(300, 64, seed=5000)
    measure.calibrate(pixels, findings)
    prompts = [prompt for prompt in measure.prompts.values() for _ in range(8)]
    images = TextToCXR.from_bundle(DEMO)(prompts, list(range(24)), steps=12, sampler=dpmpp_2m)
    rates = measure.rates(dict(zip(measure.prompts, images.split(8), strict=True)))
    assert rates["adherence_finding"].value >= 22 / 24
    assert rates["adherence_side"].value >= 15 / 16


@pytest.mark.campaign
def test_a_published_autoencoder_is_measured_where_somebody_says_that_the_images_are_new_to_it(command, tmp_path):
    small = ["data.reader.n=160", "data.size=32", "metrics.n=8", "logger=csv", "name=t", f"paths.outputs={tmp_path}"]
    asked = ["evaluate.py", "stage=vae", "bundle=taesd"]
    said = command(*asked, "logger=csv", f"paths.outputs={tmp_path}", code=2).stderr
    assert "say what to measure it on" in said
    assert "external=true says that it saw no test image" in command(*asked, *small, code=2).stderr
    command(*asked, "external=true", *small)
    run = read_metrics(tmp_path / "evaluation" / "t" / "metrics.json")["run"]
    assert run["settings_chosen_on"] == {"stopping": "no choice: as published"}
    assert run["trained"] == {"run": "taesd"}
