"""How fast images are drawn, beside diffusers' networks of the same shape and the sampling of the original project.

Weights are random, which changes no time; ours and diffusers' are the same where their shapes are.
"""

import multiprocessing
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cxr_ldm.benchmark.diffusers_peers import (
    Condition,
    Shapes,
    UNetShape,
    dpm_solver,
    twin_autoencoder,
)
from cxr_ldm.benchmark.graph_peers import Exported, installed
from cxr_ldm.benchmark.turns import in_turns, ratio, seconds, timed
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.flow_map import FlowMap
from cxr_ldm.diffusion.guidance import guided
from cxr_ldm.diffusion.samplers import ddim, dpmpp_2m, flow_map
from cxr_ldm.diffusion.scaling import Epsilon, Velocity
from cxr_ldm.diffusion.schedules import LinearBeta, RectifiedFlow, leading, trailing
from cxr_ldm.metrics.results import Metric, peak_bytes
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.blocks import texts_once
from cxr_ldm.networks.compiled import CompiledDecoder, CompiledDenoiser, Decoder, has_openvino
from cxr_ldm.networks.precision import dtype_of, has_bf16, in_precision, resolved
from cxr_ldm.networks.unet import UNet
from cxr_ldm.ranges import Count, Precision, Seed
from cxr_ldm.report.markdown import render_markdown

Draw = Callable[[Condition, Condition], Tensor]
Image = Callable[[], Tensor]
Decodes = Autoencoder | Exported | CompiledDecoder
SCALE = 3.0  # of guidance, on all sides
EMPTY = 2  # tokens of the empty text, its beginning and its end
FEW = 5  # steps of a comparison within one image
MATRIX = 2048  # rows of the product that says what the cores can do
INTRO = """How many times a peer's speed is ours, from pairs of runs in turn on the same threads, guided at one scale by
given states of a text.

- `step_…`: one guided step of a batch. The peer is diffusers' UNet2DConditionModel: of the original's shape, with eight
  heads at every level (`step_speed_…`), with our shape and weights (`step_speed_alike_…`), and against itself
  (`step_self_check`), which shows the error of these ratios. `step_speed_4x4_…`: of the network that the original's
  code builds, with attention at 4×4 alone.
- `…compiled…`, where OpenVINO is installed: ours by `compile=openvino precision=auto`, denoiser and decoder; the making
  of its graphs, some seconds for each new shape, is not in these times. `step_compiled_speed_…`: beside ours in
  PyTorch's best format.
- `…onnxruntime…`, where it is installed: our weights as an ONNX graph of fixed shapes in this runtime.
- `…bf16…`, where the processor has bfloat16: ours in it (`precision=auto`) beside the peer in float32, as diffusers
  loads its networks; in `…alike_bf16…` and `image_speed_bf16_to_diffusers_bf16` both run in bfloat16.
  `step_bf16_speed_…`: ours beside ours in float32.
- `texts_once_speed`: steps of one image that compute the keys and values of the text once, beside such that do it
  anew each.
- `image_speed_to_original`: a whole image, its text read by a BERT of twelve layers and its latent decoded: ours in the
  default's steps, beside the original's network, padding and sampling, DDIM steps of three evaluations each, two of
  them in a batch. `student_speed_to_original`: the same for a student's steps.
- `image_speed_to_diffusers`: ours beside diffusers' DPM-Solver++ in as many steps, with our weights in its networks.
- `memory_mb_…`: the most memory of a process that draws one such image.
- `step_gflop`, `step_share_of_peak`: what a guided step of one image computes, and the share of the speed at which
  these cores multiply matrices that it is computed at."""


def run(
    shapes: Shapes,
    as_coded: UNetShape,
    batches: Sequence[Count],
    architecture: Mapping[str, int],
    padded: Count,
    steps: Count,
    student_steps: Count,
    original_steps: Count,
    repeats: Count,
    image_repeats: Count,
    seed: Seed,
) -> dict[str, Metric]:
    """Ratios of speed.

    Args:
        shapes: of both sides.
        as_coded: of the original's UNet as its code builds it.
        batches: images of a step.
        architecture: of the BERT that reads the text of a whole image, as transformers names it.
        padded: tokens of each text of the original.
        steps, student_steps, original_steps: for an image.
        repeats, image_repeats: pairs of steps, and of whole images, in turn.
        seed: of weights and noise.
    """
    torch.manual_seed(seed)
    with torch.inference_mode():
        metrics = steps_of(shapes, as_coded, batches, repeats)
        whole = Whole(shapes, architecture, padded, steps, student_steps, original_steps, seed)
        return metrics | images_of(whole, image_repeats)


def steps_of(shapes: Shapes, as_coded: UNetShape, batches: Sequence[int], repeats: int) -> dict[str, Metric]:
    """One guided step, ours and diffusers'."""
    ours, other = shapes.unet(shapes.denoiser), shapes.unet(shapes.original)
    alike, peer = shapes.twin(ours, shapes.denoiser), shapes.twin(other, shapes.original)
    coded = shapes.twin(shapes.unet(as_coded), as_coded)
    metrics: dict[str, Metric] = {}

    def compared(name: str, first: Any, second: Any, batch: int) -> None:
        step, other_step = guided_step(shapes, first, batch), guided_step(shapes, second, batch)
        pairs = in_turns(step, other_step, repeats, name)
        metrics[name] = ratio(pairs, batch, {"batch": batch, **seconds(pairs)})

    for batch in batches:
        compared(f"step_speed_b{batch}", ours, peer, batch)
        compared(f"step_speed_alike_b{batch}", ours, alike, batch)
        compared(f"step_speed_4x4_b{batch}", ours, coded, batch)
        graph = shapes.graph(ours, 2 * batch) if installed() else None
        if graph is not None:
            compared(f"step_speed_onnxruntime_b{batch}", ours, graph, batch)
        best = ours
        if has_bf16("cpu"):
            best, narrow_peer = in_precision(ours, "bf16"), in_precision(alike, "bf16")
            compared(f"step_speed_bf16_b{batch}", best, peer, batch)
            compared(f"step_speed_alike_bf16_b{batch}", best, narrow_peer, batch)
            compared(f"step_bf16_speed_b{batch}", best, ours, batch)
            if graph is not None:
                compared(f"step_speed_bf16_onnxruntime_b{batch}", best, graph, batch)
        if has_openvino():
            compiled = CompiledDenoiser(ours, resolved("auto", "cpu"))
            compared(f"step_speed_compiled_b{batch}", compiled, peer, batch)
            compared(f"step_speed_alike_compiled_b{batch}", compiled, alike, batch)
            compared(f"step_compiled_speed_b{batch}", compiled, best, batch)
    compared("step_self_check", peer, peer, batches[0])
    step = guided_step(shapes, ours, batches[0])
    pairs = in_turns(lambda: known_text(ours, step), lambda: anew(step), repeats, "texts_once_speed")
    metrics["texts_once_speed"] = ratio(pairs, batches[0], {"steps": FEW, **seconds(pairs)})
    taken = metrics[f"step_speed_b{batches[0]}"].settings["seconds"]
    with FlopCounterMode(display=False) as counter:
        guided_step(shapes, ours, batches[0])()
    gflop, peak = counter.get_total_flops() / 1e9, matrix_speed(repeats)
    stated = {"gflop_a_second_of_matrices": round(peak, 1), "seconds": taken, "threads": torch.get_num_threads()}
    metrics["step_gflop"] = Metric(gflop, batches[0], False, settings=stated, reason="a count")
    metrics["step_share_of_peak"] = Metric(
        gflop / taken / peak, batches[0], True, settings=stated, reason="a ratio of times on one machine"
    )
    return metrics


def guided_step(shapes: Shapes, network: nn.Module, batch: int) -> Callable[[], Tensor]:
    """A step of a batch: empty text and text in one, then their combination."""
    x = torch.randn(2 * batch, *shapes.latent).to(dtype_of(network), memory_format=torch.channels_last)
    label, (states, mask) = torch.full((2 * batch,), 500.0), shapes.text(2 * batch)
    states = states.to(x.dtype)

    def step() -> Tensor:
        null, text = network(x, label, states, mask).chunk(2)
        return null + SCALE * (text - null)

    return step


def known_text(network: nn.Module, step: Callable[[], Tensor]) -> None:
    """Steps that compute the keys and values of their text once."""
    with texts_once(network):
        anew(step)


def anew(step: Callable[[], Tensor]) -> None:
    """The same steps, each with its own."""
    for _ in range(FEW):
        step()


@dataclass(frozen=True)
class Whole:
    """One image, from its text to its pixels.

    Attributes:
        shapes: of both sides.
        architecture: of the BERT that reads the text, as transformers names it.
        padded: tokens of each text of the original.
        steps, student_steps, original_steps: for an image.
        seed: of weights.
    """

    shapes: Shapes
    architecture: Mapping[str, int]
    padded: int
    steps: int
    student_steps: int
    original_steps: int
    seed: int

    def own(self, precision: Precision = "32") -> Image:
        """The default: DPM-Solver++ in our sampler, the text's own tokens and an empty text of two."""
        network, vae = in_precision(self.network(), precision), in_precision(self.shapes.vae(), precision)
        denoiser = Denoiser(network, RectifiedFlow(), Velocity())
        return self.read(drawing(self.shapes, vae, denoiser, dpmpp_2m, trailing(self.steps)), self.shapes.tokens, EMPTY)

    def student(self, precision: Precision = "32") -> Image:
        """A student's steps."""
        torch.manual_seed(self.seed)
        network, vae = in_precision(self.shapes.student(), precision), in_precision(self.shapes.vae(), precision)
        denoiser = FlowMap(network, RectifiedFlow(), Velocity())
        draw = drawing(self.shapes, vae, denoiser, flow_map, trailing(self.student_steps))
        return self.read(draw, self.shapes.tokens, EMPTY)

    def diffusers(self, precision: Precision = "32") -> Image:
        """Diffusers' DPM-Solver++ in as many steps, with our weights in its networks and both texts padded alike."""
        shapes = self.shapes
        twins = shapes.twin(self.network(), shapes.denoiser), twin_autoencoder(shapes.vae(), shapes.autoencoder)
        narrow = [in_precision(each, precision) for each in twins]
        draw = dpm_solver(narrow[0], narrow[1], shapes.latent, self.steps, SCALE)
        return self.read(draw, shapes.tokens, shapes.tokens)

    def original(self) -> Image:
        """The original's network, sampling and padding."""
        torch.manual_seed(self.seed)
        twin = self.shapes.twin(self.shapes.unet(self.shapes.original), self.shapes.original)
        denoiser = Denoiser(twin, LinearBeta(), Epsilon())
        draw = as_the_original(self.shapes, self.shapes.vae(), denoiser, leading(self.original_steps))
        return self.read(draw, self.padded, self.padded)

    def compiled(self, student: bool = False) -> Image:
        """Ours, or the student, by `compile=openvino` in the processor's best format."""
        torch.manual_seed(self.seed)
        precision = resolved("auto", "cpu")
        decoder = CompiledDecoder(self.shapes.vae(), precision)
        network = CompiledDenoiser(self.shapes.student() if student else self.network(), precision)
        denoiser = (FlowMap if student else Denoiser)(network, RectifiedFlow(), Velocity())
        times = trailing(self.student_steps if student else self.steps)
        draw = drawing(self.shapes, decoder, denoiser, flow_map if student else dpmpp_2m, times)
        return self.read(draw, self.shapes.tokens, EMPTY)

    def onnxruntime(self) -> Image:
        """Ours, with denoiser and decoder as graphs in onnxruntime."""
        shapes, latents = self.shapes, {"latents": torch.randn(1, *self.shapes.latent)}
        denoiser = Denoiser(shapes.graph(self.network(), 2), RectifiedFlow(), Velocity())
        decoder = Exported(Decoder(shapes.vae()), latents)
        return self.read(drawing(shapes, decoder, denoiser, dpmpp_2m, trailing(self.steps)), shapes.tokens, EMPTY)

    def network(self) -> UNet:
        """The same weights whoever asks."""
        torch.manual_seed(self.seed)
        return self.shapes.unet(self.shapes.denoiser)

    def read(self, draw: Draw, tokens: int, empty: int) -> Image:
        """`draw`, with a BERT that reads a text of so many tokens and an empty one before it."""
        from transformers import BertConfig, BertModel

        bert = BertModel(BertConfig(**self.architecture)).eval()

        def states(length: int) -> Condition:
            mask = torch.ones(1, length, dtype=torch.bool)
            ids = torch.randint(5, 100, (1, length))
            return bert(input_ids=ids, attention_mask=mask).last_hidden_state, mask

        return lambda: draw(states(tokens), states(empty))

    @property
    def kinds(self) -> dict[str, Callable[[], Image]]:
        """Who draws, by name."""
        narrow = {
            "ours_bf16": partial(self.own, "bf16"),
            "student_bf16": partial(self.student, "bf16"),
            "diffusers_bf16": partial(self.diffusers, "bf16"),
        }
        compiled: dict[str, Callable[[], Image]] = {
            "ours_compiled": self.compiled,
            "student_compiled": partial(self.compiled, student=True),
        }
        kinds = {"ours": self.own, "student": self.student, "diffusers": self.diffusers, "original": self.original}
        kinds |= (narrow if has_bf16("cpu") else {}) | (compiled if has_openvino() else {})
        return kinds | ({"onnxruntime": self.onnxruntime} if installed() else {})


PAIRS = {
    "image_speed_to_original": ("ours", "original"),
    "student_speed_to_original": ("student", "original"),
    "image_speed_to_diffusers": ("ours", "diffusers"),
    "student_speed_to_own": ("student", "ours"),
    "image_speed_bf16_to_original": ("ours_bf16", "original"),
    "student_speed_bf16_to_original": ("student_bf16", "original"),
    "image_speed_bf16_to_diffusers": ("ours_bf16", "diffusers"),
    "image_speed_bf16_to_diffusers_bf16": ("ours_bf16", "diffusers_bf16"),
    "image_speed_to_onnxruntime": ("ours", "onnxruntime"),
    "image_speed_bf16_to_onnxruntime": ("ours_bf16", "onnxruntime"),
    "image_speed_compiled_to_original": ("ours_compiled", "original"),
    "student_speed_compiled_to_original": ("student_compiled", "original"),
    "image_speed_compiled_to_diffusers": ("ours_compiled", "diffusers"),
    "image_speed_compiled_to_diffusers_bf16": ("ours_compiled", "diffusers_bf16"),
    "image_speed_compiled_to_bf16": ("ours_compiled", "ours_bf16"),
    "image_speed_compiled_to_onnxruntime": ("ours_compiled", "onnxruntime"),
}


def images_of(whole: Whole, repeats: int) -> dict[str, Metric]:
    """One image on each side: times in pairs, and the memory of each in a process of its own."""
    draws = {name: make() for name, make in whole.kinds.items()}
    stated = {"steps": whole.steps, "student_steps": whole.student_steps, "original_steps": whole.original_steps}
    metrics = {}
    for name, (ours, theirs) in PAIRS.items():
        if ours in draws and theirs in draws:
            pairs = in_turns(draws[ours], draws[theirs], repeats, name)
            metrics[name] = ratio(pairs, 1, stated | seconds(pairs))
    for name in draws:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            megabytes = pool.submit(memory, whole, name).result()
        facts = {"of": "a whole process, Python and torch included", "images": 1}
        metrics[f"memory_mb_{name}"] = Metric(megabytes, 1, False, settings=facts, reason="a single maximum")
    return metrics


def memory(whole: Whole, name: str) -> float:
    """Most megabytes of a fresh process that draws one image."""
    with torch.inference_mode():
        whole.kinds[name]()()
    return peak_bytes() / 1e6


def drawing(
    shapes: Shapes,
    vae: Decodes,
    denoiser: Denoiser,
    sampler: Callable[..., Tensor],
    times: Tensor,
) -> Draw:
    """An image from text states and those of the empty text."""

    def draw(text: Condition, null: Condition) -> Tensor:
        narrow = dtype_of(denoiser.network)
        states = [(context.to(narrow), mask) for context, mask in (text, null)]
        denoise = guided(denoiser, *states[0], *states[1], SCALE)
        with texts_once(denoiser.network):
            latents = sampler(denoise, torch.randn(1, *shapes.latent), times, denoiser.schedule)
        return vae.decode(latents.to(dtype_of(vae)))

    return draw


def as_the_original(shapes: Shapes, vae: Autoencoder, denoiser: Denoiser, times: Tensor) -> Draw:
    """DDIM as the original's code samples: after the batch of two, each step evaluates its network once more."""

    def draw(text: Condition, null: Condition) -> Tensor:
        combined = guided(denoiser, *text, *null, SCALE)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            denoiser(x, t.expand(1), *text)
            return combined(x, t)

        return vae.decode(ddim(denoise, torch.randn(1, *shapes.latent), times, denoiser.schedule))

    return draw


def matrix_speed(repeats: int) -> float:
    """GFLOP a second of a product of two square matrices on these threads, the median of several."""
    one, two = torch.randn(2, MATRIX, MATRIX)
    taken = [timed(lambda: torch.mm(one, two)) for _ in range(max(3, repeats))]
    return 2 * MATRIX**3 / statistics.median(taken) / 1e9


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    return render_markdown(content, "Speed of sampling", INTRO)
