"""Can training images be got out of a model by asking for them? Several samples for each training prompt.

After Carlini et al. 2023 (Extracting Training Data from Diffusion Models): a memorised image comes out again and again,
so samples of its prompt are near each other (their clique), and near the training image (their nearest).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.copies.memorisation import RATIO, NearCopies, People, compared, is_copy, measured, search
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import wilson_interval

Generate = Callable[[list[str], list[int]], Tensor]


@dataclass(frozen=True)
class Extraction:
    """What came out.

    Attributes:
        images: all samples, [P · S, 1, H, W], those of a prompt in a row.
        found: their nearest training images.
        extracted: bool [P], whether a sample of the prompt is a copy of a training image.
        cliques: bool [P], whether more than half of its samples are copies of each other.
    """

    images: Tensor
    found: NearCopies
    extracted: Tensor
    cliques: Tensor


def attempt(
    generate: Generate,
    prompts: Sequence[str],
    samples: int,
    held_out: Tensor,
    training: Iterable[Tensor],
    seed: int = 0,
    people: People | None = None,
) -> Extraction:
    """Generate `samples` images for each training prompt, and search the training set for each of them.

    Args:
        generate: images [N, 1, H, W] in [-1, 1] from N prompts and N seeds.
        prompts: of training images.
        samples: seeds for each prompt, all different.
        held_out: real images of other patients, [M, 1, H, W]; a copy is much nearer than they are (see `is_copy`).
        training: batches of all training images.
        people: patient of each training and of each held-out image, as of `search`.

    Raises:
        UserError: there is no prompt, or fewer than 2 samples for each.
    """
    if len(prompts) == 0 or samples < 2:
        raise UserError(f"extraction: {len(prompts)} prompts with {samples} samples; at least 1 with 2 are needed.")
    asked = [prompt for prompt in prompts for _ in range(samples)]
    images = generate(asked, [seed + number for number in range(len(asked))])
    found = search(images, held_out, training, people)
    near = found.copied.view(len(prompts), samples)
    groups = compared(images, found).view(len(prompts), samples, -1)
    others = found.held_out.view(len(prompts), samples)
    # the same rule for two samples: much nearer to each other than either is to a held-out image
    nearest = torch.maximum(others[:, :, None], others[:, None, :])
    alike = is_copy(groups @ groups.transpose(1, 2), nearest, found.limit)
    cliques = torch.tensor([has_clique(each, samples // 2 + 1) for each in alike])
    return Extraction(images, found, near.any(1), cliques)


def has_clique(alike: Tensor, size: int) -> bool:
    """Whether `size` samples are all alike, from bool [S, S], of which each is like itself.

    Only those that are like as many can be among them, which leaves few groups to look at, and mostly none.

    >>> alike = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1]]).bool()
    >>> has_clique(alike, 2), has_clique(alike, 3)
    (True, False)
    """
    able = [i for i, like in enumerate(alike.clone().fill_diagonal_(True).sum(1).tolist()) if like >= size]
    return any(all(alike[i, j] for i, j in combinations(group, 2)) for group in combinations(able, size))


def extraction_metrics(attempted: Extraction, facts: dict[str, object], over: str) -> dict[str, Metric]:
    """`extracted_prompts` and `extraction_cliques`: shares of training prompts, with Wilson intervals `over` these.

    A clique without a copy is a model that makes one image of a prompt, not one that remembers.
    """
    n = len(attempted.extracted)
    stated = {
        **facts,
        "samples": len(attempted.images) // n,
        "limit": attempted.found.limit,
        "ratio": RATIO,
        **measured(attempted.images),
        "training_images": len(attempted.found.index[attempted.found.copies].unique()),
        "interval": "Wilson 95 %",
    }
    shares = {"extracted_prompts": attempted.extracted, "extraction_cliques": attempted.cliques}
    return {
        name: Metric(float(hits.double().mean()), n, False, wilson_interval(int(hits.sum()), n), stated, over=over)
        for name, hits in shares.items()
    }
