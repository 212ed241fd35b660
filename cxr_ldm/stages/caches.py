"""What the diffusion stage computes once for each image and each text, kept under a fingerprint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cxr_ldm import artifacts, content
from cxr_ldm.data.batches.latents import TextTable
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.blocks import channels_last
from cxr_ldm.text.encoders import TextEncoder


@torch.no_grad()  # not inference_mode: modules are moved in here, and those that train must stay trainable
def moments_of(
    autoencoder: Autoencoder,
    prepared: Prepared,
    folder: Path,
    made_by: dict[str, Any],
    device: torch.device,
    verify: content.Verify = "stat",
) -> np.ndarray:
    """VAE moments of every prepared image as a memory map float16 `[N,2C,h,w]`, computed at most once.

    Args:
        folder: the cache folder; the file's own folder is named after the fingerprint of `made_by`.
        made_by: what decides the moments: the fingerprint of the images and the sha256 of the VAE.
    """
    target = folder / f"moments-{artifacts.fingerprint(made_by)}"

    def fill(partial: Path) -> None:
        encoder, rows, values = channels_last(autoencoder).to(device).eval(), np.arange(len(prepared.manifest)), None
        for chunk in tqdm(np.array_split(rows, max(1, len(rows) // 64)), desc="encoding images", unit="batch"):
            pixels = prepared.pixels(chunk).to(device, memory_format=torch.channels_last)
            moments = encoder.encode(pixels).half().cpu().numpy()
            if values is None:
                values = content.new_array(partial / "moments.npy", np.float16, (len(rows), *moments.shape[1:]))
            values[chunk] = moments
        if values is not None:
            values.flush()

    artifacts.cached(target, made_by, fill, verify)
    return content.read_array(target / "moments.npy", f"delete {target}", mapped=True)


@torch.no_grad()  # not inference_mode: modules are moved in here, and those that train must stay trainable
def text_table(
    encoder: TextEncoder,
    worded: Sequence[Sequence[str]],
    folder: Path,
    made_by: dict[str, Any],
    device: torch.device,
    verify: content.Verify = "stat",
) -> TextTable:
    """The table of all distinct texts and of the empty one, computed at most once for these `made_by`.

    Args:
        worded: for each image as many wordings of its text, see `cxr_ldm.data.batches.captions`.
    """
    distinct = ["", *sorted({text for wordings in worded for text in wordings} - {""})]
    made_by = made_by | {"texts": artifacts.fingerprint(distinct)}
    target = folder / f"text-{artifacts.fingerprint(made_by)}"

    def fill(partial: Path) -> None:
        ids, mask = encoder.tokenizer(distinct)
        network, parts = encoder.to(device), []
        for start in tqdm(range(0, len(distinct), 64), desc="encoding texts", unit="batch"):
            part = slice(start, start + 64)
            states = network.frozen(ids[part].to(device), mask[part].to(device)).cpu()
            parts.append(states.half() if states.is_floating_point() else states)
        content.save_array(partial / "cached.npy", torch.cat(parts).numpy())
        content.save_array(partial / "mask.npy", mask.numpy())

    artifacts.cached(target, made_by, fill, verify)
    advice = f"delete {target}"
    numbers = {text: number for number, text in enumerate(distinct)}
    return TextTable(
        content.read_array(target / "cached.npy", advice, mapped=True),
        content.read_array(target / "mask.npy", advice),
        np.array([[numbers[text] for text in wordings] for wordings in worded], dtype=np.int64),
    )
