"""How fast images are drawn, beside diffusers' networks of the same shape and the sampling of the original project.

Weights are random, which changes no time; ours and diffusers' are the same where their shapes are.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cxr_ldm.benchmark.diffusers_peers import (
    Condition,
    Shapes,
    dpm_solver,
    twin_autoencoder,
)
from cxr_ldm.benchmark.turns import in_turns, ratio, seconds, timed
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.flow_map import FlowMap
from cxr_ldm.diffusion.guidance import guided
from cxr_ldm.diffusion.samplers import ddim, dpmpp_2m, flow_map
from cxr_ldm.diffusion.scaling import Epsilon, Velocity
from cxr_ldm.diffusion.schedules import LinearBeta, RectifiedFlow, leading, trailing
from cxr_ldm.metrics.results import Metric
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.blocks import texts_once
from cxr_ldm.ranges import Count, Seed
from cxr_ldm.report.markdown import render_markdown

SCALE = 3.0  # of guidance, on all sides
FEW = 5  # steps of a comparison within one image
MATRIX = 2048  # rows of the product that says what the cores can do
INTRO = """How many times a peer's speed is ours, from pairs of runs in turn on the same threads, guided at one scale by
given states of a text.

- `step_…`: one guided step of a batch. The peer is diffusers' UNet2DConditionModel: of the original's shape, with eight
  heads at every level (`step_speed_…`), with our shape and weights (`step_speed_alike_…`), and against itself
  (`step_self_check`), which shows the error of these ratios.
- `texts_once_speed`: steps of one image that compute the keys and values of the text once, beside such that do it
  anew each.
- `image_speed_to_original`: a whole image, decoded: ours in the default's steps, beside the original's network and
  sampling, DDIM steps of three evaluations each, two of them in a batch. `student_speed_to_original`: the same for a
  student's steps.
- `image_speed_to_diffusers`: ours beside diffusers' DPM-Solver++ in as many steps, with our weights in its networks.
- `step_gflop`, `step_share_of_peak`: what a guided step of one image computes, and the share of the speed at which
  these cores multiply matrices that it is computed at."""


def run(
    shapes: Shapes,
    batches: Sequence[Count],
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
        batches: images of a step.
        steps, student_steps, original_steps: for an image.
        repeats, image_repeats: pairs of steps, and of whole images, in turn.
        seed: of weights and noise.
    """
    torch.manual_seed(seed)
    with torch.inference_mode():
        return steps_of(shapes, batches, repeats) | images_of(
            shapes, steps, student_steps, original_steps, image_repeats
        )


def steps_of(shapes: Shapes, batches: Sequence[int], repeats: int) -> dict[str, Metric]:
    """One guided step, ours and diffusers'."""
    ours, other = shapes.unet(shapes.denoiser), shapes.unet(shapes.original)
    alike, peer = shapes.twin(ours, shapes.denoiser), shapes.twin(other, shapes.original)
    metrics: dict[str, Metric] = {}

    def compared(name: str, first: Any, second: Any, batch: int) -> None:
        step, other_step = guided_step(shapes, first, batch), guided_step(shapes, second, batch)
        pairs = in_turns(step, other_step, repeats, name)
        metrics[name] = ratio(pairs, batch, {"batch": batch, **seconds(pairs)})

    for batch in batches:
        compared(f"step_speed_b{batch}", ours, peer, batch)
        compared(f"step_speed_alike_b{batch}", ours, alike, batch)
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
    x = torch.randn(2 * batch, *shapes.latent).to(memory_format=torch.channels_last)
    label, (states, mask) = torch.full((2 * batch,), 500.0), shapes.text(2 * batch)

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


def images_of(shapes: Shapes, steps: int, student_steps: int, original_steps: int, repeats: int) -> dict[str, Metric]:
    """One image, decoded."""
    vae = shapes.vae()
    network, other = shapes.unet(shapes.denoiser), shapes.unet(shapes.original)
    flow = RectifiedFlow(), Velocity()
    own = drawing(shapes, vae, Denoiser(network, *flow), dpmpp_2m, trailing(steps))
    student = drawing(shapes, vae, FlowMap(shapes.student(), *flow), flow_map, trailing(student_steps))
    twins = shapes.twin(network, shapes.denoiser), twin_autoencoder(vae, shapes.autoencoder)
    peer = dpm_solver(*twins, shapes.latent, steps, SCALE)
    old = Denoiser(shapes.twin(other, shapes.original), LinearBeta(), Epsilon())
    original = as_the_original(shapes, vae, old, leading(original_steps))
    text, null = shapes.text(1), shapes.text(1)
    metrics = {}
    for name, ours, theirs in (
        ("image_speed_to_original", own, original),
        ("student_speed_to_original", student, original),
        ("image_speed_to_diffusers", own, peer),
        ("student_speed_to_own", student, own),
    ):
        pairs = in_turns(partial(ours, text, null), partial(theirs, text, null), repeats, name)
        stated = {"steps": steps, "student_steps": student_steps, "original_steps": original_steps}
        metrics[name] = ratio(pairs, 1, stated | seconds(pairs))
    return metrics


Draw = Callable[[Condition, Condition], Tensor]


def drawing(
    shapes: Shapes, vae: Autoencoder, denoiser: Denoiser, sampler: Callable[..., Tensor], times: Tensor
) -> Draw:
    """An image from text states and those of the empty text."""

    def draw(text: Condition, null: Condition) -> Tensor:
        denoise = guided(denoiser, *text, *null, SCALE)
        with texts_once(denoiser.network):
            return vae.decode(sampler(denoise, torch.randn(1, *shapes.latent), times, denoiser.schedule))

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
