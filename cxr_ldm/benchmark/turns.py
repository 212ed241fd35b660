"""Times of two sides of a comparison, taken in turns so that what else runs on the machine meets both."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from cxr_ldm.metrics.results import Metric


def in_turns(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int, label: str) -> list[tuple[float, float]]:
    """Seconds of both, `repeats` times, each first in every other pair; one pair before warms the disk's cache."""
    pairs = []
    for turn in tqdm(range(repeats + 1), desc=label, unit="pair"):
        if turn % 2:
            pairs.append((timed(ours), timed(peer)))
        else:
            second = timed(peer)
            pairs.append((timed(ours), second))
    return pairs[1:]


def timed(call: Callable[[], Any]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(pairs: list[tuple[float, float]], n: int, stated: dict[str, Any]) -> Metric:
    """How many times the peer's speed is ours: the median over the pairs."""
    ratios = [peer / ours for ours, peer in pairs]
    stated = {"ratios": [round(ratio, 3) for ratio in ratios], **stated}
    return Metric(statistics.median(ratios), n, True, settings=stated, reason="a ratio of times on one machine")


def seconds(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Median seconds of both sides, for the settings of a ratio."""
    ours, peer = (round(statistics.median(times), 3) for times in zip(*pairs, strict=True))
    return {"seconds": ours, "peer_seconds": peer}
