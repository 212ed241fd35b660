"""ONNX graphs draw what the model draws, in onnxruntime, with no torch beside it."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_bundle import write_tiny

from cxr_ldm import portable
from cxr_ldm.bundle import load_bundle
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.pipeline import TextToCXR, normal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("onnx") / "model"
    portable.write_onnx(load_bundle(write_tiny(place.parent / "bundle"), "ldm"), place)
    return place


def script(folder):
    """draw.py as a module."""
    spec = importlib.util.spec_from_file_location(f"draw_{folder.parent.name}", folder / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_graphs_draw_the_pipelines_images(folder, scale):
    """Within a thousandth of the grey range; two texts of other lengths in one batch, then one alone."""
    pipeline = TextToCXR.from_bundle(folder.parent / "bundle", "cpu")
    prompts = ["Right pleural effusion.", "Normal chest X-ray, clear lungs (no effusion)."]
    noise = normal([torch.Generator().manual_seed(seed) for seed in (3, 4)], pipeline.latent_shape)
    expected = pipeline.draw(prompts, [3, 4], Sampling(6, Guidance(scale))).numpy()
    assert expected.std() > 0.05
    draw = script(folder).draw
    assert np.abs(draw(prompts, noise.numpy(), 6, scale) - expected).max() < 2e-3
    assert np.abs(draw(prompts[1:], noise[1:].numpy(), 6, scale) - expected[1:]).max() < 2e-3


@pytest.mark.campaign
def test_a_student_is_told_where_its_steps_end(tmp_path):
    bundle = load_bundle(write_tiny(tmp_path / "bundle"), "ldm")
    arguments = {key: value for key, value in bundle.spec["network"].items() if key != "part"}
    network = StudentUNet(scales=[1.0, 4.0], **arguments)
    network.load_state_dict(network.state_dict() | bundle.parts["network"].state_dict())
    torch.nn.init.normal_(network.scale_embedding.linear_2.weight, std=0.1)
    bundle.parts["network"] = network.eval()
    bundle.info["sampling"] = {"sampler": "flow_map", "steps": 3}
    portable.write_onnx(bundle, tmp_path / "model")
    pipeline = TextToCXR.of(bundle, "cpu")
    noise = normal([torch.Generator().manual_seed(1)], pipeline.latent_shape)
    expected = pipeline(["Nodule."], [1], guidance=2.5).numpy()
    module = script(tmp_path / "model")
    assert module.CONFIG["steps"] == 3
    assert np.abs(module.draw(["Nodule."], noise.numpy(), 3, 2.5) - expected).max() < 2e-3


def test_the_script_needs_no_torch_and_its_file_says_that_it_is_synthetic(folder, tmp_path):
    code = f"""
import runpy, sys
sys.modules['torch'] = sys.modules['cxr_ldm'] = None
sys.argv = ['draw.py', 'Left effusion.', '--steps', '3']
runpy.run_path({str(folder / "draw.py")!r}, run_name='__main__')
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    image = Image.open(tmp_path / "0000.png")
    assert image.size == (16, 16)
    assert np.asarray(image).std() > 0
    said = json.loads(image.info["cxr_ldm"])
    assert (said["synthetic"], said["prompt"]) == (True, "Left effusion.")
    assert "synthetic" in (folder / "README.md").read_text()


def test_what_cannot_be_written_is_refused(folder, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="exists already"):
        portable.write_onnx(load_bundle(folder.parent / "bundle", "ldm"), folder)
    with pytest.raises(UserError, match=r"pip install cxr-ldm\[onnx\]"):
        portable.require(["nowhere"])
