"""How fast a training step is, beside the original's way and plain loops over diffusers' networks."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm.benchmark.diffusers_peers import (
    AutoencoderShape,
    Shapes,
    library,
    randomised,
    twin_autoencoder,
)
from cxr_ldm.benchmark.turns import in_turns, ratio, seconds
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.noise_levels import LogitNormal
from cxr_ldm.diffusion.scaling import Velocity
from cxr_ldm.diffusion.schedules import RectifiedFlow
from cxr_ldm.diffusion.weighting import Unit
from cxr_ldm.metrics.results import Metric
from cxr_ldm.networks.autoencoder import Autoencoder, kl_divergence, sample_posterior
from cxr_ldm.networks.precision import has_bf16
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.ranges import Count, Pixels, Seed
from cxr_ldm.report.markdown import render_markdown

EMA = 0.999
RATE = 1e-4
KL = 1e-4
LARGEST = 1.0  # norm of the gradients
LDM_INTRO = """How many times a peer's speed is ours, a step of the diffusion model on random numbers: forward,
backward, optimiser and average of the weights. Pairs of steps in turn, on the same threads.

- `speed_to_original`: beside the original's way, which encodes each image by the VAE and each text by a BERT of twelve
  layers over padded tokens in every step, on its own network.
- `speed_to_diffusers`: beside a plain loop over diffusers' network of the original's shape, with cached latents and
  texts as ours.
- `speed_alike`: the same over diffusers' network of our shape.
- `…bf16…`, where the processor has bfloat16: ours in it (`trainer.precision=auto`) beside the peer in float32; in
  `speed_alike_bf16` both run in bfloat16. `bf16_speed`: ours beside ours in float32.
- `self_check`: that loop beside itself, which shows the error of these ratios.
- `share_…`: where the time of our step goes."""
VAE_INTRO = """How many times the peer's speed is ours, a training step of the autoencoder on random images. The peer is
a plain loop over diffusers' AutoencoderKL with the same weights; `self_check` is that loop beside itself."""

Step = Callable[[], None]


class Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.spent[what] = self.spent.get(what, 0.0) + time.perf_counter() - start


def run(
    shapes: Shapes,
    architecture: Mapping[str, int],
    padded: Count,
    batch: Count,
    repeats: Count,
    seed: Seed,
) -> dict[str, Metric]:
    """Ratios of a step of the diffusion model, and the shares of ours.

    Args:
        shapes: of both sides.
        architecture: of the BERT that the original runs in each step, as transformers names it.
        padded: tokens of each text there.
        batch: images of a step.
        repeats: pairs of steps in turn.
        seed: of weights and batches.
    """
    torch.manual_seed(seed)
    clock = Clock()
    ours, narrow = own_step(shapes, batch, clock), own_step(shapes, batch, Clock(), narrow=True)
    other = shapes.twin(shapes.unet(shapes.original), shapes.original)
    same = shapes.twin(shapes.unet(shapes.denoiser), shapes.denoiser)
    plain, alike = plain_step(shapes, other, batch), plain_step(shapes, same, batch)
    original = original_step(shapes, other, architecture, padded, batch)
    sides = {
        "speed_to_original": (ours, original),
        "speed_to_diffusers": (ours, plain),
        "speed_alike": (ours, alike),
        "self_check": (plain, plain),
    }
    if has_bf16("cpu"):
        sides |= {
            "speed_bf16_to_original": (narrow, original),
            "speed_bf16_to_diffusers": (narrow, plain),
            "speed_alike_bf16": (narrow, plain_step(shapes, same, batch, narrow=True)),
            "bf16_speed": (narrow, ours),
        }
    metrics: dict[str, Metric] = {}
    for name, (first, second) in sides.items():
        pairs = in_turns(first, second, repeats, name)
        metrics[name] = ratio(pairs, batch, {"batch": batch, **seconds(pairs)})
    total = sum(clock.spent.values())
    for what, spent in clock.spent.items():
        reason = "a share of one sum of times"
        metrics[f"share_{what}"] = Metric(
            spent / total, batch, False, settings={"seconds": round(spent, 2)}, reason=reason
        )
    return metrics


def bf16(narrow: bool) -> torch.autocast:
    """Mixed precision, as Lightning's "bf16-mixed" has it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=narrow)


def own_step(shapes: Shapes, batch: int, clock: Clock, narrow: bool = False) -> Step:
    """The step of stage=ldm: cached moments and texts, a flow, AdamW for all weights in one call, clipping, EMA."""
    network = shapes.unet(shapes.denoiser).train()
    denoiser = Denoiser(network, RectifiedFlow(), Velocity())
    loss, channels = DiffusionLoss(LogitNormal(), Unit()), shapes.latent[0]
    whitening = Whitening([0.0] * channels, [1.0] * channels)
    moments, (states, mask) = torch.randn(batch, 2 * channels, *shapes.latent[1:]).half(), shapes.text(batch)
    random = torch.Generator().manual_seed(0)
    weights = list(network.parameters())
    average = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, lr=RATE, foreach=True)

    def step() -> None:
        with clock.on("data"):
            latents = whitening.whiten(sample_posterior(moments.float(), random))
        with clock.on("forward"), bf16(narrow):
            value = loss(denoiser, latents, states, mask, random)
        with clock.on("backward"):
            value.backward()
        with clock.on("optimiser"):
            nn.utils.clip_grad_norm_(weights, LARGEST)
            optimizer.step()
            optimizer.zero_grad()
        with clock.on("ema"), torch.no_grad():
            torch._foreach_lerp_(average, [weight.detach() for weight in weights], 1.0 - EMA)

    return step


def plain_step(shapes: Shapes, network: nn.Module, batch: int, narrow: bool = False) -> Step:
    """What a script over diffusers does, with the same caches: noise on latents, a squared error, AdamW, EMA."""
    latents, (states, mask) = torch.randn(batch, *shapes.latent), shapes.text(batch)

    def error() -> Tensor:
        with bf16(narrow):
            return noise_error(network.train(), latents, states, mask)

    return descent(network, error)


def original_step(shapes: Shapes, network: nn.Module, architecture: Mapping[str, int], padded: int, batch: int) -> Step:
    """The same where images and texts pass through the VAE and a BERT in every step."""
    from transformers import BertConfig, BertModel

    vae, bert = shapes.vae(), BertModel(BertConfig(**architecture)).eval()
    pixels = torch.randn(batch, 1, shapes.size, shapes.size)
    ids, mask = torch.randint(5, 100, (batch, padded)), torch.ones(batch, padded, dtype=torch.bool)

    def error() -> Tensor:
        with torch.no_grad():
            latents = sample_posterior(vae.encode(pixels))
            states = bert(input_ids=ids, attention_mask=mask).last_hidden_state
        return noise_error(network.train(), latents, states, mask)

    return descent(network, error)


def noise_error(network: nn.Module, latents: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """Squared error of the noise in latents between data and noise, at random levels."""
    noise, t = torch.randn_like(latents), torch.rand(len(latents))
    level = t[:, None, None, None]
    predicted = network((1.0 - level) * latents + level * noise, 1000.0 * t, states, mask)
    return functional.mse_loss(predicted, noise)


def descent(network: nn.Module, error: Callable[[], Tensor]) -> Step:
    """A step of AdamW with clipping and diffusers' average of the weights."""
    weights = list(network.parameters())
    optimizer = torch.optim.AdamW(weights, lr=RATE)
    average = library().training_utils.EMAModel(weights, decay=EMA)

    def step() -> None:
        error().backward()
        nn.utils.clip_grad_norm_(weights, LARGEST)
        optimizer.step()
        optimizer.zero_grad()
        average.step(weights)

    return step


def vae(autoencoder: AutoencoderShape, size: Pixels, batch: Count, repeats: Count, seed: Seed) -> dict[str, Metric]:
    """Ratio of a step of the autoencoder.

    Args:
        autoencoder, size: what is trained.
        batch, repeats, seed: as of `run`.
    """
    torch.manual_seed(seed)
    ours = randomised(Autoencoder(**asdict(autoencoder))).train()
    theirs = twin_autoencoder(ours, autoencoder).train()
    pixels = torch.randn(batch, 1, size, size).clamp(-1, 1)

    def own() -> Tensor:
        moments = ours.encode(pixels)
        return functional.mse_loss(ours.decode(sample_posterior(moments)), pixels) + KL * kl_divergence(moments)

    def peer() -> Tensor:
        posterior = theirs.encode(pixels).latent_dist
        error = functional.mse_loss(theirs.decode(posterior.sample()).sample, pixels)
        return error + KL * posterior.kl().mean() / posterior.mean[0].numel()

    steps = adam(ours, own, foreach=True), adam(theirs, peer)
    metrics = {}
    for name, (first, second) in {"speed_alike": steps, "self_check": (steps[1], steps[1])}.items():
        pairs = in_turns(first, second, repeats, name)
        metrics[name] = ratio(pairs, batch, {"batch": batch, "size": size, **seconds(pairs)})
    return metrics


def adam(network: nn.Module, error: Callable[[], Tensor], **options: Any) -> Step:
    """A step of Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, **options)

    def step() -> None:
        error().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of suite=training."""
    return render_markdown(content, "Speed of training", LDM_INTRO)


def vae_page(content: Mapping[str, Any]) -> str:
    """Markdown page of suite=vae."""
    return render_markdown(content, "Speed of the autoencoder's training", VAE_INTRO)
