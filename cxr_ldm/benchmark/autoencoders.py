"""What autoencoders keep of radiographs: a bundle's, its linear start, and TAESD's, on the same images in one run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cxr_ldm.bundle import load_bundle
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances.floors import floors, kernel_metric
from cxr_ldm.metrics.distances.frechet import frechet_distance
from cxr_ldm.metrics.features.efficientnet import EfficientNetLite0, extract
from cxr_ldm.metrics.images import reconstruction
from cxr_ldm.metrics.results import Metric
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.tiny import PUBLISHED, TinyAutoencoder, published
from cxr_ldm.ranges import Count, Place, Seed
from cxr_ldm.report.terminal import cell

Reconstruct = Callable[[Tensor], Tensor]
POOL, REPEATS = 3, 5  # real images behind the floor as a multiple of n, and splits of them
NO_INTERVAL = "the makers are compared on the same images; evaluate.py stage=vae gives the interval of one"
PEERS = tuple(PUBLISHED)
INTRO = """Images of people whom no row of the table was trained on, encoded and decoded from the posterior's mean.

- *PSNR*, *SSIM*: means over images with 95 % intervals over patients.
- *FID / floor*: distance of the reconstructions from as many other real images of the collection, over that of real
  images from real images. *KID*: the same distance by a kernel, whose floor is 0.
- *linear* is the start of our training: the principal components of squares of 8 × 8 pixels and nothing else.
- TAESD and TAESD3 are small public autoencoders of photographs (8 times smaller, 4 and 16 channels), given the grey
  image in three channels; the mean of theirs is compared."""


def of_autoencoder(network: Autoencoder | TinyAutoencoder) -> Reconstruct:
    """Reconstruction from the posterior's mean."""
    return lambda pixels: network.decode(network.encode(pixels).chunk(2, dim=1)[0])


def linear_start(network: Autoencoder, training: Tensor) -> Autoencoder | None:
    """An autoencoder of the same make as its training begins; None where it has no shortcut."""
    if network.shortcut is None:
        return None
    begun = Autoencoder(network.latent_channels, [8], 1, 8, False, network.factor, shortcut=True)
    begun.fit_shortcut(training)
    return begun.eval()


def run(
    bundle: Place | None, folders: Mapping[str, Place] | None, taesd: Place, n: Count, linear_images: Count, seed: Seed
) -> dict[str, Metric]:
    """PSNR, SSIM, FID over its floor and KID of each autoencoder on the test images of each collection.

    Args:
        bundle: of a VAE.
        folders: name → prepared folder. The autoencoder must not have been trained on their test images.
        taesd: folder of TAESD's weights.
        n: test images of each collection at most, and as many others for the distances.
        linear_images: training images of the bundle's own collection that the linear start is made from.
        seed: of the choice of images.
    """
    if bundle is None or not folders:
        raise UserError("suite=autoencoders needs suite.run.bundle=FOLDER and suite.run.folders={NAME:FOLDER}.")
    vae = load_bundle(bundle, "vae")
    own = vae.parts["autoencoder"]
    makers: dict[str, Reconstruct] = {"ours": of_autoencoder(own)}
    metrics: dict[str, Metric] = {}
    for name, folder in folders.items():
        prepared = Prepared(folder)
        if "linear" not in makers:
            rows = np.random.default_rng(seed).permutation(prepared.rows("train"))[:linear_images]
            begun = linear_start(own, prepared.pixels(np.sort(rows)))
            makers |= {"linear": of_autoencoder(begun)} if begun is not None else {}
            makers |= {peer: of_autoencoder(published(Path(taesd), peer)) for peer in PEERS}
        metrics |= on_collection(name, prepared, makers, n, seed, {"bundle_sha256": vae.sha256})
    return metrics


@torch.inference_mode()
def on_collection(
    name: str, prepared: Prepared, makers: Mapping[str, Reconstruct], n: int, seed: int, stated: dict[str, Any]
) -> dict[str, Metric]:
    """Metrics named MAKER_MEASURE_NAME."""
    random = np.random.default_rng(seed)
    rows = np.sort(random.permutation(prepared.rows("test"))[:n])
    others = random.permutation(prepared.rows("train"))[: POOL * len(rows)]
    extractor, original = EfficientNetLite0(), prepared.pixels(rows)

    def features(images: Tensor) -> Tensor:
        return extract(extractor, images.split(64))

    pool = torch.cat([features(prepared.pixels(part)) for part in np.array_split(others, POOL)])
    real, people = pool[: len(rows)], (prepared.patients(others[: len(rows)]), prepared.patients(rows))
    floor = floors(pool, prepared.patients(others), len(rows), REPEATS, seed)
    if floor.reason:
        raise UserError(f"{prepared.folder}: {floor.reason}; take a smaller suite.run.n.")
    middle = float(np.mean(floor.values["fid"]))
    settings = {**stated, "extractor": "efficientnet_lite0", "floor": middle}
    metrics = {}
    for maker, reconstruct in makers.items():
        parts = tqdm(original.split(16), desc=f"{maker} on {name}", unit="batch")
        made = torch.cat([reconstruct(part).clamp(-1.0, 1.0).contiguous() for part in parts])
        for key, metric in reconstruction.reconstruction_metrics(made, original, prepared.patients(rows), seed).items():
            if key in ("psnr", "ssim"):
                metrics[f"{maker}_{key}_{name}"] = metric
        found = features(made)
        ratio = frechet_distance(real, found) / middle
        metrics[f"{maker}_fid_ratio_{name}"] = Metric(ratio, len(rows), False, settings=settings, reason=NO_INTERVAL)
        metrics[f"{maker}_kid_{name}"] = kernel_metric(real, found, people, settings)
    return metrics


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json: a table for each collection."""
    measures = {"psnr": "PSNR, dB", "ssim": "SSIM", "fid_ratio": "FID / floor", "kid": "KID"}
    names = [key.removeprefix("ours_psnr_") for key in content if key.startswith("ours_psnr_")]
    lines = ["# Autoencoders of radiographs", "", INTRO, ""]
    for name in names:
        n = content[f"ours_psnr_{name}"]["n"]
        lines += [f"## {name}, n = {n}", "", f"| | {' | '.join(measures.values())} |", "| --- " * 5 + "|"]
        for maker in ("ours", "linear", *PEERS):
            if f"{maker}_psnr_{name}" in content:
                cells = [cell(content[f"{maker}_{measure}_{name}"]) for measure in measures]
                lines.append(f"| {maker} | {' | '.join(cells)} |")
        lines.append("")
    run_facts = content["run"]
    lines.append(f"`{run_facts['command']}`, commit {run_facts['git_commit']}, {run_facts['hardware']['cpu']}.")
    return "\n".join(lines) + "\n"
