"""How fast the distances of two large sets of features are, beside torchmetrics and a plain scikit-learn version."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.benchmark.torchmetrics_peers import torchmetrics_frechet_distance, torchmetrics_kernel_distance
from cxr_ldm.benchmark.turns import in_turns, ratio, seconds
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.distances.coverage import coverage
from cxr_ldm.metrics.distances.frechet import frechet_distance
from cxr_ldm.metrics.distances.kernel import kernel_distance
from cxr_ldm.metrics.results import Metric, peak_bytes
from cxr_ldm.ranges import Count, Seed
from cxr_ldm.report.markdown import render_markdown

INTRO = """Two sets of random features, correlated as those of a network are; both sides get the same ones in float64.

- `seconds`, `memory_gb`: FID, KID, precision, recall, density and coverage one after the other in a process of their
  own, and the most memory that it held, the features and the libraries among it. Under 60 s on two cores and under 4 GB
  are aimed at.
- `fid_speed_to_torchmetrics`, `kid_speed_to_torchmetrics`: how many times the peer's speed is ours. Our KID is over all
  pairs; torchmetrics averages random subsets.
- `coverage_speed_to_scikit_learn`: precision, recall, density and coverage against all distances at once by
  `sklearn.metrics.pairwise_distances`.

The values of both sides stand in the settings."""


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    return render_markdown(content, "Speed of the distances", INTRO)


def run(
    images: Count, features: Count, neighbours: Count, repeats: Count, subsets: Count, subset_size: Count, seed: Seed
) -> dict[str, Metric]:
    """Seconds and memory of all distances, and the speed of each as a ratio to its peer.

    Args:
        images, features: N and D, of both sets.
        neighbours: k of precision, recall, density and coverage.
        repeats: pairs of runs in turn.
        subsets, subset_size: of torchmetrics' KID.
        seed: of the features.
    """
    scikit_pairwise()  # says at once where it is missing
    stated: dict[str, Any] = {"images": images, "features": features, "dtype": "float64"}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        taken, peak = pool.submit(alone, images, features, neighbours, seed).result()
    metrics = {
        "seconds": Metric(sum(taken.values()), images, False, settings={**stated, **taken}, reason="a single run"),
        "memory_gb": Metric(peak / 1e9, images, False, settings=stated, reason="a single maximum"),
    }
    one, two = sets(images, features, seed)
    kid = {"subsets": subsets, "subset_size": subset_size, "seed": seed}
    sides: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "fid_speed_to_torchmetrics": (
            lambda: frechet_distance(one, two),
            lambda: torchmetrics_frechet_distance(one, two),
        ),
        "kid_speed_to_torchmetrics": (
            lambda: kernel_distance(one, two),
            lambda: torchmetrics_kernel_distance(one, two, **kid)[0],
        ),
        "coverage_speed_to_scikit_learn": (
            lambda: vars(coverage(one, two, neighbours)),
            lambda: plain_coverage(one, two, neighbours),
        ),
    }
    own = {"kid_speed_to_torchmetrics": kid, "coverage_speed_to_scikit_learn": {"neighbours": neighbours}}
    for name, (ours, peer) in sides.items():
        metrics[name] = _compared(name, ours, peer, repeats, images, stated | own.get(name, {}))
    return metrics


def _compared(
    name: str, ours: Callable[[], Any], peer: Callable[[], Any], repeats: int, n: int, stated: dict[str, Any]
) -> Metric:
    values: dict[str, Any] = {}

    def keep(side: str, call: Callable[[], Any]) -> Callable[[], None]:
        return lambda: values.update({side: call()})

    pairs = in_turns(keep("value", ours), keep("peer_value", peer), repeats, name)
    return ratio(pairs, n, {**stated, **seconds(pairs), **values})


def sets(images: int, features: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two sets of features, float64 [images, features]; variances fall, and the second set is a little apart."""
    random = np.random.default_rng(seed)
    scale = np.arange(1, features + 1) ** -0.5
    one, two = (random.standard_normal((images, features)) * scale for _ in range(2))
    return torch.from_numpy(one), torch.from_numpy(two * 1.05 + 0.02 * scale)


def alone(images: int, features: int, neighbours: int, seed: int) -> tuple[dict[str, float], int]:
    """Seconds of each distance, and the most bytes that this process held."""
    one, two = sets(images, features, seed)
    calls: dict[str, Callable[[], Any]] = {
        "fid": lambda: frechet_distance(one, two),
        "kid": lambda: kernel_distance(one, two),
        "coverage": lambda: coverage(one, two, neighbours),
    }
    taken = {}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        taken[f"{name}_seconds"] = round(time.perf_counter() - start, 3)
    return taken, peak_bytes()


def scikit_pairwise() -> Callable[..., np.ndarray]:
    """`sklearn.metrics.pairwise_distances`.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import pairwise_distances
    except ImportError:
        raise UserError('suite=distances needs scikit-learn as a peer; `pip install -e ".[test]"` brings it.') from None
    return pairwise_distances


def plain_coverage(real: Tensor, generated: Tensor, neighbours: int) -> dict[str, float]:
    """Precision, recall, density and coverage as the papers write them, from three whole matrices of distances."""
    pairwise = scikit_pairwise()
    one, two = real.numpy(), generated.numpy()
    # place 0 is the image itself
    reach = [np.partition(pairwise(each), neighbours, axis=1)[:, neighbours] for each in (one, two)]
    across = pairwise(one, two)
    in_real, in_generated = across <= reach[0][:, None], across <= reach[1]
    return {
        "precision": float(in_real.any(0).mean()),
        "recall": float(in_generated.any(1).mean()),
        "density": float(in_real.sum(0).mean()) / neighbours,
        "coverage": float(in_real.any(1).mean()),
    }
