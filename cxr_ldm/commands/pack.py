"""python -m cxr_ldm.data.pack: a prepared folder as one file of limited size, and back."""

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from cxr_ldm.commands.checking import check
from cxr_ldm.commands.schema import Pack
from cxr_ldm.data.pack import pack, unpack
from cxr_ldm.data.prepared.folder import to_pixels
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances.kernel import kernel_distance
from cxr_ldm.metrics.features.efficientnet import EfficientNetLite0, extract

MEASURED = 1000  # training images at most, in two halves, from which KID is measured


def main(cfg: DictConfig) -> None:
    """One direction or the other, by conf/pack.yaml."""
    check(cfg, Pack)
    if (cfg.folder is None) == (cfg.file is None) or cfg.out is None:
        raise UserError("give folder=PREPARED out=FILE to pack, or file=FILE out=FOLDER to unpack.")
    if cfg.file is not None:
        print(f"{len(unpack(Path(cfg.file), Path(cfg.out)))} images: {cfg.out}")
        return
    facts = pack(Path(cfg.folder), Path(cfg.out), cfg.limit_mb, kernel_distances)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()) + f"\n  {cfg.out}")


def kernel_distances(original: np.ndarray, packed: np.ndarray) -> dict[str, Any]:
    """KID of packed against other original images, and its floor: original against these, both uint8 [N, H, W]."""
    extractor = EfficientNetLite0()
    chosen = np.sort(np.random.default_rng(0).permutation(len(original))[:MEASURED])
    sets = (original[chosen[::2]], packed[chosen[1::2]], original[chosen[1::2]])
    features = [
        extract(extractor, (to_pixels(part) for part in np.array_split(images, -(-len(images) // 64))))
        for images in sets
    ]
    name, n = "kid_efficientnet_lite0", len(sets[0])
    return {name: kernel_distance(*features[:2]), f"{name}_floor": kernel_distance(features[0], features[2]), "n": n}
