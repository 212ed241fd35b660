"""Sampling in bfloat16: near the images of float32, said wherever it counts, and chosen where the processor has it."""

from dataclasses import replace

import pytest
import torch

from cxr_ldm.assets import DEMO
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.networks import precision
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.training.fit import precision_of

PROMPT = "Large right pleural effusion."


@pytest.fixture(scope="module")
def pipeline():
    return TextToCXR.from_bundle(DEMO, device="cpu")


def test_its_images_are_those_of_float32_within_half_a_grey_level(pipeline):
    whole, narrow = (pipeline(PROMPT, seeds=0, n=2, guidance=1.5, precision=each) for each in ("32", "bf16"))
    assert narrow.dtype == torch.float32
    assert not torch.equal(narrow, whole)
    assert (narrow - whole).abs().mean() < 1 / 255  # of [-1, 1]


def test_the_model_itself_stays_in_float32(pipeline):
    before = pipeline(PROMPT, seeds=0, steps=3)
    pipeline(PROMPT, seeds=0, steps=3, precision="bf16")
    assert {value.dtype for value in pipeline.denoiser.parameters()} == {torch.float32}
    assert torch.equal(pipeline(PROMPT, seeds=0, steps=3), before)


def test_provenance_says_it_and_draws_the_image_again(pipeline):
    sampling = replace(Sampling(3, precision="bf16"), guidance=pipeline.guidance)
    image = pipeline.draw([PROMPT], [7], sampling)
    facts = {"prompt": PROMPT, "seed": 7, "bundle_sha256": pipeline.sha256, **sampling.facts()}
    assert facts["precision"] == "bf16"
    assert torch.equal(pipeline.again(facts), image)
    assert "precision" not in replace(sampling, precision="32").facts()
    assert Sampling.of_settings(sampling.settings()).settings() == sampling.settings()


@pytest.mark.parametrize(
    ("known", "found"), [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx512_f": True}, "32")]
)
def test_auto_is_bf16_where_the_processor_has_it(known, found, monkeypatch, capsys):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert precision.resolved("auto", "cpu") == found
    assert precision.resolved(32, "cpu") == "32"
    assert precision.resolved("bf16", "cpu") == "bf16"
    assert precision_of("auto", "cpu") == {"bf16": "bf16-mixed", "32": "32-true"}[found]
    no = "" if found == "bf16" else "no "
    assert capsys.readouterr().out == f"trainer.precision=auto: {found}, as this CPU has {no}bfloat16.\n"


@pytest.mark.campaign
def test_a_compiled_model_draws_the_same_images_in_either_precision():
    """By a backend that needs no compiler; texts of several lengths go through it."""
    plain, compiled = (TextToCXR.from_bundle(DEMO, device="cpu") for _ in range(2))
    compiled.compile("eager")
    for text, each in ((PROMPT, "32"), ("Normal.", "32"), (PROMPT, "bf16")):
        images, others = (model(text, seeds=0, steps=1, precision=each) for model in (plain, compiled))
        torch.testing.assert_close(others, images, rtol=0, atol=1e-5 if each == "32" else 0.05)
    with pytest.raises(UserError, match="compile=gcc is not one of"):
        plain.compile("gcc")


def test_another_word_is_refused(pipeline):
    with pytest.raises(UserError, match=r"precision=16 is not one of auto, 32, bf16\."):
        pipeline(PROMPT, seeds=0, steps=2, precision="16")
