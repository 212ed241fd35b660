"""Is a generated image a copy of a training image, and are the generated images copies of each other?

Nearness is Pearson's correlation of whole pictures, so brightness and contrast do not count. The control is the same
search for real held-out images: how near two different pictures come without any copying.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.reconstruction import mean_over_patients, ssim
from cxr_ldm.metrics.results import Metric

# At 96×96 the nearest pictures of different patients reach 0.949 among 856 of NIH and 0.965 among 2,928 of Kermany, and
# two pictures of one patient 0.964 (607 NIH pairs), while a picture and its blurred copy (1.5 pixels) have 0.98.
COPY_CORRELATION = 0.97
# Above this two files of a collection hold the same picture, which says nothing about different ones.
DUPLICATE_CORRELATION = 0.999
PAIRS = 500
BATCH = 1024  # training images compared at once
NO_PAIR_INTERVAL = "the pairs share images, so they are not independent"


@dataclass(frozen=True)
class NearCopies:
    """Nearest training image of each generated and of each held-out real image.

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


def search(generated: Tensor, held_out: Tensor, training: Iterable[Tensor]) -> NearCopies:
    """Search the whole training set for copies; a copy is nearer than COPY_CORRELATION and than any control.

    Args:
        generated: pixels [N, 1, H, W] in [-1, 1].
        held_out: real images of other patients than the training's, [M, 1, H, W].
        training: batches of all training images, [B, 1, H, W]; one batch is held at a time.

    Raises:
        UserError: a set is empty, or the sizes differ.
    """
    count = len(generated)
    queries = _standardised(torch.cat([generated, held_out]) if len(held_out) else generated, "generated")
    if count == 0 or len(held_out) == 0:
        raise UserError(f"memorisation: {count} generated and {len(held_out)} held-out images; both are needed.")
    nearest, index = torch.full((len(queries),), -2.0), torch.full((len(queries),), -1)
    start = 0
    for batch in training:
        references = _standardised(batch, "training")
        if references.shape[1] != queries.shape[1]:
            raise UserError(f"memorisation: training images of {tuple(batch.shape[2:])} pixels are of another size.")
        value, place = (queries @ references.T).max(1)
        nearer = value > nearest
        nearest, index = torch.where(nearer, value, nearest), torch.where(nearer, place + start, index)
        start += len(references)
    if start == 0:
        raise UserError("memorisation: there is no training image to compare with.")
    control = nearest[count:]
    different = control[control < DUPLICATE_CORRELATION]
    limit = max([COPY_CORRELATION, *different.max().reshape(-1).tolist()] if len(different) else [COPY_CORRELATION])
    return NearCopies(nearest[:count], index[:count], control, limit)


def _standardised(pixels: Tensor, name: str) -> Tensor:
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


def pairwise_ssim(pixels: Tensor, pairs: int = PAIRS, seed: int = 0) -> Tensor:
    """SSIM of `pairs` random pairs of different images, float64 [pairs]; high where all images look alike.

    Raises:
        UserError: there are fewer than 2 images.
    """
    if len(pixels) < 2:
        raise UserError(f"diversity: {len(pixels)} images; at least 2 are needed.")
    random = np.random.default_rng(seed)
    first = random.integers(len(pixels), size=pairs)
    second = (first + random.integers(1, len(pixels), size=pairs)) % len(pixels)
    one, two = (torch.from_numpy(each) for each in (first, second))
    return torch.cat([ssim(pixels[a], pixels[b]) for a, b in zip(one.split(64), two.split(64), strict=True)])


def diversity(generated: Tensor, real: Tensor, seed: int = 0) -> dict[str, Metric]:
    """Mean pairwise SSIM within the generated images and, as its floor, within real ones of the same count."""
    count = min(len(generated), len(real))
    settings = {"pairs": PAIRS, "images": count, "data_range": 2.0, "seed": seed}
    sets = {"pairwise_ssim": generated[:count], "pairwise_ssim_floor": real[:count]}
    return {
        name: Metric(
            float(pairwise_ssim(images, PAIRS, seed).mean()), count, False, settings=settings, reason=NO_PAIR_INTERVAL
        )
        for name, images in sets.items()
    }


def diversity_within(
    generated: Tensor, prompts: Sequence[Hashable], real: Tensor, truths: Sequence[Hashable], seed: int = 0
) -> dict[str, Metric]:
    """Mean SSIM of two images of one prompt and, as its floor, of two real images that say the same.

    Every prompt gives as many pairs as every other, and as many generated as real ones.

    Args:
        generated: images `[N,1,H,W]`, and the prompt of each.
        real: images `[M,1,H,W]`, and what each says, named as the prompts are.

    Returns:
        nothing where no prompt has two images of both kinds.
    """
    random = np.random.default_rng(seed)
    places = [_places(groups) for groups in (prompts, truths)]
    shared = [name for name, rows in places[0].items() if len(rows) > 1 and len(places[1].get(name, [])) > 1]
    each = max(1, PAIRS // max(1, len(shared)))
    similar: dict[str, list[Tensor]] = {"": [], "_floor": []}
    for name in shared:
        pairs = [list(combinations(rows[name], 2)) for rows in places]
        count = min(each, *map(len, pairs))
        for end, images, candidates in zip(similar, (generated, real), pairs, strict=True):
            first, second = np.array(candidates)[random.permutation(len(candidates))[:count]].T
            similar[end].append(ssim(images[first], images[second]))
    pairs_made = sum(map(len, similar[""]))
    settings = {"pairs": pairs_made, "prompts": len(shared), "data_range": 2.0, "seed": seed}
    return {
        f"pairwise_ssim_within_prompt{end}": Metric(
            float(torch.cat(values).mean()), pairs_made, False, settings=settings, reason=NO_PAIR_INTERVAL
        )
        for end, values in similar.items()
        if values
    }


def _places(groups: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    """Where each value stands."""
    places: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        places.setdefault(group, []).append(row)
    return places
