"""Networks run by OpenVINO draw what PyTorch draws, and tell nobody of it."""

import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image

from cxr_ldm.assets import DEMO
from cxr_ldm.editing import Original, hole_of
from cxr_ldm.errors import UserError
from cxr_ldm.networks import compiled
from cxr_ldm.networks.compiled import CompiledDecoder, CompiledDenoiser, check_backend
from cxr_ldm.networks.inpainting import Filling, InpaintUNet
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.networks.unet import UNet
from cxr_ldm.pipeline import TextToCXR

SHAPE = {"channels": [16, 32], "blocks": 1, "attention_levels": [1], "middle_attention": True, "head_width": 16}
SHAPE |= {"groups": 8, "latent_channels": 2, "context_width": 12}
NEAR = {"32": {"rtol": 1e-4, "atol": 1e-5}, "bf16": {"rtol": 0, "atol": 0.1}}


def stirred(network):
    """Weights that say something, also where layers begin at zero."""
    torch.manual_seed(0)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.15)
    return network.eval()


def inputs(count, length):
    """Of a denoiser's network: latents, labels, states, and a mask whose last token is padding."""
    torch.manual_seed(count)
    mask = torch.arange(length).expand(count, -1) < length - 1
    return torch.randn(count, 2, 8, 8), torch.rand(count), torch.randn(count, length, 12), mask


@pytest.mark.campaign
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_denoiser_and_a_student_give_what_the_network_gives_for_every_shape(precision):
    plain = stirred(UNet(**SHAPE))
    student = stirred(StudentUNet(scales=(1.0, 4.0), **SHAPE))
    with torch.inference_mode():
        for network, more in ((plain, 0), (student, 2)):
            fast = CompiledDenoiser(network, precision)
            shapes = ((1, 3), (2, 7), (2, 20), (1, 5)) if precision == "32" else ((2, 7), (1, 5))
            for count, length in shapes:
                given = inputs(count, length) + (torch.rand(count) + 1, torch.rand(count))[:more]
                torch.testing.assert_close(fast(*given), network(*given), **NEAR[precision])
            assert len(fast.graphs) == min(3, len(shapes)), "3 and 5 tokens are one length"
    assert fast.learnt_scales == student.learnt_scales
    assert not any(each.requires_grad for each in fast.parameters())
    assert not hasattr(CompiledDenoiser(plain, precision), "learnt_scales")


def test_a_hole_is_filled_as_by_the_network():
    network = stirred(InpaintUNet(**SHAPE))
    known, hole = torch.randn(1, 2, 8, 8), torch.zeros(1, 1, 8, 8)
    hole[..., 3:] = 1
    with torch.inference_mode():
        given = inputs(2, 4)
        fast = Filling(CompiledDenoiser(network, "32"), known, hole)(*given)
        torch.testing.assert_close(fast, Filling(network, known, hole)(*given), **NEAR["32"])


@pytest.mark.campaign
def test_the_graph_that_was_used_longest_ago_goes(monkeypatch):
    monkeypatch.setattr(compiled, "HELD", 2)
    fast = CompiledDenoiser(stirred(UNet(**SHAPE)), "32")
    for count in (1, 2, 1, 3):
        fast(*inputs(count, 4))
    assert [shapes[0][0][0] for shapes in fast.graphs] == [1, 3]


def test_a_pipeline_draws_the_same_images_and_its_own_networks_stay():
    plain, fast = (TextToCXR.from_bundle(DEMO, device="cpu") for _ in range(2))
    fast.compile("openvino")
    prompts, stated = ["Right pleural effusion.", "Normal."], {"seeds": [0, 1], "steps": 3, "guidance": 2.0}
    for precision, most in (("32", 1e-3), ("bf16", 0.2)):
        images, others = (each(prompts, precision=precision, **stated) for each in (plain, fast))
        assert (images - others).abs().max() < most
        assert isinstance(fast.networks(precision)[1], CompiledDecoder)
    given = Original(plain(["Normal."], seeds=0, steps=3), hole=hole_of((64, 64), 64, region="left_lung"))
    images, others = (each(prompts[:1], seeds=[3], steps=3, original=given) for each in (plain, fast))
    assert (images - others).abs().max() < 1e-3
    assert isinstance(fast.denoiser.network, UNet), "what is exported or looked into is PyTorch's"


def test_what_cannot_be_compiled_so_is_refused(monkeypatch):
    with pytest.raises(UserError, match="is for the processor, and the model is on cuda"):
        check_backend("openvino", torch.device("cuda"))
    with pytest.raises(UserError, match="compile=gcc is not one of .*inductor.*openvino"):
        check_backend("gcc")
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs openvino: run `pip install"):
        check_backend("openvino")


def test_nobody_is_told_of_it(tmp_path):
    """OpenVINO reports every import to its makers where its telemetry is installed, which `pip` sees to."""
    assert version("openvino-telemetry")
    program = """
import socket, sys, torch
def refuse(*words): raise SystemExit("asked for the network")
socket.getaddrinfo = socket.socket.connect = refuse
from cxr_ldm.networks.compiled import Compiled
print(Compiled(torch.nn.Linear(2, 2), "32")(torch.ones(1, 2)).shape, sys.modules["openvino_telemetry"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch.Size([1, 2]) None"


def test_signals_are_handled_after_graphs_are_gone():
    """A child's end is one; it ended the process where two were made and dropped."""
    program = """
import faulthandler, signal, subprocess, torch
from cxr_ldm.networks.compiled import Compiled
faulthandler.enable()  # handlers run on a stack of their own from here on
signal.signal(signal.SIGCHLD, lambda *_: print("heard", flush=True))
first, second = (Compiled(torch.nn.Linear(2, 2), "32") for _ in range(2))
first(torch.ones(1, 2)), second(torch.ones(1, 2))
del first
del second
subprocess.run(["true"], check=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


@pytest.mark.campaign
def test_by_the_command(command, tmp_path):
    common = ["sample.py", "prompt=Cardiomegaly.", "bundle=phantom", "n=1", "sampler.steps=2"]
    pictures = []
    for word in ("compile=null", "compile=openvino"):
        folder = tmp_path / word
        command(*common, word, f"paths.outputs={folder}")
        pictures.append(np.asarray(Image.open(next(folder.rglob("0000.png")).open("rb")), dtype=int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
