"""Are the generated images copies of each other? Similarity of pairs of all images, and of images of one prompt."""

from collections.abc import Callable, Hashable, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.images.reconstruction import ms_ssim, ms_ssim_weights, ssim
from cxr_ldm.metrics.results import Metric

PAIRS = 500
BATCH = 64
NO_PAIR_INTERVAL = "the pairs share images, so they are not independent"

Similarity = Callable[[Tensor, Tensor], Tensor]


def similarities(side: int) -> dict[str, Similarity]:
    """SSIM, and MS-SSIM where images of `side` pixels hold two of its scales.

    >>> list(similarities(32)), list(similarities(16))
    (['ssim', 'ms_ssim'], ['ssim'])
    """
    return {"ssim": ssim, "ms_ssim": ms_ssim} if len(ms_ssim_weights(side)) > 1 else {"ssim": ssim}


def pairwise(pixels: Tensor, similarity: Similarity, pairs: int = PAIRS, seed: int = 0) -> Tensor:
    """Similarity of `pairs` random pairs of different images, float64 [pairs]; high where all images look alike.

    Raises:
        UserError: there are fewer than 2 images.
    """
    if len(pixels) < 2:
        raise UserError(f"diversity: {len(pixels)} images; at least 2 are needed.")
    random = np.random.default_rng(seed)
    first = random.integers(len(pixels), size=pairs)
    second = (first + random.integers(1, len(pixels), size=pairs)) % len(pixels)
    return of_pairs(pixels, torch.from_numpy(np.stack([first, second], axis=1)), similarity)


def of_pairs(pixels: Tensor, pairs: Tensor, similarity: Similarity) -> Tensor:
    """Similarity of the images of each pair of indices [P, 2], float64 [P]."""
    return torch.cat([similarity(pixels[part[:, 0]], pixels[part[:, 1]]) for part in pairs.split(BATCH)])


def pairwise_ssim(pixels: Tensor, pairs: int = PAIRS, seed: int = 0) -> Tensor:
    """`pairwise` by SSIM."""
    return pairwise(pixels, ssim, pairs, seed)


def _settings(name: str, side: int, seed: int) -> dict[str, object]:
    settings: dict[str, object] = {"data_range": 2.0, "seed": seed}
    return settings | {"scales": len(ms_ssim_weights(side))} if name == "ms_ssim" else settings


def diversity(generated: Tensor, real: Tensor, seed: int = 0) -> dict[str, Metric]:
    """Mean similarity of pairs of generated images and, as its floor, of as many real ones."""
    count, side = min(len(generated), len(real)), min(real.shape[2:])
    sets = {"": generated[:count], "_floor": real[:count]}
    return {
        f"pairwise_{name}{end}": Metric(
            float(pairwise(images, similarity, PAIRS, seed).mean()),
            count,
            False,
            settings={"pairs": PAIRS, "images": count, **_settings(name, side, seed)},
            reason=NO_PAIR_INTERVAL,
        )
        for name, similarity in similarities(side).items()
        for end, images in sets.items()
    }


def diversity_within(
    generated: Tensor, prompts: Sequence[Hashable], real: Tensor, truths: Sequence[Hashable], seed: int = 0
) -> dict[str, Metric]:
    """Mean similarity of two images of one prompt and, as its floor, of two real images that say the same.

    Every prompt gives as many pairs as every other, and as many generated as real ones.

    Args:
        generated: images `[N,1,H,W]`, and the prompt of each.
        real: images `[M,1,H,W]`, and what each says, named as the prompts are.

    Returns:
        nothing where no prompt has two images of both kinds.
    """
    pairs, prompts_shared = _pairs_within(prompts, truths, np.random.default_rng(seed))
    if prompts_shared == 0:
        return {}
    side, count = min(real.shape[2:]), len(pairs[0])
    return {
        f"pairwise_{name}_within_prompt{end}": Metric(
            float(of_pairs(images, torch.from_numpy(chosen), similarity).mean()),
            count,
            False,
            settings={"pairs": count, "prompts": prompts_shared, **_settings(name, side, seed)},
            reason=NO_PAIR_INTERVAL,
        )
        for name, similarity in similarities(side).items()
        for end, images, chosen in zip(("", "_floor"), (generated, real), pairs, strict=True)
    }


def _pairs_within(
    prompts: Sequence[Hashable], truths: Sequence[Hashable], random: np.random.Generator
) -> tuple[list[np.ndarray], int]:
    """Pairs [P, 2] of generated and of real images of one prompt, as many of both, and of how many prompts."""
    places = [_places(groups) for groups in (prompts, truths)]
    shared = [name for name, rows in places[0].items() if len(rows) > 1 and len(places[1].get(name, [])) > 1]
    each = max(1, PAIRS // max(1, len(shared)))
    chosen: list[list[np.ndarray]] = [[], []]
    for name in shared:
        candidates = [np.array(list(combinations(rows[name], 2))) for rows in places]
        count = min(each, *map(len, candidates))
        for kept, pairs in zip(chosen, candidates, strict=True):
            kept.append(pairs[random.permutation(len(pairs))[:count]])
    return [np.concatenate(kept) if kept else np.empty((0, 2), int) for kept in chosen], len(shared)


def _places(groups: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    """Where each value stands."""
    places: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        places.setdefault(group, []).append(row)
    return places
