"""What starts from a bundle: its weights, its scale of latents and its words; and what does not fit is refused."""

from types import SimpleNamespace

import pytest
import torch

from cxr_ldm.assets import DEMO
from cxr_ldm.bundle import load_bundle
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.noise_levels import LogitNormal
from cxr_ldm.diffusion.weighting import Unit
from cxr_ldm.errors import UserError
from cxr_ldm.networks.classifier import Classifier
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.stages import tuning
from cxr_ldm.stages.recipe import Recipe

FULL = tuning.Tuning(rate=0.2, warmup_steps=50, rank=None, words=500, text_rate=0.25)
LORA = tuning.Tuning(rate=1.0, warmup_steps=50, rank=4, words=500, text_rate=0.25)


@pytest.fixture(scope="module")
def ancestor():
    return load_bundle(DEMO, "ldm")


def parts_of(ancestor, how=FULL, patients=False, inpaint=False):
    return tuning.ldm_parts(ancestor, how, lambda: DiffusionLoss(LogitNormal(), Unit()), patients, inpaint)


@pytest.mark.parametrize("how", [FULL, LORA], ids=["full", "lora"])
def test_a_model_begins_as_its_ancestor(ancestor, how):
    """The same output for the same input, from copies: the ancestor itself does not train."""
    parts = parts_of(ancestor, how)
    encoder = parts.text_encoder(["Right pleural effusion."] * 3, None)
    network = parts.denoiser(parts.whitening.channels, encoder.width)
    denoiser, _ = parts.diffusion(network)
    known = ancestor.parts
    x, label = torch.randn(1, parts.whitening.channels, 16, 16), torch.tensor([500.0])
    with torch.no_grad():
        context, mask = encoder.encode(["Left pneumothorax."])
        torch.testing.assert_close(context, known["text_encoder"].encode(["Left pneumothorax."])[0])
        expected = known["network"](x, label, context, mask)
        torch.testing.assert_close(denoiser.network(x, label, context, mask), expected, rtol=1e-4, atol=1e-5)
    assert not {weights.data_ptr() for weights in network.parameters()} & {
        weights.data_ptr() for weights in known["network"].parameters()
    }
    trained = sum(weights.numel() for weights in network.parameters() if weights.requires_grad)
    total = sum(weights.numel() for weights in known["network"].parameters())
    assert trained == total if how is FULL else 0 < trained < 0.1 * total
    assert parts.info["init"] == ancestor.sha256
    assert parts.info["init_data"] == [ancestor.info["data"]]
    assert torch.equal(parts.whitening.std, known["whitening"].std)
    assert parts.text_encoder([], None).lr_scale == 0.25


def test_a_student_and_patients_that_it_never_saw_are_refused(ancestor):
    with pytest.raises(UserError, match="was trained without view, age and sex"):
        parts_of(ancestor, patients=True)
    arguments = {key: value for key, value in ancestor.spec["network"].items() if key != "part"}
    student = StudentUNet(**arguments, scales=[1.0, 2.0])
    of_student = SimpleNamespace(folder="x", parts=ancestor.parts | {"network": student}, info=ancestor.info)
    with pytest.raises(UserError, match="is a student"):
        parts_of(of_student)
    with pytest.raises(UserError, match="is of images of 64 pixels and there has 32"):
        tuning.check_size(ancestor, SimpleNamespace(size=32, folder="there"))


def test_the_rate_is_lower_and_the_warm_up_shorter():
    recipe = FULL.recipe(Recipe(lambda groups: torch.optim.AdamW(groups, lr=1e-3), 4, 8, 8, 8, warmup_steps=500))
    optimizer = recipe.optimizer([{"params": [torch.nn.Parameter(torch.ones(1))]}])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2e-4)
    assert recipe.warmup_steps == 50


def test_a_classifier_keeps_what_it_knows_of_each_class():
    """Classes that both know keep their place in the head by name; one that is new starts fresh."""
    torch.manual_seed(0)
    shape = {"channels": [8, 8], "blocks": 1, "groups": 4}
    known = Classifier(["edema", "nodule"], **shape)
    ancestor = SimpleNamespace(
        folder="x", parts={"classifier": known}, spec={"classifier": {"part": "Classifier", **shape, "classes": []}}
    )
    found = tuning.classifier(ancestor, ["nodule", "hernia", "edema"])
    pixels = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found(pixels)[:, [2, 0]], known(pixels))
    assert found.classes == ["nodule", "hernia", "edema"]
    other = SimpleNamespace(folder="x", parts={"classifier": torch.nn.Identity()}, spec={})
    with pytest.raises(UserError, match="only a Classifier can learn on"):
        tuning.classifier(other, ["edema"])


def test_a_model_that_learns_to_fill_holes_begins_as_its_ancestor(ancestor):
    parts = parts_of(ancestor, inpaint=True)
    assert parts.specs["network"]["part"] == "InpaintUNet"
    network = parts.denoiser(parts.whitening.channels, 128)
    x, label = torch.randn(1, parts.whitening.channels, 16, 16), torch.tensor([500.0])
    context, mask = ancestor.parts["text_encoder"].encode(["Nodule."])
    with torch.no_grad():
        expected = ancestor.parts["network"](x, label, context, mask)
        torch.testing.assert_close(network(x, label, context, mask), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="needs tune=full"):
        parts_of(ancestor, LORA, inpaint=True)
