"""What goes out as ONNX graphs draws what the model draws, with no torch beside it.

The graphs take a minute to write, so that the campaign draws by onnxruntime; here draw.py runs over the modules that
become graphs.
"""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tiny_bundle import write_tiny

from cxr_ldm import artifacts, portable
from cxr_ldm.assets import CHEST, DRAW_ONNX
from cxr_ldm.bundle import load_bundle
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.pipeline import TextToCXR, normal

PROMPTS = ["Right pleural effusion.", "Normal chest X-ray, clear lungs (no effusion)."]


def script(folder):
    """draw.py as a module."""
    spec = importlib.util.spec_from_file_location(f"draw_{id(folder)}", folder / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("onnx") / "bundle")


@pytest.fixture(scope="module")
def folder(bundle):
    """A model as graphs."""
    portable.write_onnx(load_bundle(bundle, "ldm"), bundle.parent / "model")
    return bundle.parent / "model"


@pytest.fixture
def ungraphed(bundle, tmp_path, monkeypatch):
    """draw.py, with PyTorch in place of onnxruntime."""
    folder = tmp_path / "model"
    folder.mkdir()
    loaded = load_bundle(bundle, "ldm")
    pipeline = TextToCXR.of(loaded, "cpu")
    artifacts.write_json(folder / "config.json", portable.facts(loaded, pipeline, student=False))
    artifacts.write_text(folder / "tokenizer.json", pipeline.conditioner.text_encoder.tokenizer.definition)
    (folder / "draw.py").write_bytes(DRAW_ONNX.read_bytes())
    modules = {"text_encoder": portable.Reading, "denoiser": portable.Estimate, "decoder": portable.Picture}
    modules = {name: module(pipeline).eval() for name, module in modules.items()}

    @torch.inference_mode()
    def run(name, **inputs):
        return modules[name](**{key: torch.from_numpy(value) for key, value in inputs.items()}).numpy()

    module = script(folder)
    monkeypatch.setattr(module, "run", run)
    return module


def pictures(bundle, scale):
    """Standard noise of both prompts, and what the model makes of it."""
    pipeline = TextToCXR.from_bundle(bundle, "cpu")
    noise = normal([torch.Generator().manual_seed(seed) for seed in (3, 4)], pipeline.latent_shape)
    expected = pipeline.draw(PROMPTS, [3, 4], Sampling(6, Guidance(scale))).numpy()
    assert expected.std() > 0.05
    return noise.numpy(), expected


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_script_takes_the_pipelines_steps(ungraphed, bundle, scale):
    noise, expected = pictures(bundle, scale)
    assert np.abs(ungraphed.draw(PROMPTS, noise, 6, scale) - expected).max() < 1e-4


@pytest.mark.campaign
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_graphs_draw_the_pipelines_images(folder, bundle, scale):
    """Within a thousandth of the grey range; two texts of other lengths in one batch, then one alone."""
    noise, expected = pictures(bundle, scale)
    draw = script(folder).draw
    assert np.abs(draw(PROMPTS, noise, 6, scale) - expected).max() < 2e-3
    assert np.abs(draw(PROMPTS[1:], noise[1:], 6, scale) - expected[1:]).max() < 2e-3


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


@pytest.mark.campaign
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


@pytest.mark.campaign
def test_in_int8_the_packages_radiographs_stay_within_40_db(tmp_path):
    for name, int8 in (("plain", False), ("narrow", True)):
        portable.write_onnx(load_bundle(CHEST, "ldm"), tmp_path / name, int8)
    plain, narrow = (script(tmp_path / name) for name in ("plain", "narrow"))
    noise = np.random.default_rng(0).standard_normal((2, *plain.CONFIG["latent_shape"]), dtype=np.float32)
    first, second = (module.draw(["Pleural effusion.", "Normal."], noise) for module in (plain, narrow))
    assert (10 * np.log10(4 / ((first - second) ** 2).mean(axis=(1, 2, 3)))).min() > 40
    sizes = [sum(file.stat().st_size for file in (tmp_path / name).glob("*.onnx")) for name in ("plain", "narrow")]
    assert sizes[1] < 0.32 * sizes[0]


def test_weights_in_int8_move_by_a_254th_of_their_rows_largest_and_other_constants_stay(tmp_path):
    """A product with weights, then one with a constant of the same shape, element by element."""
    import onnxruntime

    weights, constant = (np.random.default_rng(seed).standard_normal((8, 8), dtype=np.float32) for seed in (0, 1))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"]), helper.make_node("Mul", ["y", "constant"], ["out"])],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [8, 8])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(constant, "constant")],
    )
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    portable.narrow(path)
    stored = {each.name: each.data_type for each in onnx.load(path).graph.initializer}
    assert stored["constant"] == TensorProto.FLOAT
    assert TensorProto.INT8 in stored.values()
    assert "weights" not in stored
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": np.eye(8, dtype=np.float32)})[0] / constant
    moved = np.abs(found - weights)
    assert moved.max() > 0
    assert (moved <= np.abs(weights).max(axis=1, keepdims=True) / 254 * 1.001 + 1e-6).all()


def test_what_cannot_be_written_is_refused(bundle, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="exists already"):
        portable.write_onnx(load_bundle(bundle, "ldm"), tmp_path / "there")
    with pytest.raises(UserError, match=r"pip install cxr-ldm\[onnx\]"):
        portable.require(["nowhere"])
