"""Features of an evaluation's images by each extractor chosen: every image passes through each network once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from cxr_ldm import artifacts, content
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.metrics.features.efficientnet import extract


class FeatureSets:
    """Features of real images, each extracted once and kept on disk, and of generated ones.

    Args:
        extractors: by name, in the order of choice; where only one makes sense it is the first.
        prepared: the collection of the real images.
        cache: folder of the real images' features.
        device: where networks run.
        size: images at once.
    """

    def __init__(
        self, extractors: Mapping[str, nn.Module], prepared: Prepared, cache: Path, device: torch.device, size: int
    ) -> None:
        self.extractors, self.prepared, self.cache = dict(extractors), prepared, cache
        self.device, self.size = device, size
        self.floors: dict[tuple[str, int, int], Any] = {}  # of distances, by extractor, number and seed
        self._known: dict[str, np.ndarray] = {}  # bool [images of the collection], by extractor
        self._features: dict[str, Tensor] = {}  # float64 [images of the collection, D]; only known rows are filled

    @property
    def first(self) -> str:
        """Name of the extractor that is used where only one makes sense."""
        return next(iter(self.extractors))

    def settings(self, name: str) -> dict[str, Any]:
        """What decides the features of an extractor, its preprocessing included."""
        return dict(self.extractors[name].settings())  # type: ignore[operator]  # every extractor has it

    def of_images(self, name: str, images: Tensor) -> Tensor:
        """Features of generated images `[N,1,H,W]`, float64 [N, D]."""
        parts = tqdm(images.split(self.size), desc=f"{name} of generated images", unit="batch")
        return extract(self.extractors[name], parts, self.device)

    def of_rows(self, name: str, rows: np.ndarray, what: str) -> Tensor:
        """Features of the real images of `rows`, float64 [N, D].

        Args:
            what: of images, for the progress bar.
        """
        made_by = {"data": self.prepared.identity, "rows": rows.tolist(), **self.settings(name)}
        features = kept(self.cache, made_by, lambda: self._extracted(name, rows, what))
        self._remember(name, rows, features)
        return features

    def _extracted(self, name: str, rows: np.ndarray, what: str) -> Tensor:
        known = self._known.get(name)
        missing = rows if known is None else rows[~known[rows]]
        if len(missing):
            parts = np.array_split(missing, -(-len(missing) // self.size))
            pixels = (self.prepared.pixels(part) for part in parts)
            shown = tqdm(pixels, desc=f"{name} of {what} images", total=len(parts), unit="batch")
            self._remember(name, missing, extract(self.extractors[name], shown, self.device))
        return self._features[name][torch.from_numpy(rows)]

    def _remember(self, name: str, rows: np.ndarray, features: Tensor) -> None:
        if name not in self._known:
            self._known[name] = np.zeros(len(self.prepared), dtype=bool)
            # not written to yet, so it takes memory only as it is filled
            self._features[name] = torch.empty(len(self.prepared), features.shape[1], dtype=torch.float64)
        self._known[name][rows] = True
        self._features[name][torch.from_numpy(rows)] = features


def kept(cache: Path, made_by: dict[str, Any], compute: Callable[[], Tensor], what: str = "features") -> Tensor:
    """What `compute` gives, from the cache where the same settings gave it before; `what` begins the folder's name."""
    folder = cache / f"{what}-{artifacts.fingerprint(made_by)}"
    artifacts.cached(
        folder, made_by, lambda partial: content.save_array(partial / "features.npy", compute().cpu().numpy())
    )
    return torch.from_numpy(content.read_array(folder / "features.npy", f"delete {folder}"))
