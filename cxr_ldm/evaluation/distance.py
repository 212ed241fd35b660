"""How far generated images are from real ones: distances of features by each extractor, and image statistics."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.feature_sets import FeatureSets
from cxr_ldm.metrics.distances import floors as distances
from cxr_ldm.metrics.images import looks as image_statistics
from cxr_ldm.metrics.results import Metric


@dataclass(frozen=True)
class More:
    """Images beyond those of FID, for KID.

    Attributes:
        asked: rows that all generated images were made from, those of FID first.
        made: features of all of them by extractor, float64 [M, D].
        compared: what they are.
    """

    asked: np.ndarray
    made: dict[str, Tensor]
    compared: str


@dataclass(frozen=True)
class Distances:
    """Distances from the real images of a collection, with floors.

    Attributes:
        sets: features of these images by each extractor.
        repeats: patient-disjoint splits of real against real, for the floors.
        neighbours: of precision, recall, density and coverage.
    """

    data: Collection
    sets: FeatureSets
    repeats: int
    neighbours: int

    def of(
        self,
        rows: np.ndarray,
        made: dict[str, Tensor],
        asked: np.ndarray,
        compared: dict[str, str],
        more: More | None = None,
    ) -> dict[str, Metric]:
        """FID, KID and coverage against the images of `rows`, with floors, by each extractor.

        Args:
            made: features of the generated images by extractor, float64 [N, D].
            asked: rows that the generated images were made from.
            compared: what is compared with what, for the settings.
            more: further images for KID, which is then taken against the whole measured split.
        """
        patients = self.data.prepared.patients(rows), self.data.prepared.patients(asked)
        metrics: dict[str, Metric] = {}
        for name, generated in made.items():
            metrics |= distances.distances_from(
                self.sets.of_rows(name, rows, "real"),
                generated,
                self.floors(name, min(len(rows), len(generated))),
                self.sets.settings(name) | compared,
                patients=patients,
                many=self._many(name, more) if more else None,
                neighbours=self.neighbours,
                seed=self.data.seed,
            )
        return metrics

    def floors(self, name: str, n: int) -> distances.Floors:
        """Floors at n images a side by an extractor; computed once."""
        key = name, n, self.data.seed
        if key not in self.sets.floors:
            pool = self.data.pool(n)
            features, patients = self.sets.of_rows(name, pool, "floor"), self.data.prepared.patients(pool)
            self.sets.floors[key] = distances.floors(
                features, patients, n, self.repeats, self.data.seed, self.neighbours
            )
        floors: distances.Floors = self.sets.floors[key]
        return floors

    def _many(self, name: str, more: More) -> distances.Many:
        """All generated images against every real image of the measured split."""
        real, word = self.data.rows, self.data.word
        stated: dict[str, object] = {"compared": more.compared, "with": f"all {len(real):,} {word} images"}
        people = self.data.prepared.patients(real), self.data.prepared.patients(more.asked)
        return distances.Many(self.sets.of_rows(name, real, word), more.made[name], people, stated)

    def looks(self, rows: np.ndarray, images: Tensor) -> dict[str, Metric]:
        """Contrast, sharpness and entropy of `images`, made from `rows`, beside those of the real images of these."""
        data, pool = self.data, self.data.pool(len(rows))
        patients = data.prepared.patients(rows)
        return image_statistics.statistics_metrics(
            image_statistics.values_of(images.split(data.batch_size)),
            image_statistics.values_of(data.batches(rows)),
            image_statistics.values_of(data.batches(pool)),
            data.prepared.patients(pool),
            (patients, patients),
            repeats=self.repeats,
            seed=data.seed,
        )
