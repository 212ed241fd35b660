"""What the diffusion stage computes once for each image and each text, kept under a fingerprint."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cxr_ldm import artifacts, content, ranks
from cxr_ldm.data.batches.latents import TextTable
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.blocks import channels_last
from cxr_ldm.text.encoders import TextEncoder

BLOCK = 64


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
        encoder = channels_last(autoencoder).to(device).eval()

        def moments(rows: np.ndarray) -> np.ndarray:
            pixels = prepared.pixels(rows).to(device, memory_format=torch.channels_last)
            return encoder.encode(pixels).half().cpu().numpy()  # type: ignore[no-any-return]

        fill_rows(partial / "moments.npy", len(prepared), moments, "encoding images")

    cached_by_all(target, made_by, fill, verify)
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
        network = encoder.to(device)

        def states(rows: np.ndarray) -> np.ndarray:
            found = network.frozen(ids[rows].to(device), mask[rows].to(device)).cpu()
            return (found.half() if found.is_floating_point() else found).numpy()  # type: ignore[no-any-return]

        fill_rows(partial / "cached.npy", len(distinct), states, "encoding texts")
        if ranks.number() == 0:
            content.save_array(partial / "mask.npy", mask.numpy())

    cached_by_all(target, made_by, fill, verify)
    advice = f"delete {target}"
    numbers = {text: number for number, text in enumerate(distinct)}
    return TextTable(
        content.read_array(target / "cached.npy", advice, mapped=True),
        content.read_array(target / "mask.npy", advice),
        np.array([[numbers[text] for text in wordings] for wordings in worded], dtype=np.int64),
    )


def cached_by_all(
    target: Path, made_by: dict[str, Any], fill: Callable[[Path], None], verify: content.Verify = "stat"
) -> None:
    """As `artifacts.cached`, where `fill` is called in every process that shares the run, for its part."""
    if ranks.number() > 0:
        partial = ranks.of_first(None)
        if partial is not None:
            fill(Path(partial))
    else:
        led: list[str] = []

        def lead(partial: Path) -> None:
            led.append(ranks.of_first(str(partial)))
            fill(partial)

        artifacts.cached(target, made_by, lead, verify)
        if not led:
            ranks.of_first(None)
    ranks.wait()


def fill_rows(path: Path, count: int, compute: Callable[[np.ndarray], np.ndarray], label: str) -> None:
    """Write an array of `count` rows, of which each process that shares the run computes its part, BLOCK at a time.

    Each writes a file of its own, which the first joins: on a disk of several machines, two that write into one file
    undo each other's work.
    """
    number, processes = ranks.number(), ranks.count()
    rows = np.array_split(np.arange(count), processes)[number]
    part, values = path.with_name(f"{path.stem}-{number}.npy"), None
    blocks = np.array_split(rows, max(1, len(rows) // BLOCK)) if len(rows) else []
    for block in tqdm(blocks, desc=label, unit="batch"):
        found = compute(block)
        if values is None:
            values = content.new_array(part, found.dtype, (len(rows), *found.shape[1:]))
        values[block - rows[0]] = found
    if values is not None:
        values.flush()
    ranks.wait()
    if number > 0:
        return
    if processes == 1:
        part.rename(path)
        return
    parts = [path.with_name(f"{path.stem}-{each}.npy") for each in range(processes)]
    arrays = [np.load(each, mmap_mode="r") for each in parts if each.exists()]  # none where there are too few rows
    whole, first = content.new_array(path, arrays[0].dtype, (count, *arrays[0].shape[1:])), 0
    for array in arrays:
        whole[first : first + len(array)] = array
        first += len(array)
    whole.flush()
    for each in parts:
        each.unlink(missing_ok=True)
