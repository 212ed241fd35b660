"""Both stages so small that they train in a second: four images of 16 pixels, latents of 4."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.nn.functional import l1_loss

from cxr_ldm.callbacks.grids import ImageGrid
from cxr_ldm.data.batches.images import ImageDataModule
from cxr_ldm.data.batches.latents import LatentDataModule
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.noise_levels import LogitNormal
from cxr_ldm.diffusion.scaling import Velocity
from cxr_ldm.diffusion.schedules import RectifiedFlow
from cxr_ldm.diffusion.weighting import Unit
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.discriminator import PatchDiscriminator
from cxr_ldm.networks.unet import UNet
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.stages.adversary import Adversary
from cxr_ldm.stages.caches import text_table
from cxr_ldm.stages.ldm import LatentDiffusionStage
from cxr_ldm.stages.recipe import Recipe
from cxr_ldm.stages.vae import VAEStage
from cxr_ldm.text.conditioner import Conditioner
from cxr_ldm.text.encoders import scratch
from cxr_ldm.training import fit as training
from cxr_ldm.training.fit import Machine

TEXTS = ["Right pleural effusion.", "Left pleural effusion, small.", "Normal.", "Normal."]
RECIPE = Recipe(
    optimizer=torch.optim.AdamW,  # the stages of these tests have their own
    batch_size=4,
    images=32,
    validate_every=8,
    checkpoint_every=8,
    ema=0.9,
)
MACHINE = Machine(accelerator="cpu", log_every=1)
LOGGER = partial(CSVLogger, name="", version="csv")


class FourImages:
    """Stands for a prepared folder of four images."""

    size = 16
    images = np.random.default_rng(2).integers(0, 256, (4, 16, 16), dtype=np.uint8)

    def ids(self, rows):
        return [f"image {row}" for row in rows]

    def rows(self, split):
        return np.arange(4)

    def draws(self):
        return np.arange(4)

    def draw_weights(self, rows):
        return None


def ldm_stage(
    tmp_path, dropout=0.1, images_per_epoch=8, texts=TEXTS, whitening=((0.0, 0.0), (1.0, 1.0))
) -> tuple[LatentDiffusionStage, LatentDataModule]:
    torch.manual_seed(0)
    encoder = scratch(texts, vocabulary=60, layers=1, width=16, heads=2, length=10)
    table = text_table(encoder, [[text] for text in texts], tmp_path / "cache", {"test": 1}, torch.device("cpu"))
    network = UNet(2, 16, channels=[8, 16], blocks=1, attention_levels=[0, 1], middle_attention=True, heads=2, groups=4)
    stage = LatentDiffusionStage(
        Denoiser(network, RectifiedFlow(), Velocity()),
        Conditioner(encoder),
        Whitening(*whitening),
        DiffusionLoss(LogitNormal(), Unit()),
        partial(torch.optim.AdamW, lr=3e-3),
        condition_dropout=dropout,
        warmup_steps=2,
        last_rate=0.1,
        seed=0,
    )
    mean = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    moments = torch.cat([mean, torch.full_like(mean, -8.0)], 1).half().numpy()
    return stage, LatentDataModule(FourImages(), moments, table, torch.zeros(4, 0), 4, images_per_epoch, seed=0)


def vae_stage(network, reconstruction, adversary=None) -> VAEStage:
    optimizer = partial(torch.optim.Adam, lr=1e-3)
    return VAEStage(network, optimizer, reconstruction, 1e-4, adversary, warmup_steps=0, last_rate=1.0, seed=5)


def adversarial_stage(start=0.5) -> tuple[VAEStage, ImageDataModule]:
    torch.manual_seed(0)
    stage = vae_stage(Autoencoder(2, [8, 8], 1, 4), l1_loss, Adversary(PatchDiscriminator([8, 8], 4), 0.5, start))
    return stage, ImageDataModule(FourImages(), 4, 8, seed=0)


def fit(stage, data, folder, draw=None, changes=None, **recipe):
    grid = ImageGrid(draw or (lambda module: torch.zeros(1, 1, 16, 16)), folder / "samples", columns=1)
    machine = replace(MACHINE, **(changes or {}))
    return training.fit(stage, data, folder, replace(RECIPE, **recipe), machine, ("val/loss", "min"), LOGGER, 0, [grid])
