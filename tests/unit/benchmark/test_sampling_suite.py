"""The peers of the sampling suite compute what ours do, and its ratios are of what they say."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from cxr_ldm.benchmark import sampling
from cxr_ldm.benchmark.diffusers_peers import AutoencoderShape, Shapes, UNetShape, randomised, twin_autoencoder
from cxr_ldm.benchmark.sampling import Whole, as_the_original, memory, run
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.scaling import Epsilon
from cxr_ldm.diffusion.schedules import LinearBeta, leading
from cxr_ldm.networks.autoencoder import Autoencoder

UNET = {"channels": [8, 16], "blocks": 1, "attention_levels": [0, 1], "middle_attention": True, "groups": 4}
AUTOENCODER = {"latent_channels": 4, "channels": [8, 16], "blocks": 1, "groups": 4, "attention": True}
SHAPES = Shapes(UNetShape(**UNET, head_width=8), UNetShape(**UNET, heads=4), AutoencoderShape(**AUTOENCODER), 16, 6, 12)
BERT = {"vocab_size": 200, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
TEXTS = {"architecture": BERT, "padded": 9}


CODED = UNetShape(**UNET | {"attention_levels": [1]}, heads=4)


def in_this_process(workers, mp_context):
    """In place of a fresh process for each side, of which one test is enough."""
    return ThreadPoolExecutor(workers)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", [SHAPES.denoiser, SHAPES.original])
def test_a_twin_says_what_ours_says(shape):
    ours = SHAPES.unet(shape)
    x, label, (states, mask) = torch.randn(2, *SHAPES.latent), torch.tensor([5.0, 700.0]), SHAPES.text(2)
    with torch.no_grad():
        expected = ours(x, label, states, mask)
        torch.testing.assert_close(SHAPES.twin(ours, shape)(x, label, states, mask), expected, rtol=1e-4, atol=1e-5)
        assert expected.std() > 1e-3  # a branch at zero would say nothing


def test_the_autoencoder_s_twin_decodes_alike():
    ours = randomised(Autoencoder(**AUTOENCODER))
    latents = torch.randn(1, *SHAPES.latent)
    with torch.no_grad():
        theirs = twin_autoencoder(ours, SHAPES.autoencoder).decode(latents).sample
        torch.testing.assert_close(ours.decode(latents), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.campaign
def test_a_graph_says_what_ours_says():
    ours = SHAPES.unet(SHAPES.denoiser)
    x, label, (states, mask) = torch.randn(2, *SHAPES.latent), torch.tensor([5.0, 700.0]), SHAPES.text(2)
    with torch.no_grad():
        expected, given = ours(x, label, states, mask), SHAPES.graph(ours, 2)(x, label, states, mask)
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


def test_the_original_evaluates_three_images_a_step():
    seen = []

    class Counted(torch.nn.Module):
        def forward(self, x, label, context, mask):
            seen.append(len(x))
            return torch.zeros_like(x)

    draw = as_the_original(SHAPES, Autoencoder(**AUTOENCODER), Denoiser(Counted(), LinearBeta(), Epsilon()), leading(5))
    with torch.no_grad():
        draw(SHAPES.text(1), SHAPES.text(1))
    assert seen == [1, 2] * 5


@pytest.fixture
def runtimes(monkeypatch):
    """Ours in the place of theirs, whose graphs other tests make, and no process of its own for each side."""
    monkeypatch.setattr(sampling, "ProcessPoolExecutor", in_this_process)
    monkeypatch.setattr(sampling, "installed", lambda: True)
    monkeypatch.setattr(Shapes, "graph", lambda shapes, ours, batch: ours)
    monkeypatch.setattr(Whole, "onnxruntime", Whole.own)
    monkeypatch.setattr(sampling, "has_openvino", lambda: True)
    monkeypatch.setattr(sampling, "CompiledDenoiser", lambda network, precision: network)
    monkeypatch.setattr(sampling, "CompiledDecoder", lambda autoencoder, precision: autoencoder)


@pytest.mark.campaign
def test_bf16_is_compared_where_the_processor_has_it(monkeypatch, runtimes):
    """bfloat16 can be computed with anywhere; only its speed is the processor's."""
    monkeypatch.setattr(sampling, "has_bf16", lambda device: True)
    counts = TEXTS | {
        "batches": [1],
        "steps": 2,
        "student_steps": 1,
        "original_steps": 2,
        "repeats": 1,
        "image_repeats": 1,
    }
    metrics = sampling.run(SHAPES, CODED, **counts, seed=0)
    assert {name for name in metrics if "bf16" in name} == {
        "step_speed_bf16_b1",
        "step_speed_alike_bf16_b1",
        "step_bf16_speed_b1",
        "step_speed_bf16_onnxruntime_b1",
        "image_speed_bf16_to_onnxruntime",
        "image_speed_bf16_to_original",
        "student_speed_bf16_to_original",
        "image_speed_bf16_to_diffusers",
        "image_speed_bf16_to_diffusers_bf16",
        "image_speed_compiled_to_diffusers_bf16",
        "image_speed_compiled_to_bf16",
        "memory_mb_ours_bf16",
        "memory_mb_student_bf16",
        "memory_mb_diffusers_bf16",
    }


@pytest.mark.campaign
def test_memory_is_that_of_a_process_of_its_own():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        fresh = pool.submit(memory, Whole(SHAPES, BERT, 9, 2, 1, 2, 0), "ours").result()
    assert 100 < fresh < 10_000


def test_every_ratio_of_the_page_is_there(monkeypatch, runtimes):
    monkeypatch.setattr(sampling, "has_bf16", lambda device: False)
    counts = TEXTS | {
        "batches": [1, 2],
        "steps": 2,
        "student_steps": 1,
        "original_steps": 2,
        "repeats": 1,
        "image_repeats": 1,
    }
    metrics = run(SHAPES, CODED, **counts, seed=0)
    kinds = ("speed_", "speed_alike_", "speed_4x4_", "speed_onnxruntime_")
    kinds += ("speed_compiled_", "speed_alike_compiled_", "compiled_speed_")
    ratios = {f"step_{kind}b{batch}" for kind in kinds for batch in (1, 2)} | {"step_self_check", "texts_once_speed"}
    ratios |= {
        "image_speed_compiled_to_original",
        "student_speed_compiled_to_original",
        "image_speed_compiled_to_diffusers",
        "image_speed_compiled_to_onnxruntime",
        "image_speed_to_original",
        "student_speed_to_original",
        "image_speed_to_diffusers",
        "student_speed_to_own",
        "image_speed_to_onnxruntime",
    }
    sides = {f"memory_mb_{name}" for name in ("ours", "student", "diffusers", "original")}
    sides |= {f"memory_mb_{name}" for name in ("ours_compiled", "student_compiled", "onnxruntime")}
    assert set(metrics) == ratios | sides | {"step_gflop", "step_share_of_peak"}
    for name in ratios:
        stated = metrics[name].settings
        assert metrics[name].value > 0
        assert {"seconds", "peer_seconds"} <= stated.keys()
    assert metrics["step_gflop"].value > 0
