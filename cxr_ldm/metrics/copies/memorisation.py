"""Is a generated image a copy of a training image?

Pictures are compared as Pearson's correlation, so brightness and contrast do not count, at a resolution where blur
does not count either, and about the mean of all pictures, which is what radiographs have in common; features by their
cosine about the mean. A copy is what no other patient comes near to: the limits are fixed beforehand, and not the
largest of some other images, which half of all innocent sets exceed. Whether the samples as a whole are nearer to the
training than they should be is the business of `excess`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.copies.excess import RATIO, Neighbours, excess_metric, find, nearer_metric
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import IMAGES, PATIENTS, mean_over_patients

# Radiographs of 96 pixels, compared at 32: the nearest pictures of different patients stay below 0.95 (10,191 images of
# NIH, Open-i and Kermany; above are one pair of Open-i and a pair of files with one picture), while 98 of 100 copies
# after a blur of 1.5 pixels have 0.97 and more, after that blur and noise of 5 % of the grey range 0.95 and more.
SIDE = 32  # pixels at which pictures are compared; smaller ones as they are
COPY_CORRELATION = 0.96
# EfficientNet-Lite0 on 856 of NIH at 96 pixels: 99.5 % of pictures of other patients stay below 0.72, 98 of 100 copies
# that are shifted by a pixel have 0.85 and more. Copies after a blur have 0.3 to 0.6, as any other picture: features
# do not see them, pixels do.
COPY_COSINE = 0.85
# Above this two files of a collection hold the same picture, which says nothing about different ones.
DUPLICATE_CORRELATION = 0.999
BATCH = 1024  # training images read at once
People = tuple[Sequence[str], Sequence[str]]


@dataclass(frozen=True)
class NearCopies:
    """Nearest training image of each generated image, by correlation or by cosine, and whether it is a copy.

    Attributes:
        correlation: float32 [N], of each generated image with its nearest training image.
        index: int64 [N], which training image that is.
        held_out: float32 [N], of each generated image with its nearest held-out image.
        control: float32 [M], of each held-out image with its nearest training image.
        limit: correlation above which a generated image can be a copy.
        neighbours: the nearest patients on both sides, for `excess`.
        middle: float64 [D], the mean row that is subtracted.
        duplicates: held-out images that are the same picture as a training image; they are not compared with.
        patients: of the texts of the generated images, and of the held-out ones; None where they are not known.
    """

    correlation: Tensor
    index: Tensor
    held_out: Tensor
    control: Tensor
    limit: float
    neighbours: Neighbours
    middle: Tensor
    duplicates: int
    patients: tuple[Sequence[str] | None, Sequence[str] | None]

    @property
    def copied(self) -> Tensor:
        """Whether a generated image is a copy, bool [N]; see `is_copy`."""
        return is_copy(self.correlation, self.held_out, self.limit)

    @property
    def copies(self) -> Tensor:
        """Indices of the generated images that count as copies, nearest first."""
        order = self.correlation.argsort(descending=True)
        return order[self.copied[order]]

    def closest(self, count: int) -> list[tuple[int, int, float]]:
        """The closest pairs, nearest first: generated image, its training image, and how near they are."""
        order = self.correlation.argsort(descending=True)[:count]
        return [(int(i), int(self.index[i]), float(self.correlation[i])) for i in order]


def is_copy(likeness: Tensor, held_out: Tensor, limit: float) -> Tensor:
    """Likeness above the limit, at a distance below RATIO times that of the nearest held-out image.

    The second part is the margin: where a collection's pictures are all alike, being alike is no sign of a copy.

    >>> is_copy(torch.tensor([0.98, 0.98, 0.94]), torch.tensor([0.95, 0.97, 0.5]), 0.95).tolist()
    [True, False, False]
    """
    return (likeness > limit) & (1 - likeness < RATIO * (1 - held_out))


def search(
    generated: Tensor,
    held_out: Tensor,
    training: Iterable[Tensor],
    people: People | None = None,
    asked: Sequence[str] | None = None,
) -> NearCopies:
    """Search the whole training set for copies, in pictures of SIDE pixels.

    Args:
        generated: pixels [N, 1, H, W] in [-1, 1].
        held_out: real images of other patients than the training's, [M, 1, H, W].
        training: batches of all training images, [B, 1, H, W]; all are held at SIDE pixels.
        people: patient of each training and of each held-out image; None: each image is of another patient.
        asked: patient whose text each generated image was made from, see `excess.find`; None: of nobody here.

    Raises:
        UserError: a set is empty, the sizes differ, or a patient is on both sides.
    """
    return _search(generated, held_out, training, standardised, COPY_CORRELATION, people, asked)


def search_features(
    generated: Tensor,
    held_out: Tensor,
    training: Iterable[Tensor],
    people: People | None = None,
    asked: Sequence[str] | None = None,
) -> NearCopies:
    """The same search over feature vectors, by the cosine about the mean.

    Args:
        generated, held_out: features [N, D] and [M, D].
        training: batches of features [B, D].
        people, asked: as of `search`.
    """
    return _search(generated, held_out, training, _plain, COPY_COSINE, people, asked)


def nearest_cosine(features: Tensor, others: Tensor) -> Tensor:
    """Cosine of each of `features` [N, D] with the nearest of `others` [M, D], about the mean of these, [N].

    >>> nearest_cosine(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item()
    1.0
    """
    middle = others.double().mean(0)
    near = _directions(_plain(features, "generated"), middle) @ _directions(_plain(others, "real"), middle).T
    return near.amax(1)


def _search(
    generated: Tensor,
    held_out: Tensor,
    training: Iterable[Tensor],
    rows: Callable[[Tensor, str], Tensor],
    limit: float,
    people: People | None,
    asked: Sequence[str] | None,
) -> NearCopies:
    """The search; `rows` makes rows [N, D] of a set, which are compared about the mean of both sides."""
    if len(generated) == 0 or len(held_out) == 0:
        raise UserError(
            f"memorisation: {len(generated)} generated and {len(held_out)} held-out images; both are needed."
        )
    kept, others = [rows(batch, "training") for batch in training], rows(held_out, "held-out")
    if not kept:
        raise UserError("memorisation: there is no training image to compare with.")
    seen, made = torch.cat(kept), rows(generated, "generated")
    if not seen.shape[1] == others.shape[1] == made.shape[1]:
        raise UserError(f"memorisation: training images of {seen.shape[1]} values are of another size.")
    # of both sides alike, so that neither is nearer to it
    middle = (seen.double().sum(0) + others.double().sum(0)) / (len(seen) + len(others))
    seen, others, made = (_directions(each, middle) for each in (seen, others, made))
    control = torch.cat([(part @ seen.T).amax(1) for part in others.split(BATCH)])
    single = control < DUPLICATE_CORRELATION
    if not single.any():
        raise UserError("memorisation: every held-out image is a duplicate of a training image.")
    patients = asked, people and people[1]
    if people is not None:
        people = people[0], [name for name, alone in zip(people[1], single.tolist(), strict=True) if alone]
    near = find(made, seen, others[single], people, asked)
    duplicates = int((~single).sum())
    return NearCopies(near.training, near.index, near.held_out, control, limit, near, middle, duplicates, patients)


def standardised(pixels: Tensor, name: str) -> Tensor:
    """Flat pictures of SIDE pixels (means of areas), mean 0, length 1, float32 [N, D]; a constant one becomes 0."""
    if pixels.ndim != 4:
        raise UserError(f"memorisation: {name} images of shape {tuple(pixels.shape)} are not [N, 1, H, W].")
    sides = [min(SIDE, side) for side in pixels.shape[-2:]]
    flat = F.interpolate(pixels.float(), size=sides, mode="area").flatten(1).double()
    return _directions(flat, flat.mean(1, keepdim=True))


def _plain(features: Tensor, name: str) -> Tensor:
    if features.ndim != 2:
        raise UserError(f"memorisation: {name} features of shape {tuple(features.shape)} are not [N, D].")
    return features


def _directions(features: Tensor, middle: Tensor) -> Tensor:
    """Features less `middle` at length 1, float32 [N, D]; the middle itself becomes 0 and resembles nothing."""
    apart = features.double() - middle
    return (apart / apart.norm(dim=1, keepdim=True).clamp_min(1e-9)).float()


def compared(pixels: Tensor, found: NearCopies) -> Tensor:
    """Pictures as `search` compared them, float32 [N, D]: their products are the correlations."""
    return _directions(standardised(pixels, "generated"), found.middle)


def measured(pixels: Tensor) -> dict[str, object]:
    """What decides the nearness of pictures of this size, for metrics.json."""
    sides = " × ".join(str(min(SIDE, side)) for side in pixels.shape[-2:])
    return {"measure": f"Pearson correlation at {sides} pixels about the mean picture"}


def near_copy_metrics(found: NearCopies, facts: dict[str, object], seed: int = 0) -> dict[str, Metric]:
    """Entries for metrics.json: the number of near copies, the mean nearest correlation beside its control, the excess.

    Args:
        facts: of the comparison, see `measured`.
    """
    stated = {
        **facts,
        "limit": found.limit,
        "ratio": RATIO,
        "highest": float(found.correlation.max()),
        "highest_held_out": float(found.control.max()),
        "held_out_duplicates": found.duplicates,
        "held_out": len(found.control),
    }
    count = Metric(
        len(found.copies), len(found.correlation), False, settings=stated, reason="a count over a full search"
    )
    return (
        {"near_copies": count}
        | _means(found, "nearest_training_correlation", facts, seed)
        | excess_metrics(found, "pixels", facts, seed)
    )


def feature_copy_metrics(found: NearCopies, facts: dict[str, object], seed: int = 0) -> dict[str, Metric]:
    """Entries of the search over features: copies, how near the nearest training image is, its floor, and the excess.

    Args:
        facts: of the extractor, with its name under "extractor".
    """
    name = str(facts["extractor"])
    stated = {**facts, "measure": "cosine of features about their mean"}
    limits = {"limit": found.limit, "ratio": RATIO, "held_out_duplicates": found.duplicates}
    count = Metric(
        len(found.copies), len(found.correlation), False, settings=stated | limits, reason="a count over a full search"
    )
    return (
        {f"feature_copies_{name}": count}
        | _means(found, f"nearest_training_cosine_{name}", stated, seed)
        | excess_metrics(found, name, stated, seed)
    )


def excess_metrics(found: NearCopies, space: str, stated: dict[str, object], seed: int = 0) -> dict[str, Metric]:
    """`nearer_to_training_SPACE` and `copies_excess_SPACE`; `space` is "pixels" or the name of the extractor."""
    return {
        f"nearer_to_training_{space}": nearer_metric(found.neighbours, stated, seed),
        f"copies_excess_{space}": excess_metric(found.neighbours, stated, seed),
    }


def _means(found: NearCopies, name: str, facts: dict[str, object], seed: int) -> dict[str, Metric]:
    sides = (("", found.correlation, "generated"), ("_floor", found.control, "held-out real"))
    metrics = {}
    for (end, values, images), patients in zip(sides, found.patients, strict=True):
        over = IMAGES if patients is None else PATIENTS
        alone = patients or [str(i) for i in range(len(values))]
        stated = {**facts, "images": images, "interval": f"bootstrap over {over}"}
        metrics[f"{name}{end}"] = mean_over_patients(values, alone, stated, higher=False, seed=seed, over=over)
    return metrics
