"""Is a generated image a copy of a training image?

Nearness is Pearson's correlation of whole pictures, so brightness and contrast do not count; or the cosine of features.
The control is the same search for real held-out images: how near two different pictures come without any copying.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import mean_over_patients, wilson_interval

# At 96×96 the nearest pictures of different patients reach 0.949 among 856 of NIH and 0.965 among 2,928 of Kermany, and
# two pictures of one patient 0.964 (607 NIH pairs), while a picture and its blurred copy (1.5 pixels) have 0.98.
COPY_CORRELATION = 0.97
# Above this two files of a collection hold the same picture, which says nothing about different ones.
DUPLICATE_CORRELATION = 0.999
BATCH = 1024  # training images compared at once
CLOSE = 0.01  # share of held-out images that count as close to the training set
FEWEST_HELD_OUT = 100  # of whose distances a percentile can be taken


@dataclass(frozen=True)
class NearCopies:
    """Nearest training image of each generated and of each held-out real image, by correlation or by cosine.

    Attributes:
        correlation: float32 [N], of each generated image with its nearest training image.
        index: int64 [N], which training image that is.
        control: float32 [M], of each held-out image with its nearest training image.
        limit: correlation above which a generated image counts as a copy.
    """

    correlation: Tensor
    index: Tensor
    control: Tensor
    limit: float

    @property
    def copies(self) -> Tensor:
        """Indices of the generated images that count as copies, nearest first."""
        order = self.correlation.argsort(descending=True)
        return order[self.correlation[order] > self.limit]

    def closest(self, count: int) -> list[tuple[int, int, float]]:
        """The closest pairs, nearest first: generated image, its training image, and how near they are."""
        order = self.correlation.argsort(descending=True)[:count]
        return [(int(i), int(self.index[i]), float(self.correlation[i])) for i in order]


def search(generated: Tensor, held_out: Tensor, training: Iterable[Tensor]) -> NearCopies:
    """Search the whole training set for copies; a copy is nearer than COPY_CORRELATION and than any control.

    Args:
        generated: pixels [N, 1, H, W] in [-1, 1].
        held_out: real images of other patients than the training's, [M, 1, H, W].
        training: batches of all training images, [B, 1, H, W]; one batch is held at a time.

    Raises:
        UserError: a set is empty, or the sizes differ.
    """
    found = _search(generated, held_out, training, standardised)
    different = found.control[found.control < DUPLICATE_CORRELATION]
    return replace(found, limit=max([COPY_CORRELATION, *different.tolist()]))


def search_features(generated: Tensor, held_out: Tensor, training: Iterable[Tensor]) -> NearCopies:
    """The same search over feature vectors, by the cosine about the mean of the held-out ones.

    The mean is what all radiographs have in common; without it every cosine is near 1. A copy is nearer than any
    control that is no duplicate.

    Args:
        generated, held_out: features [N, D] and [M, D].
        training: batches of features [B, D].
    """
    middle = held_out.double().mean(0) if len(held_out) else 0.0
    found = _search(generated, held_out, training, lambda features, name: _directions(features, middle, name))
    different = found.control[found.control < DUPLICATE_CORRELATION]
    return replace(found, limit=float(different.max()) if len(different) else DUPLICATE_CORRELATION)


def nearest_cosine(features: Tensor, others: Tensor) -> Tensor:
    """Cosine of each of `features` [N, D] with the nearest of `others` [M, D], about the mean of these, [N].

    >>> nearest_cosine(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item()
    1.0
    """
    middle = others.double().mean(0)
    near = _directions(features, middle, "generated") @ _directions(others, middle, "real").T
    return near.amax(1)


def _search(
    generated: Tensor, held_out: Tensor, training: Iterable[Tensor], unit: Callable[[Tensor, str], Tensor]
) -> NearCopies:
    """The search, with a limit still to be set; `unit` makes rows of length 1, whose products are compared."""
    count = len(generated)
    if count == 0 or len(held_out) == 0:
        raise UserError(f"memorisation: {count} generated and {len(held_out)} held-out images; both are needed.")
    queries = unit(torch.cat([generated, held_out]), "generated")
    nearest, index = torch.full((len(queries),), -2.0), torch.full((len(queries),), -1)
    start = 0
    for batch in training:
        references = unit(batch, "training")
        if references.shape[1] != queries.shape[1]:
            raise UserError(f"memorisation: training images of {tuple(batch.shape[1:])} values are of another size.")
        value, place = (queries @ references.T).max(1)
        nearer = value > nearest
        nearest, index = torch.where(nearer, value, nearest), torch.where(nearer, place + start, index)
        start += len(references)
    if start == 0:
        raise UserError("memorisation: there is no training image to compare with.")
    return NearCopies(nearest[:count], index[:count], nearest[count:], float("nan"))


def _directions(features: Tensor, middle: Tensor | float, name: str) -> Tensor:
    """Features less `middle` at length 1, float32 [N, D]; the middle itself becomes 0 and resembles nothing."""
    if features.ndim != 2:
        raise UserError(f"memorisation: {name} features of shape {tuple(features.shape)} are not [N, D].")
    apart = features.double() - middle
    return (apart / apart.norm(dim=1, keepdim=True).clamp_min(1e-9)).float()


def standardised(pixels: Tensor, name: str) -> Tensor:
    """Flat pictures with mean 0 and length 1, float32 [N, H·W]; a constant picture becomes 0 and resembles nothing."""
    if pixels.ndim != 4:
        raise UserError(f"memorisation: {name} images of shape {tuple(pixels.shape)} are not [N, 1, H, W].")
    flat = pixels.flatten(1).double()
    centred = flat - flat.mean(1, keepdim=True)
    return (centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-9)).float()


def near_copy_metrics(found: NearCopies, seed: int = 0) -> dict[str, Metric]:
    """Entries for metrics.json: the number of near copies, and the mean nearest correlation beside its control."""
    measure = {"measure": "Pearson correlation of pixels with the nearest training image"}
    settings = {
        **measure,
        "limit": found.limit,
        "copy_correlation": COPY_CORRELATION,
        "highest": float(found.correlation.max()),
        "highest_held_out": float(found.control.max()),
        "held_out_duplicates": int((found.control >= DUPLICATE_CORRELATION).sum()),
        "held_out": len(found.control),
    }
    count = Metric(
        len(found.copies), len(found.correlation), False, settings=settings, reason="a count over a full search"
    )
    means = {"": found.correlation, "_floor": found.control}
    return {"near_copies": count} | {
        f"nearest_training_correlation{end}": mean_over_patients(
            values,
            [str(i) for i in range(len(values))],
            {**measure, "images": "held-out real" if end else "generated", "interval": "bootstrap over images"},
            higher=False,
            seed=seed,
        )
        for end, values in means.items()
    }


def closeness_metrics(found: NearCopies, space: str, settings: dict[str, object]) -> dict[str, Metric]:
    """`closer_than_held_out_SPACE`: share of generated images that are closer to a training image than held-out ones.

    Closer means: than the 1st percentile of the distances of held-out images to their nearest training images. A
    generator that copies nothing has about 0.01.

    Args:
        space: "pixels", or the name of the extractor.
        settings: of the space.
    """
    bound = float(found.control.double().quantile(1 - CLOSE))
    hits, n = int((found.correlation.double() > bound).sum()), len(found.correlation)
    stated = {**settings, "bound": bound, "expected": CLOSE, "held_out": len(found.control)}
    name = f"closer_than_held_out_{space}"
    if len(found.control) < FEWEST_HELD_OUT:
        reason = f"{len(found.control)} held-out images do not have a 1st percentile; {FEWEST_HELD_OUT} are needed"
        return {name: Metric(hits / n, n, False, settings=stated, reason=reason)}
    stated["interval"] = "Wilson 95 %, the bound held fixed"
    return {name: Metric(hits / n, n, False, wilson_interval(hits, n), stated)}


def feature_copy_metrics(found: NearCopies, settings: dict[str, object], seed: int = 0) -> dict[str, Metric]:
    """Entries of the search over features: how near the nearest training image is, its floor, and the share above.

    Args:
        settings: of the extractor, with its name under "extractor".
    """
    name = str(settings["extractor"])
    stated = {**settings, "measure": "cosine about the mean of held-out features, nearest training image"}
    stated["interval"] = "bootstrap over images"
    means = {"": found.correlation, "_floor": found.control}
    return {
        f"nearest_training_cosine_{name}{end}": mean_over_patients(
            values, [str(i) for i in range(len(values))], stated, higher=False, seed=seed
        )
        for end, values in means.items()
    } | closeness_metrics(found, name, stated)
