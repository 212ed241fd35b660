"""Images from any generator against real ones: what of an evaluation needs no model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.findings.targets import NOT_SHOWN, of_findings
from cxr_ldm.data.pictures import Pictures
from cxr_ldm.data.prepared.folder import Prepared, to_pixels
from cxr_ldm.data.prepared.splits import Split
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.derived import derived
from cxr_ldm.evaluation.distance import Distances
from cxr_ldm.evaluation.feature_sets import FeatureSets
from cxr_ldm.evaluation.judge import Judge
from cxr_ldm.evaluation.measures import Measures
from cxr_ldm.evaluation.memory import extremes, nearest_picture
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics.copies import memorisation
from cxr_ldm.metrics.distances import floors
from cxr_ldm.metrics.distances.paired import paired_kernel_distance
from cxr_ldm.metrics.faithfulness.judged import Judged, auroc_differences, faithfulness, said_over
from cxr_ldm.metrics.images import diversity
from cxr_ldm.metrics.images import looks as image_statistics
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import IMAGES, PATIENTS

OVER = "real patients and generated images"
PAIRS = "pairs of images"
SHOWN = 16
FEWEST = 20  # images of either side, below which a distance says nothing
# How many of the real images may also be training images, by their pixels, before the two are taken for one set.
SAME = 0.01
# Keys of CheXGenBench's tables by the kind of distance; those of an extractor's features carry its name.
BENCH = {"fid": "FID", "kid": "KID", "precision": "Precision", "recall": "Recall"}
BENCH |= {"density": "Density", "coverage": "Coverage"}
BENCH_EXTRACTORS = {"inception": "", "rad_dino": " (RadDino)"}


@dataclass(frozen=True)
class Training:
    """Images that a generator was trained on: a split of a collection."""

    prepared: Prepared
    split: Split

    @property
    def rows(self) -> np.ndarray:
        """Which they are."""
        return self.prepared.rows(self.split)


@dataclass(frozen=True)
class Scoring:
    """What images are scored with.

    Attributes:
        data: real images, and the split that is compared with.
        sets: their features by each extractor.
        measures: what is measured.
        training: None where it is not known what a generator was trained on, and copies are not looked for.
        judge: a classifier of such images; None: what images show is not judged.
    """

    data: Collection
    sets: FeatureSets
    measures: Measures
    training: Training | None = None
    judge: Judge | None = None

    def measure(self, pictures: Pictures, folder: Path) -> dict[str, Metric]:
        """Distances with floors, statistics, diversity, and where it can be known copies and AUROC by finding.

        Raises:
            UserError: there are too few images, or the real ones are those that the generator was trained on.
        """
        data, sets, count = self.data, self.sets, len(pictures.images)
        if min(count, len(data.rows)) < FEWEST:
            raise UserError(
                f"{count} images against {len(data.rows)} real ones; {FEWEST} of either are the least that says "
                "anything."
            )
        self.check_reference()
        images, ids = to_pixels(np.asarray(pictures.images)), [each.name for each in pictures.listed]
        n = min(count, len(data.rows), self.measures.n)
        rows = data.chosen(n)
        order = np.random.default_rng(data.seed).permutation(count)  # sorted names are often sorted by finding
        images, ids = images[torch.from_numpy(order)], [ids[place] for place in order]
        made = {name: sets.of_images(name, images) for name in sets.extractors}
        metrics = self.distances(rows, made, ids)
        metrics |= self.looks(rows, images[:n], ids[:n]) | self.measures.own(images[:n], data.prepared.pixels(rows))
        metrics |= diversity.diversity(images[:n], data.prepared.pixels(rows), seed=data.seed)
        if self.training is not None:
            metrics |= self.copies(images, made[sets.first], folder)
        else:
            unseen = sets.of_rows(sets.first, data.rows, "real")
            extremes(folder, images, memorisation.nearest_cosine(made[sets.first], unseen))
        prompts = pictures.prompts
        if prompts is not None:
            prompts = [prompts[place] for place in order]
        if prompts is not None and self.judge is not None:
            metrics |= self.judged(images, prompts, ids)
        captions = (prompts or ids)[:SHOWN]
        save_grid(folder / "grid.png", images[:SHOWN], 4, captions, {"images": pictures.fingerprint})
        return metrics | derived(metrics)

    def check_reference(self) -> None:
        """Raises UserError where the real images are training images, which a generator is nearer to than to others."""
        if self.training is None:
            return
        trained, data = self.training, self.data
        seen = {image.tobytes() for image in trained.prepared.images[trained.rows]}
        same = sum(image.tobytes() in seen for image in data.prepared.images[data.rows])
        if same > SAME * len(data.rows):
            raise UserError(
                f"{same} of {len(data.rows)} images of real= are among those of trained_on=; a generator is compared "
                "with images that it was not trained on."
            )

    def distances(self, rows: np.ndarray, made: Mapping[str, Tensor], ids: Sequence[str]) -> dict[str, Metric]:
        """By each extractor; KID over all images of both sides."""
        data, sets, n = self.data, self.sets, len(rows)
        known = Distances(data, sets, self.measures.floor_repeats, self.measures.neighbours)
        metrics: dict[str, Metric] = {}
        facts = {"compared": "images that were given", "with": f"real images of the {data.word} split"}
        real_people = data.prepared.patients(rows), data.prepared.patients(data.rows)
        for name, generated in made.items():
            stated = {"compared": f"all {len(generated):,} images", "with": f"all {len(data.rows):,} real images"}
            everything = sets.of_rows(name, data.rows, "real")
            metrics |= floors.distances_from(
                sets.of_rows(name, rows, "real"),
                generated[:n],
                known.floors(name, n),
                sets.settings(name) | facts,
                patients=(real_people[0], list(ids[:n])),
                many=floors.Many(everything, generated, (real_people[1], list(ids)), dict(stated)),
                neighbours=self.measures.neighbours,
                seed=data.seed,
                over=OVER,
            )
        return metrics

    def looks(self, rows: np.ndarray, images: Tensor, ids: Sequence[str]) -> dict[str, Metric]:
        """Contrast, sharpness and entropy beside those of the real images."""
        data, pool = self.data, self.data.pool(len(rows))
        return image_statistics.statistics_metrics(
            image_statistics.values_of(images.split(data.batch_size)),
            image_statistics.values_of(data.batches(rows)),
            image_statistics.values_of(data.batches(pool)),
            data.prepared.patients(pool),
            (list(ids), data.prepared.patients(rows)),
            repeats=self.measures.floor_repeats,
            seed=data.seed,
            over=(IMAGES, OVER),
        )

    def copies(self, images: Tensor, made: Tensor, folder: Path) -> dict[str, Metric]:
        """Is an image a copy of a training image, in pixels and in features?"""
        assert self.training is not None
        data, sets, trained = self.data, self.sets, self.training
        source, train = trained.prepared, trained.rows
        held_out = data.prepared.pixels(data.rows)
        if source.size != data.prepared.size:
            raise UserError(
                f"trained_on={source.folder} is of {source.size} pixels and the real images are of "
                f"{data.prepared.size}; prepare both at one size."
            )

        def training() -> Iterator[Tensor]:
            return (source.pixels(part) for part in np.array_split(train, -(-len(train) // memorisation.BATCH)))

        people = source.patients(train), data.prepared.patients(data.rows)
        if set(people[0]) & set(people[1]):  # other collections number their patients as they like
            people = [f"training {name}" for name in people[0]], [f"real {name}" for name in people[1]]
        found = memorisation.search(images, held_out, training(), people)
        metrics = memorisation.near_copy_metrics(found, memorisation.measured(images), data.seed)
        nearest_picture(folder / "nearest.png", images, source, train, found)
        unseen = sets.of_rows(sets.first, data.rows, "real")
        own = FeatureSets(sets.extractors, source, sets.cache, sets.device, sets.size)
        seen = own.of_rows(sets.first, train, "training")
        close = memorisation.search_features(made, unseen, [seen], people)
        extremes(folder, images, memorisation.nearest_cosine(made, unseen))
        return metrics | memorisation.feature_copy_metrics(close, sets.settings(sets.first), data.seed)

    def judged(self, images: Tensor, prompts: Sequence[str], ids: Sequence[str]) -> dict[str, Metric]:
        """AUROC by finding with what the prompts say as truth, and the same on the real images of the split."""
        judge, data = self.judge, self.data
        assert judge is not None
        facts = self.truth()
        metrics = faithfulness(self.seen(images, prompts, ids), facts, seed=data.seed, over=IMAGES)
        real = facts | {"truth": "what the text says", "images": f"real images of the {data.word} split"}
        return metrics | faithfulness(judge.judged(data, data.rows), real, "_real", data.seed)

    def truth(self) -> dict[str, Any]:
        """What AUROC is measured by, for settings."""
        assert self.judge is not None
        return {"classifier": self.judge.sha256, "truth": "what the prompt says", "images": "that were given"}

    def seen(self, images: Tensor, prompts: Sequence[str], ids: Sequence[str]) -> Judged:
        """Images beside what the judge sees in them and what their prompts say."""
        judge = self.judge
        assert judge is not None
        return Judged(
            judge.classes,
            judge.probabilities(images.split(self.data.batch_size)),
            targets_of(prompts, judge.classes),
            judge.prevalence,
            list(prompts),
            list(ids),
            np.full(len(images), "given"),
        )


def targets_of(prompts: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """What prompts say of some classes, float32 [N,C]: 1 shown, 0 not named or denied, NaN unsure.

    >>> targets_of(["Left effusion."], ["pleural effusion", "edema"]).tolist()
    [[1.0, 0.0]]
    """
    said = [of_findings(read_findings(prompt)) for prompt in prompts]
    return np.array([[each.get(name, NOT_SHOWN) for name in classes] for each in said], dtype=np.float32)


def difference(scoring: Scoring, first: Pictures, second: Pictures) -> dict[str, Metric]:
    """KID of two generators against the same real images, by each extractor, and AUROC by finding: first less second.

    Images of one name are a pair, or of one place where no name is in both; those without a counterpart are left out.
    AUROC is of the pairs of one prompt, where there is a judge.
    """
    data, sets = scoring.data, scoring.sets
    places = paired_places(first, second)
    one, two = (to_pixels(np.asarray(each.images)[rows]) for each, rows in zip((first, second), places, strict=True))
    ids = [str(place) for place in range(len(one))]
    metrics: dict[str, Metric] = {}
    for name in sets.extractors:
        real = sets.of_rows(name, data.rows, "real")
        first_made, second_made = (sets.of_images(name, each) for each in (one, two))
        stated = sets.settings(name) | {"pairs": len(ids), "by": "name" if by_name(first, second) else "place"}
        people = data.prepared.patients(data.rows)
        apart = paired_kernel_distance(real, first_made, second_made, people, ids, stated, data.seed)
        metrics |= said_over({f"kid_{name}_difference": apart}, f"{PATIENTS} of the real images, and {PAIRS}")
    if scoring.judge is not None and first.prompts is not None and second.prompts is not None:
        asked, also = (
            [prompts[place] for place in rows]
            for prompts, rows in zip((first.prompts, second.prompts), places, strict=True)
        )
        alike = [place for place, (text, other) in enumerate(zip(asked, also, strict=True)) if text == other]
        if alike:
            texts, names = [asked[place] for place in alike], [ids[place] for place in alike]
            seen, other_seen = (scoring.seen(each[torch.tensor(alike)], texts, names) for each in (one, two))
            metrics |= auroc_differences(seen, other_seen, scoring.truth() | {"pairs": len(alike)}, data.seed, PAIRS)
    return metrics


def by_name(first: Pictures, second: Pictures) -> bool:
    """Whether any name is in both sets."""
    return bool({each.name for each in first.listed} & {each.name for each in second.listed})


def paired_places(first: Pictures, second: Pictures) -> tuple[list[int], list[int]]:
    """Places of the images of two sets that belong together."""
    if by_name(first, second):
        places = {each.name: place for place, each in enumerate(second.listed)}
        shared = [(place, places[each.name]) for place, each in enumerate(first.listed) if each.name in places]
        return [one for one, _ in shared], [two for _, two in shared]
    n = min(len(first.listed), len(second.listed))
    return list(range(n)), list(range(n))


def bench_row(content: Mapping[str, Any], extractors: Sequence[str], name: str, captions: str) -> dict[str, Any]:
    """A row as CheXGenBench's tables have them: FID, KID, precision, recall, density and coverage.

    Those by Inception bear no name there and those by RAD-DINO bear (RadDino), and so do the shares of images; by
    another extractor every key bears its name, since such figures are no figures of that table.

    Args:
        content: a metrics.json.
        extractors: that were chosen, the first for the shares of images.
    """
    row: dict[str, Any] = {}
    for extractor in extractors:
        for kind in ("fid", "kid"):
            if f"{kind}_{extractor}" in content:
                row[BENCH[kind] + BENCH_EXTRACTORS.get(extractor, f" ({extractor})")] = value(
                    content, f"{kind}_{extractor}"
                )
    chosen = "rad_dino" if "rad_dino" in extractors else extractors[0]
    for kind in ("precision", "recall", "density", "coverage"):
        if f"{kind}_{chosen}" in content:
            row[BENCH[kind] + ("" if chosen == "rad_dino" else f" ({chosen})")] = value(content, f"{kind}_{chosen}")
    return row | {"Extra Info": name, "Caption Type": captions}


def value(content: Mapping[str, Any], name: str) -> float:
    """Rounded as they round."""
    return round(float(content[name]["value"]), 3)
