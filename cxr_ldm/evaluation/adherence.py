"""Do images of phantoms show the finding and the side that their prompt names, by the phantom's geometry?"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.model import Model
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics.faithfulness.adherence import Finding, PhantomAdherence
from cxr_ldm.metrics.images import diversity
from cxr_ldm.metrics.results import Metric

COLUMNS = 4  # of the picture: samples of a prompt
REAL_LIKE_PROMPTS = 600  # real images at most that show what the prompts ask for


class Adherence:
    """The measure of a collection whose truth is known, calibrated on its training images.

    Args:
        measure: not calibrated yet.
    """

    def __init__(self, measure: PhantomAdherence, data: Collection) -> None:
        self.measure, self.data = measure, data
        train = data.prepared.rows("train")
        measure.calibrate(data.prepared.pixels(train), self.said(train))

    def said(self, rows: np.ndarray) -> list[list[Finding]]:
        """What the texts of `rows` say."""
        return list(self.data.prepared.column("findings")[rows])

    def of_texts(self, images: Tensor, rows: np.ndarray) -> dict[str, Metric]:
        """Rates at which images `[N,1,H,W]` show what the texts of `rows` say."""
        return self.measure.of_texts(images, self.said(rows), self.data.word)

    def of_model(self, model: Model, images: Tensor, rows: np.ndarray, count: int, folder: Path) -> dict[str, Metric]:
        """Do samples show the finding and the side that their prompt names? Beside it: real images, the same measure.

        Args:
            images: generated from the texts of `rows`, `[N,1,H,W]`.
            count: samples for each fixed prompt.
        """
        data, measure = self.data, self.measure
        train, held_out = data.prepared.rows("train"), data.rows
        metrics = measure.of_real(data.prepared.pixels(held_out), self.said(held_out))
        metrics |= self.of_texts(images, rows)
        samples = {}
        for index, (name, prompt) in enumerate(measure.prompts.items()):
            seeds = [data.seed + 10_000 * (index + 1) + number for number in range(count)]
            samples[name] = model.draw([prompt] * count, seeds)
        shown = torch.cat([images[:COLUMNS] for images in samples.values()])
        captions = [prompt for prompt in measure.prompts.values() for _ in range(min(count, COLUMNS))]
        facts = {"synthetic": True, "prompts": captions, "bundle_sha256": model.bundle.sha256}
        save_grid(folder / "adherence.png", shown, min(count, COLUMNS), captions, facts)
        real = np.concatenate([train, held_out])
        truths = [tuple((entry["name"], entry["side"]) for entry in said) for said in self.said(real)]
        asked = [measure.shown(name) for name, images in samples.items() for _ in images]
        chosen = [row for row, truth in enumerate(truths) if truth in set(asked)][:REAL_LIKE_PROMPTS]
        metrics |= diversity.diversity_within(
            torch.cat(list(samples.values())),
            asked,
            data.prepared.pixels(real[chosen]),
            [truths[row] for row in chosen],
            data.seed,
        )
        return metrics | measure.rates(samples)
