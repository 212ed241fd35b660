"""Images of a model as PNG files in one .npz: `draw.py BUNDLE PREPARED N GUIDANCE OUT`, for texts of training."""

import sys
from pathlib import Path

import cv2
import numpy as np

from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.pipeline import TextToCXR

bundle, folder, n, guidance, out = sys.argv[1:]
prepared = Prepared(Path(folder))
rows = np.sort(np.random.default_rng(0).permutation(prepared.rows("train"))[: int(n)])
pixels = TextToCXR.from_bundle(bundle)(prepared.texts(rows), list(range(len(rows))), 20, float(guidance))
images = ((pixels[:, 0].numpy() + 1) * 127.5).round().astype(np.uint8)
np.savez(out, rows=rows, **{f"image_{i}": cv2.imencode(".png", image)[1] for i, image in enumerate(images)})
