"""Classifiers that an evaluation trains itself: the cross-fitted judge of real images, and train on synthetic."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cxr_ldm.data.findings.targets import Targets, all_targets, learnable
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.crossfit import crossfit
from cxr_ldm.evaluation.feature_sets import kept
from cxr_ldm.evaluation.fitting import Pixels, fit, scores
from cxr_ldm.evaluation.measures import Fitted, Measures
from cxr_ldm.metrics.faithfulness.auroc import BOOTSTRAP, patient_weights
from cxr_ldm.metrics.faithfulness.judged import Judged, auroc_metrics, side_metrics
from cxr_ldm.metrics.faithfulness.trained_on import trained_on
from cxr_ldm.metrics.results import Metric


def check(measures: Measures, data: Collection, asked: np.ndarray) -> None:
    """Raises UserError where a classifier that will be fitted has no class to learn: before anything is generated.

    Args:
        asked: training rows whose texts are asked for.
    """
    least, targets = measures.fitted.min_images, all_targets(data.prepared.manifest)
    if measures.synthetic:
        learnable(targets, asked[: measures.synthetic_n], least)
    if measures.folds:
        learnable(targets, data.opened(), least)


@dataclass(frozen=True)
class Fits:
    """Fits of one plain classifier to images of a collection; what they scored is kept in `cache`."""

    fitted: Fitted
    data: Collection
    cache: Path

    def crossfitted(self, folds: int) -> dict[str, Metric]:
        """AUROC by finding and side accuracy on all real images, `…_real_crossfitted`; on test only where measured.

        Each image is scored by a classifier that saw no image of its patient.
        """
        data, prepared, rows = self.data, self.data.prepared, self.data.opened()
        targets = learnable(all_targets(prepared.manifest), rows, self.fitted.min_images)
        made_by = self._recorded(targets) | {"rows": rows.tolist(), "folds": folds}
        patients = prepared.patients(rows)
        seen = crossfit(
            self.fitted.recipe,
            lambda places: prepared.pixels(rows[places]),
            targets.values[rows],
            targets.classes,
            patients,
            folds,
            data.seed,
            lambda fold, compute: kept(self.cache, made_by | {"fold": fold}, compute, "scores"),
        )
        prevalence = np.asarray(targets.prevalence(rows))
        sources = prepared.column("source").astype(str)[rows]
        real = Judged(targets.classes, seen, targets.values[rows], prevalence, prepared.texts(rows), patients, sources)
        weights = patient_weights(patients, data.seed)
        word = "all real images" if data.split == "test" else "all real images but those of the test split"
        settings = {"images": word, "truth": "what the text says", "folds": folds, **self._stated()}
        settings["interval"] = (
            f"bootstrap over patients, {BOOTSTRAP} draws, seed {data.seed}; the classifiers held fixed"
        )
        metrics = auroc_metrics(real, weights, settings) | side_metrics(real, weights, settings)
        return {f"{name}_real_crossfitted": metric for name, metric in metrics.items()}

    def synthetic(self, made_by: Mapping[str, Any], asked: np.ndarray, images: Tensor) -> dict[str, Metric]:
        """Train on synthetic, test on the real measured split; see `trained_on`.

        Args:
            made_by: what decides the generated images beside their texts.
            asked: training rows whose texts were asked for.
            images: generated from them, `[N,1,H,W]`.
        """
        data, prepared, tested = self.data, self.data.prepared, self.data.rows
        targets = learnable(all_targets(prepared.manifest), asked, self.fitted.min_images)
        ways: dict[str, Pixels] = {
            "synthetic": lambda places: images[places],
            "real": lambda places: prepared.pixels(asked[places]),
        }
        common = self._recorded(targets) | {"rows": asked.tolist(), "tested": tested.tolist()}
        recipe, found = self.fitted.recipe, {}
        for way, pixels in ways.items():

            def compute(pixels: Pixels = pixels) -> Tensor:
                network = fit(recipe, pixels, targets.values[asked], targets.classes, data.seed)
                return scores(recipe, network, lambda places: prepared.pixels(tested[places]), np.arange(len(tested)))

            facts = common | {"trained_on": way} | (dict(made_by) if way == "synthetic" else {})
            found[way] = kept(self.cache, facts, compute, "scores").numpy()
        settings = {"images": f"all {len(tested):,} {data.word} images", "truth": "what the text says"}
        settings |= {"trained_on": f"{len(asked):,} images of the same training texts", **self._stated()}
        sources = prepared.column("source").astype(str)[tested]
        return trained_on(
            targets.classes, found, targets.values[tested], prepared.patients(tested), sources, settings, data.seed
        )

    def _recorded(self, targets: Targets) -> dict[str, Any]:
        """What decides the weights of a plain classifier beside its images."""
        facts = {"data": self.data.prepared.identity, "classes": targets.classes, "seed": self.data.seed}
        facts |= {"targets": targets.digest}
        return facts | {"device": self.fitted.recipe.device, "fitted": self.fitted.settings}

    def _stated(self) -> dict[str, Any]:
        settings = self.fitted.settings
        return {"epochs": settings["epochs"], "size": settings["size"], "channels": settings["network"]["channels"]}
