"""The model that comes with the package: small, of phantoms alone, usable straight after the install."""

import json

from cxr_ldm.assets import DEMO
from cxr_ldm.benchmark.guidance import real
from cxr_ldm.bundle import load_bundle
from cxr_ldm.diffusion.samplers import dpmpp_2m
from cxr_ldm.metrics.adherence import PhantomAdherence
from cxr_ldm.pipeline import TextToCXR


def test_it_is_small_and_of_phantoms_alone():
    assert sum(path.stat().st_size for path in DEMO.iterdir()) <= 12e6
    info = load_bundle(DEMO, "ldm").info
    assert info["data"]["kind"] == "phantom"
    assert info["weights"] == "float16"


def test_sample_uses_it_where_nothing_was_trained(command, tmp_path):
    where = f"paths.outputs={tmp_path}"
    printed = command("sample.py", "prompt=Large right pleural effusion.", "n=1", "sampler.steps=3", where).stdout
    assert "the model that comes with the package" in printed
    (facts,) = tmp_path.glob("samples/*/0000.json")
    assert json.loads(facts.read_text())["bundle_sha256"] == TextToCXR.from_bundle(DEMO).sha256
    again = command("sample.py", "prompt=Normal.", "bundle=demo", "n=1", "sampler.steps=3", where).stdout
    assert "the model that comes with the package" in again


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
