"""Images a second of each network at its size, on random data and alone on the card, to choose lengths by."""

import time
from collections.abc import Callable

import torch

from cxr_ldm.networks.autoencoder import Autoencoder, kl_divergence, sample_posterior
from cxr_ldm.networks.discriminator import PatchDiscriminator
from cxr_ldm.networks.unet import UNet
from cxr_ldm.stages.adversary import Adversary
from cxr_ldm.stages.reconstruction import l1_with_gradients

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = DEVICE == "cpu"  # a rehearsal


def report(name: str, step: Callable[[], None], images: int) -> None:
    """Print the rate of `step`, each of `images`, after a few that are not counted."""
    torch.backends.cudnn.benchmark = True
    warm, counted = (1, 2) if SMALL else (4, 12)
    for number in range(warm + counted):
        if number == warm:
            synchronize()
            began = time.perf_counter()
        step()
    synchronize()
    seconds = (time.perf_counter() - began) / counted
    print(f"{name} batch {images} rate {images / seconds:.0f} images/s, {seconds * 1e3:.1f} ms a step", flush=True)


def synchronize() -> None:
    if not SMALL:
        torch.cuda.synchronize()


def vae_step(batch: int, side: int, adversary: Adversary | None) -> Callable[[], None]:
    network = Autoencoder(8, [64, 128, 160], 1, 8, False, 2, True).to(DEVICE)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5, foreach=True)
    pixels = torch.rand(batch, 1, side, side, device=DEVICE) * 2 - 1

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            moments = network.encode(pixels)
            made = network.decode(sample_posterior(moments)).float()
            error = l1_with_gradients(made, pixels, 0.5)
            loss = error + 1e-5 * kl_divergence(moments.float())
            if adversary is not None:
                terms = adversary(pixels, made, error)
                loss = loss + terms["adversary"] + terms["discriminator"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def denoiser_step(batch: int, channels: list[int]) -> Callable[[], None]:
    network = UNet(8, 384, channels, 2, [1, 2], True, 16, head_width=channels[0]).to(DEVICE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, foreach=True)
    latents, time_of = torch.randn(batch, 8, 32, 32, device=DEVICE), torch.rand(batch, device=DEVICE)
    states = torch.randn(batch, 64, 384, device=DEVICE)
    mask = torch.ones(batch, 64, dtype=torch.bool, device=DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = network(latents, time_of, states, mask).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    for batch, side in [(2, 64)] if SMALL else [(32, 256), (64, 128), (16, 128)]:
        report(f"vae {side}", vae_step(batch, side, None), batch)
        adversary = Adversary(PatchDiscriminator([64, 128, 256], 8).to(DEVICE), 0.8, 0.0)
        report(f"decoder {side}", vae_step(batch, side, adversary), batch)
    for channels in ([48, 96, 192], [64, 128, 256]):
        for batch in [2] if SMALL else [64, 128, 256]:
            report(f"denoiser {channels[0]}", denoiser_step(batch, channels), batch)
