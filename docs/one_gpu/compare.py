"""The arms that draw.py drew, beside reconstructions of real images: `compare.py PREPARED ARMS VAE… > TABLE`.

ARMS holds NAME_GUIDANCE.npz; a VAE is a bundle, or a name of the package. Real images are others of training than those
whose texts were drawn. A picture of the first six images of each arm is written beside the arms.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from cxr_ldm.bundle import load_vae
from cxr_ldm.data.prepared import Prepared, to_pixels
from cxr_ldm.imaging.grids import grid
from cxr_ldm.metrics.distances import kernel_metric
from cxr_ldm.metrics.features import EfficientNetLite0, extract
from cxr_ldm.metrics.image_statistics import values_of
from cxr_ldm.metrics.memorisation import near_copy_metrics, search

prepared, arms = Prepared(Path(sys.argv[1])), Path(sys.argv[2])
files = sorted(arms.glob("*.npz"))
drawn = np.load(files[0])["rows"]
pool = np.setdiff1d(prepared.rows("train"), drawn)
real_rows = np.sort(np.random.default_rng(0).permutation(pool)[: 2 * len(drawn)])
real, people = prepared.pixels(real_rows), prepared.patients(real_rows)
extractor = EfficientNetLite0()
features = extract(extractor, real.split(48))
sharpness = values_of([real])["sharpness"].mean()


def row(name: str, pixels: Tensor, rows: np.ndarray) -> str:
    found = kernel_metric(features, extract(extractor, pixels.split(48)), (people, prepared.patients(rows)), {})
    low, high = found.ci95
    sharp = values_of([pixels])["sharpness"].mean() / sharpness
    return f"| {name} | {found.value:.3f} ({low:.3f} to {high:.3f}) | {sharp:.2f} |"


print(f"n = {len(drawn)} against {len(real)} real images\n")
print("| | KID (95 % interval) | sharpness over real |\n| --- | --- | --- |")
shown = []
for file in files:
    content = np.load(file)
    images = [cv2.imdecode(content[f"image_{i}"], cv2.IMREAD_GRAYSCALE) for i in range(len(drawn))]
    pixels = to_pixels(np.stack(images))
    print(row(file.stem.replace("_", ", guidance "), pixels, drawn), flush=True)
    if file.stem.endswith("_3.0"):
        held_out = prepared.pixels(prepared.rows("val"))
        found = search(pixels[:6], held_out, prepared.pixels(prepared.rows("train")).split(64))
        copies = near_copy_metrics(found, {})["near_copies"].value
        print(f"{file.stem}: {copies:g} of the images shown are near copies", file=sys.stderr)
        shown.append(pixels[:6])
for name in sys.argv[3:]:
    with torch.inference_mode():
        network = load_vae(name).parts["autoencoder"]
        parts = prepared.pixels(drawn).split(8)
        made = torch.cat([network.decode(network.encode(part).chunk(2, dim=1)[0]).clamp(-1, 1) for part in parts])
    print(row(f"reconstructions, {name}", made, drawn), flush=True)
grid(torch.cat(shown), columns=6, cell=256).save(arms / "arms.png")
