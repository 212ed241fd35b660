"""docs/results/latents.md: models that differ in their autoencoder alone, and what that makes of real images.

`compare.py PREPARED ARMS VAE…`: ARMS holds the NAME_GUIDANCE.npz of draw.py, a VAE is a bundle or a name of the
package. Real images are other ones of training than those whose texts were drawn.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from cxr_ldm.bundle import load_vae
from cxr_ldm.data.prepared.folder import Prepared, to_pixels
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.grids import grid
from cxr_ldm.metrics.copies.memorisation import near_copy_metrics, search
from cxr_ldm.metrics.distances.floors import kernel_metric
from cxr_ldm.metrics.features.efficientnet import EfficientNetLite0, extract
from cxr_ldm.metrics.images.looks import values_of
from cxr_ldm.metrics.results import run_entry
from cxr_ldm.report.markdown import publish

PAGE = Path("docs/results/latents.md")
INTRO = """Three models of Indiana reports, alike but for the autoencoder beneath: 115,200 images in 900 steps of 128,
at the same time on one H100 (`docs/one_gpu/there.sh`, in two minutes and a half). *own* has 8 channels and was trained
on radiographs (`vae_bundle=chest256`), *taesd* (4 channels) and *taesd3* (16) are public ones of photographs. Each drew
the texts of the same {n} training images from the same seeds, in 20 steps; the {real} real images are others. The
models did not come back, their images did.

- *KID*: kernel distance of EfficientNet-lite0 features. *sharpness*: variance of the Laplacian.
- *reconstructions*: the {n} images themselves, encoded and decoded; *tuned* is TAESD whose decoder learnt on for
  96,000 Indiana crops with the adversary of `experiment=chest256_decoder`, in batches of 32, with noise of 0.1 on the
  latents."""
SHOWN = 6

prepared, arms = Prepared(Path(sys.argv[1])), Path(sys.argv[2])
files = sorted(arms.glob("*.npz"))
drawn = np.load(files[0])["rows"]
pool = np.setdiff1d(prepared.rows("train"), drawn)
real_rows = np.sort(np.random.default_rng(0).permutation(pool)[: 2 * len(drawn)])
real, people = prepared.pixels(real_rows), prepared.patients(real_rows)
extractor = EfficientNetLite0()
features = extract(extractor, real.split(48))
sharpness = values_of([real])["sharpness"].mean()


def row(name: str, pixels: Tensor) -> str:
    found = kernel_metric(features, extract(extractor, pixels.split(48)), (people, prepared.patients(drawn)), {})
    low, high = found.ci95
    sharp = values_of([pixels])["sharpness"].mean() / sharpness
    print(name, flush=True)
    return f"| {name} | {found.value:.4f} | {low:.4f} to {high:.4f} | {sharp:.2f} |"


def uncopied(name: str, pixels: Tensor) -> Tensor:
    """Images that may be shown."""
    training = prepared.pixels(prepared.rows("train")).split(64)
    found = search(pixels, prepared.pixels(prepared.rows("val")), training)
    if near_copy_metrics(found, {})["near_copies"].value:
        raise UserError(f"{name} holds near copies of training images.")
    return pixels


lines = ["# Which latents a model learns in", "", INTRO.format(n=len(drawn), real=len(real)), ""]
lines += ["| | KID | 95 % interval, over patients | sharpness over real |", "| --- | ---: | ---: | ---: |"]
shown = {}
for file in files:
    content = np.load(file)
    images = [cv2.imdecode(content[f"image_{i}"], cv2.IMREAD_GRAYSCALE) for i in range(len(drawn))]
    pixels, (name, guidance) = to_pixels(np.stack(images)), file.stem.split("_")
    lines.append(row(f"{name}, guidance {float(guidance):g}", pixels))
    if float(guidance) > 1:
        shown[name] = uncopied(name, pixels[:SHOWN])
for name in sys.argv[3:]:
    with torch.inference_mode():
        network = load_vae(name).parts["autoencoder"]
        parts = [network.encode(part).chunk(2, dim=1)[0] for part in prepared.pixels(drawn).split(8)]
        made = torch.cat([network.decode(part).clamp(-1, 1) for part in parts])
    lines.append(row(f"reconstructions, {'own' if name == 'chest256' else Path(name).name}", made))
grid(torch.cat(list(shown.values())), columns=SHOWN, cell=256).save(PAGE.with_suffix(".png"))
run = run_entry(composed={"prepared": prepared.fingerprint}, bundle_sha256=None, seed=0)
facts = f"`{run['command']}`, commit {run['git_commit']}, {run['hardware']['cpu']}."
picture = f"![{', '.join(shown)} from above, guidance 3, a seed a column]({PAGE.stem}.png)"
publish(PAGE, "\n".join([*lines, "", picture, "", facts]) + "\n", run)
