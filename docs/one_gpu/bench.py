"""Images a second of denoisers at their size, with and without CUDA graphs, on random data and alone on the card."""

import copy
import time

import torch

from cxr_ldm.callbacks.graphs import capture
from cxr_ldm.networks.unet import UNet

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = DEVICE == "cpu"  # a rehearsal
TEXT, LATENTS = (64, 384), (4, 32, 32)


def inputs(batch: int) -> tuple[torch.Tensor, ...]:
    states = torch.randn(batch, *TEXT, device=DEVICE, requires_grad=True)
    mask = torch.arange(TEXT[0], device=DEVICE).expand(batch, -1) < 20
    return torch.randn(batch, *LATENTS, device=DEVICE), torch.rand(batch, device=DEVICE), states, mask


def step(network: UNet, given: tuple[torch.Tensor, ...]) -> None:
    with torch.autocast(DEVICE, torch.bfloat16):
        loss = (network(*given).float() - given[0]).square().mean()
    loss.backward()


def rate(name: str, network: UNet, batch: int) -> float:
    """Print the rate of training steps, after a few that are not counted."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, foreach=False, fused=True)
    given = inputs(batch)
    warm, counted = (1, 2) if SMALL else (3, 15)
    for number in range(warm + counted):
        if number == warm:
            synchronize()
            began = time.perf_counter()
        step(network, given)
        optimizer.step()
        optimizer.zero_grad()
    synchronize()
    seconds = (time.perf_counter() - began) / counted
    print(f"{name} batch {batch}: {batch / seconds:.0f} images/s, {seconds * 1e3:.1f} ms a step", flush=True)
    return batch / seconds


def synchronize() -> None:
    if not SMALL:
        torch.cuda.synchronize()


def difference(one: UNet, other: UNet) -> float:
    """Largest distance of two networks' gradients of one batch, over the norm of all."""
    given = inputs(8)
    torch.nn.init.normal_(one.conv_out.weight, std=0.02)
    other.load_state_dict(one.state_dict())
    if not SMALL:
        capture(other, given, torch.bfloat16)
    for network in (one, other):
        for _ in range(2):  # replayed, not captured
            network.zero_grad()
            step(network, given)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    apart = torch.stack([(a.grad - b.grad).norm() for a, b in pairs]).max()
    return (apart / torch.stack([a.grad.norm() for a in one.parameters()]).norm()).item()


def made(channels: list[int]) -> UNet:
    return UNet(LATENTS[0], TEXT[1], channels, 2, [1, 2], True, 16, head_width=channels[0]).to(
        DEVICE, memory_format=torch.channels_last
    )


if __name__ == "__main__":
    first = made([48, 96, 192])
    print(f"gradients with graphs differ by {difference(first, copy.deepcopy(first)):.2e} of their norm", flush=True)
    batch = 2 if SMALL else 128
    rates = {}
    for name in ("last", "contiguous", "last_benchmark", "contiguous_benchmark"):
        torch.backends.cudnn.benchmark = "benchmark" in name
        network = made([48, 96, 192])
        network = network.to(memory_format=torch.contiguous_format) if "contiguous" in name else network
        began = time.perf_counter()
        if not SMALL:
            capture(network, inputs(batch), torch.bfloat16)
        print(f"captured in {time.perf_counter() - began:.1f} s", flush=True)
        rates[name] = rate(name, network, batch)
    print("best", max(rates, key=lambda name: rates[name]))
