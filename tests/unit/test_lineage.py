"""What a bundle learnt from is named by all that is made of it: licences and leakage hang on it."""

from types import SimpleNamespace

import pytest

from cxr_ldm import lineage
from cxr_ldm.assets import DEMO
from cxr_ldm.bundle import load_bundle, load_vae, save_bundle, save_with_decoder
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.stages.distill import DistillPlan
from cxr_ldm.stages.ldm import LDMPlan

MIMIC, NIH, OWN = ({"name": name, "fingerprint": name, "sources": {name: 9}} for name in ("mimic", "nih", "own"))


@pytest.fixture(scope="module")
def model():
    return load_bundle(DEMO, "ldm")


def said(info):
    return {each["name"] for each in lineage.learnt_from(info)}


@pytest.mark.parametrize(("teacher", "expected"), [(NIH, {"mimic", "nih", "own"}), (OWN, {"mimic", "own"})])
def test_a_student_names_what_its_teacher_learnt_from(model, teacher, expected):
    info = {"data": teacher, "vae_data": teacher, "init": "x", "init_data": [MIMIC]}
    plan = SimpleNamespace(
        teacher=SimpleNamespace(info=info, spec={}, parts={}, sha256="t"),
        arguments={},
        guidance=Guidance(),
        prepared=SimpleNamespace(fingerprint="own"),
    )
    made = DistillPlan.contents(plan, SimpleNamespace(denoiser=SimpleNamespace(network=None))).info
    assert said(made | {"data": OWN}) == expected
    assert made["init_data"] == [MIMIC] + ([NIH] if teacher is NIH else [])


def test_a_model_names_what_its_autoencoder_started_from(model):
    parts = model.parts
    module = SimpleNamespace(
        text_encoder=parts["text_encoder"],
        attributes=None,
        whitening=parts["whitening"],
        denoiser=SimpleNamespace(network=parts["network"], schedule=None, scaling=None),
    )
    plan = SimpleNamespace(
        vae=SimpleNamespace(info={"data": NIH, "init_data": [MIMIC]}, spec={"autoencoder": {}}),
        parts=SimpleNamespace(specs={"network": {}}, info={}),
        autoencoder=parts["autoencoder"],
        reports=[],
        prepared=SimpleNamespace(labels=lambda split: set()),
    )
    made = LDMPlan.contents(plan, module).info
    assert said(made | {"data": OWN}) == {"own", "nih", "mimic"}


def test_another_decoder_leaves_the_encoder_s_images_named(model, tmp_path):
    vae = load_vae(DEMO)
    save_bundle(tmp_path / "vae", "vae", vae.spec, vae.parts, vae.info | {"data": NIH, "init_data": [MIMIC]})
    folder = tmp_path / "out"
    save_with_decoder(DEMO, tmp_path / "vae", folder)
    made = load_bundle(folder, "ldm").info
    assert said(made) == said(model.info) | {"nih", "mimic"}
    assert "started from a model that was trained on" in (folder / "README.md").read_text()
    assert lineage.knows(made, "mimic")
    assert not lineage.knows(made, "other")
