"""Does a diffusion model give back its training images: the searches for copies, and the pictures that show them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.feature_sets import FeatureSets
from cxr_ldm.evaluation.model import Model
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics.copies import extraction, memorisation
from cxr_ldm.metrics.results import Metric

SHOWN = 8  # images of a picture of extremes


def memory(
    model: Model,
    data: Collection,
    sets: FeatureSets,
    rows: np.ndarray,
    images: Tensor,
    made: Tensor,
    prompts: int,
    samples: int,
    folder: Path,
) -> dict[str, Metric]:
    """Is a generated image a copy of a training image: in pixels, in features, and when training prompts are asked?

    Args:
        rows: of the test images whose texts were asked for.
        images: generated from these texts, `[N,1,H,W]`.
        made: their features by the first extractor, float64 [N, D].
        prompts, samples: texts of training images that are asked for, 0 for none, and seeds for each.
    """
    prepared = data.prepared
    train, measured = prepared.rows("train"), data.rows
    others = data.unseen()  # all of it, for more held-out images see more
    held_out, people = prepared.pixels(others), (prepared.patients(train), prepared.patients(others))

    def training() -> Iterator[Tensor]:
        return (prepared.pixels(part) for part in np.array_split(train, -(-len(train) // memorisation.BATCH)))

    asked = prepared.patients(rows)
    found = memorisation.search(images, held_out, training(), people, asked)
    metrics = memorisation.near_copy_metrics(found, memorisation.measured(images), data.seed)
    unseen = sets.of_rows(sets.first, others, "held-out")
    found = memorisation.search_features(made, unseen, [sets.of_rows(sets.first, train, "training")], people, asked)
    metrics |= memorisation.feature_copy_metrics(found, sets.settings(sets.first), data.seed)
    nearest_picture(folder / "nearest.png", images, prepared, train, found)
    extremes(folder, images, memorisation.nearest_cosine(made, unseen[-len(measured) :]))
    if not prompts:
        return metrics
    chosen = one_of_each(prepared, train, data.seed)[:prompts]
    given = model.people(data, chosen)

    def ask(prompts: list[str], seeds: list[int]) -> Tensor:
        people = given and [each for each in given for _ in range(samples)]
        return model.draw(prompts, seeds, people)

    attempted = extraction.attempt(
        ask, prepared.texts(chosen), samples, held_out, training(), data.seed + 100_000, people
    )
    return metrics | extraction.extraction_metrics(
        attempted, {"prompts": "texts of training images"}, "training prompts, one of a patient"
    )


def one_of_each(prepared: Prepared, rows: np.ndarray, seed: int) -> np.ndarray:
    """Rows in random order, one of each patient, so that a share of them is one of independent trials."""
    order = np.random.default_rng(seed).permutation(rows)
    _, first = np.unique(np.asarray(prepared.patients(order)), return_index=True)
    return order[np.sort(first)]


def nearest_picture(
    path: Path, images: Tensor, prepared: Prepared, train: np.ndarray, found: memorisation.NearCopies
) -> None:
    """The closest pairs: generated images in one row, and below each its nearest training image."""
    pairs = found.closest(SHOWN)
    real = prepared.pixels(train[[index for _, index, _ in pairs]])
    captions = [f"generated, cosine {near:.3f}" for *_, near in pairs] + ["nearest training image"] * len(pairs)
    save_grid(path, torch.cat([images[[place for place, *_ in pairs]], real]), len(pairs), captions)


def extremes(folder: Path, images: Tensor, likeness: Tensor) -> None:
    """best.png and worst.png: the images most and least like any real image of the split, by their features."""
    order = likeness.argsort(descending=True)
    for name, places in (("best", order[:SHOWN]), ("worst", order.flip(0)[:SHOWN])):
        captions = [f"cosine {likeness[place]:.3f}" for place in places]
        save_grid(folder / f"{name}.png", images[places], 4, captions, {"synthetic": True})
