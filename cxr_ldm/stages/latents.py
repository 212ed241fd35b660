"""What the stages on latents share: the scale of the latents, their batches, and samples while they train."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.callbacks.grids import Draw
from cxr_ldm.data.batches.latents import LatentDataModule, TextTable
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.whitening import Moments, Whitening, live_channels
from cxr_ldm.pipeline import USUAL, TextToCXR
from cxr_ldm.stages.plan import Plan
from cxr_ldm.text.conditioner import Conditioner

AT_ONCE = 1024  # images whose moments are in memory while they are measured
FAINT = 0.5  # share of signal of the best latent channel, below which a VAE is hardly trained


def whitening_of(moments: np.ndarray, rows: np.ndarray, threshold: float) -> Whitening:
    """The measured scale of the live channels from moments `[N,2C,h,w]` of the training rows; prints which are live."""
    starts = range(0, len(rows), AT_ONCE)
    found = Moments.of(torch.from_numpy(moments[rows[start : start + AT_ONCE]]) for start in starts)
    shares = found.signal
    live = live_channels(shares, threshold)
    listed = ", ".join(f"{share:.2f}" for share in shares)
    print(f"latents: {len(live)} of {len(shares)} channels are diffused (shares of signal: {listed})")
    if max(shares) < FAINT:
        warnings.warn(
            f"no latent channel has a share of signal above {max(shares):.2f}: this VAE says little about its images, "
            "and no diffusion model can say more; train it longer or with a smaller vae.kl_weight.",
            stacklevel=2,
        )
    return Whitening(found.mean.tolist(), found.std.tolist(), live, threshold)


def batches(plan: Plan, moments: np.ndarray, table: TextTable, conditioner: Conditioner) -> LatentDataModule:
    """The latents and texts of a plan's images, and their patients where the model takes them."""
    recipe, prepared, rows = plan.recipe, plan.prepared, np.arange(len(plan.prepared))
    known = prepared.people(rows) if conditioner.takes_patients else [{}] * len(rows)
    stretch = recipe.periods().images
    return LatentDataModule(
        *(prepared, moments, table, conditioner.patients(known)), recipe.batch_size, stretch, plan.seed, recipe.workers
    )


def drawing(
    autoencoder: Autoencoder,
    prepared: Prepared,
    rows: np.ndarray,
    seeds: list[int],
    guidance: Guidance,
    sampling: Sampling = USUAL,
) -> Draw:
    """Samples of the texts of `rows` by a stage in training, `[N,1,H,W]` in [-1, 1]."""
    prompts = prepared.texts(rows)

    def draw(module: Any) -> Tensor:
        parts = module.denoiser, module.conditioner, module.whitening
        pipeline = TextToCXR(autoencoder.to(module.device), *parts, prepared.size, "", guidance)
        patients = prepared.people(rows) if module.conditioner.takes_patients else None
        return pipeline.draw(prompts, seeds, sampling, patients)

    return draw
