"""What is measured of a diffusion model."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.data.findings.targets import SHOWN
from cxr_ldm.evaluation import cost, fitted
from cxr_ldm.evaluation.adherence import Adherence
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.curves import curves
from cxr_ldm.evaluation.derived import derived
from cxr_ldm.evaluation.distance import Distances, More
from cxr_ldm.evaluation.feature_sets import FeatureSets
from cxr_ldm.evaluation.fitted import Fits
from cxr_ldm.evaluation.groups import auroc_by_group, distances_by_group, groups_of
from cxr_ldm.evaluation.judge import Judge
from cxr_ldm.evaluation.measures import Curves, Measures
from cxr_ldm.evaluation.memory import memory
from cxr_ldm.evaluation.model import Model
from cxr_ldm.evaluation.own_words import own_words
from cxr_ldm.evaluation.references import references, shuffled_prompts
from cxr_ldm.evaluation.shown import Judgement, add_shown
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics.distances.floors import kernel_metric
from cxr_ldm.metrics.images import diversity
from cxr_ldm.metrics.references import MARK, derangement
from cxr_ldm.metrics.results import Metric

IN_GRID = 16  # images of grid.png
IN_A_ROW = 6  # images of each point of a curve in its picture


@dataclass(frozen=True)
class Evaluation:
    """What a diffusion model is measured with.

    Attributes:
        data: real images, and the split that is measured.
        sets: their features by each extractor.
        measures: what is measured.
        judge: a trained classifier; None where there is none for these data.
        adherence: of data whose truth is known, else None.
    """

    data: Collection
    sets: FeatureSets
    measures: Measures
    judge: Judge | None = None
    adherence: Adherence | None = None

    @property
    def distances(self) -> Distances:
        """From the real images."""
        return Distances(self.data, self.sets, self.measures.floor_repeats, self.measures.neighbours)

    def measure(self, model: Model, folder: Path) -> dict[str, Metric]:
        """Distances, near copies, diversity and, where it can be known, whether images show what their prompts say.

        Raises:
            UserError: a point of the curves is a guidance that the model did not learn, one patient has most images of
                which prompts are to be shuffled, or as what is measured.
        """
        data, measures, sets, distances = self.data, self.measures, self.sets, self.distances
        for scale in measures.curves.guidance if measures.curves is not None else ():
            model.pipeline.denoiser.check(model.sampling.rule.with_stated(scale=scale))  # before hours of the others
        prepared, rows = data.prepared, data.chosen(measures.n)
        if measures.curves is not None and measures.curves.alone:
            return self.curves(model, measures.curves, rows, folder)
        asked = self.asked(rows)
        fitted.check(measures, data, asked[len(rows) :])
        if measures.references:
            derangement(prepared.patients(rows), data.seed)  # refuses what cannot be shuffled before hours of sampling
        pool = model.of_texts(data, asked)
        prompts, images = prepared.texts(rows), pool[: len(rows)]
        in_all = {name: sets.of_images(name, pool[: max(len(rows), measures.kid_n or 0)]) for name in sets.extractors}
        made = {name: features[: len(rows)] for name, features in in_all.items()}
        compared = {
            "compared": f"images generated from the texts of {data.word} images",
            "with": f"these {data.word} images",
        }
        metrics = distances.of(rows, made, rows, compared, self.more(asked, len(rows), in_all))
        metrics |= distances.looks(rows, images) | measures.own(images, prepared.pixels(rows))
        if self.judge is not None:
            metrics |= self.judge.of_prompts(data, rows, images)
        metrics |= self.by_group(rows, images, made)
        attempts = measures.extraction_prompts, measures.extraction_samples
        metrics |= memory(model, data, sets, rows, images, made[sets.first], *attempts, folder)
        metrics |= diversity.diversity(images, prepared.pixels(rows), seed=data.seed)
        if self.adherence is not None:
            metrics |= self.adherence.of_model(model, images, rows, measures.adherence_n, folder)
        else:
            metrics |= diversity.diversity_within(images, prompts, prepared.pixels(rows), prompts, data.seed)
        metrics |= self.page(model, rows, asked, pool, folder)
        if measures.curves is not None:
            metrics |= self.curves(model, measures.curves, rows, folder)
        metrics |= derived(metrics) | self.costs(model)
        facts = {"synthetic": True, "prompts": prompts[:IN_GRID], **model.stated()}
        save_grid(folder / "grid.png", images[:IN_GRID], 4, prompts[:IN_GRID], facts)
        self.show(model, rows[:IN_GRID], images[:IN_GRID], folder)
        return self.stated(metrics, model)

    def by_group(self, rows: np.ndarray, images: Tensor, made: dict[str, Tensor]) -> dict[str, Metric]:
        """The first distance and the mean AUROC by sex, age and view, where these are known.

        Args:
            images: generated from the texts of `rows`, `[N,1,H,W]`.
            made: their features by extractor.
        """
        data, sets, name = self.data, self.sets, self.sets.first
        groups = groups_of(data.prepared, rows)
        if not groups:
            return {}
        real, patients = sets.of_rows(name, rows, "real"), data.prepared.patients(rows)
        metrics = distances_by_group(groups, name, real, made[name], patients, sets.settings(name))
        if self.judge is not None:
            stated = {"classifier": self.judge.sha256, "truth": "what the text says"}
            for seen, end in ((images, ""), (None, "_real")):
                metrics |= auroc_by_group(groups, self.judge.judged(data, rows, seen), stated, end, data.seed)
        return metrics

    def show(self, model: Model, rows: np.ndarray, images: Tensor, folder: Path) -> None:
        """The images of the grid one by one, `[N,1,H,W]` of the texts of `rows`, with what is asked for and judged."""
        data, judgement = self.data, None
        asked: list[list[str]] = [
            [finding["name"] for finding in found or [] if finding["certainty"] == "present"]
            for found in data.prepared.column("findings")[rows]
        ]
        if self.judge is not None:
            judged = self.judge.judged(data, rows, images)
            judgement = Judgement(judged.classes, judged.probabilities)
            asked = [[judged.classes[int(place)] for place in np.flatnonzero(row == SHOWN)] for row in judged.targets]
        prompts, seeds = data.prepared.texts(rows), model.seeds(data, len(rows))
        add_shown(folder, "text", images, prompts, seeds, asked, judgement, model.stated())

    def page(self, model: Model, rows: np.ndarray, asked: np.ndarray, pool: Tensor, folder: Path) -> dict[str, Metric]:
        """What metrics=page has besides: prompts in our own words, fitted classifiers, references.

        Args:
            rows: that are measured.
            asked: rows of all texts that were asked for, those first.
            pool: images of all of them, `[M,1,H,W]`.
        """
        data, measures, n = self.data, self.measures, len(rows)
        metrics: dict[str, Metric] = {}
        if measures.own_prompts_n and self.judge is not None:
            metrics |= own_words(model, data, self.judge, measures.own_prompts_n, folder)
        fits = Fits(measures.fitted, data, model.cache)
        if measures.folds:
            metrics |= fits.crossfitted(measures.folds)
        if measures.synthetic:
            end = n + min(len(asked) - n, measures.synthetic_n or len(asked))
            metrics |= fits.synthetic(model.generated.made_by, asked[n:end], pool[n:end])
        if measures.references:
            metrics |= shuffled_prompts(data, self.judge, self.adherence, rows, pool[:n])
            metrics |= references(model, data, self.distances, rows)
        return metrics

    def asked(self, rows: np.ndarray) -> np.ndarray:
        """Rows whose texts are asked for in all: those measured first, then as many of training images as needed.

        So KID over more images and the classifier that is trained on generated images share what is sampled.
        """
        further = (self.measures.kid_n or 0) - len(rows)
        if self.measures.synthetic:
            further = max(further, self.measures.synthetic_n or len(self.data.prepared.rows("train")))
        return rows if further <= 0 else np.concatenate([rows, self.data.chosen(further, "train")])

    def more(self, asked: np.ndarray, n: int, made: dict[str, Tensor]) -> More | None:
        """What KID takes beyond the `n` images of the other distances; nothing where metrics.kid_n asks for no more."""
        count = min(len(asked), self.measures.kid_n or 0)
        if count <= n:
            return None
        word = self.data.word
        compared = f"images generated from the texts of {n} {word} images, then of {count - n} training images"
        return More(asked[:count], made, compared)

    def costs(self, model: Model) -> dict[str, Metric]:
        """Parameters, and latency, throughput and memory of sampling unless no number of steps is asked for."""
        metrics = cost.parameters(model.bundle.parts)
        if not self.measures.cost_steps:
            return metrics
        metrics |= cost.latencies(model.pipeline, self.measures.cost_steps, model.sampling)
        return metrics | cost.peak_memory(model.bundle.folder, str(model.device), model.packages, model.sampling)

    def curves(self, model: Model, points: Curves, rows: np.ndarray, folder: Path) -> dict[str, Metric]:
        """KID, adherence or AUROC and side, and seconds, over the guidance scale and over the number of steps.

        curves.png has a row for each scale, of the same prompts and seeds.
        """
        data, sets, name, rows = self.data, self.sets, self.sets.first, rows[: points.n]
        patients, real = data.prepared.patients(rows), sets.of_rows(name, rows, "real")
        shown: list[Tensor] = []
        captions: list[str] = []

        def sampled(steps: int, scale: float) -> tuple[Tensor, float | None]:
            there = model.sampled(steps, scale)
            images = there.of_texts(data, rows)
            shown.append(images[:IN_A_ROW])
            captions.extend([f"guidance {scale:g}, {steps} steps"] * len(shown[-1]))
            return images, there.seconds(data, rows)

        def measure(images: Tensor) -> dict[str, Metric]:
            features = sets.of_images(name, images)
            metrics = {f"kid_{name}": kernel_metric(real, features, (patients, patients), sets.settings(name))}
            if self.adherence is not None:
                metrics |= self.adherence.of_texts(images, rows)
            judged = {} if self.judge is None else self.judge.of_prompts(data, rows, images)
            return metrics | {name: judged[name] for name in ("auroc_mean", "side_accuracy") if name in judged}

        metrics = curves(
            sampled,
            measure,
            steps=model.sampling.steps,
            guidance=model.sampling.rule.scale,
            at_steps=points.steps,
            at_guidance=points.guidance,
        )
        facts = {"synthetic": True, "bundle_sha256": model.bundle.sha256, **model.facts()}
        save_grid(folder / "curves.png", torch.cat(shown), len(shown[0]), captions, facts)
        return metrics

    def stated(self, metrics: dict[str, Metric], model: Model) -> dict[str, Metric]:
        """With how the images were sampled, where they are generated ones."""
        sampling = model.facts() | {"guidance": model.sampling.rule.settings(), "seed": self.data.seed}
        return {
            name: replace(metric, settings=metric.settings | {"sampling": sampling}) if sampled(name) else metric
            for name, metric in metrics.items()
        }


def sampled(name: str) -> bool:
    """Whether a metric is of generated images, and one way of sampling made them.

    >>> [sampled(name) for name in ("kid_x", "kid_x_floor", "kid_x_reference_copier", "kid_x_reference_empty")]
    [True, False, False, True]
    """
    not_ours = ("floor", "real", "_at_", "parameters", f"{MARK}copier", f"{MARK}reconstruction")
    return not any(part in name for part in not_ours)
