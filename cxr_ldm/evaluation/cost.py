"""What a model costs: its parameters by part, and the time and memory of sampling at several step counts."""

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.metrics.results import Metric, hardware, peak_bytes
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.pipeline import TextToCXR

PROMPT = "Normal chest X-ray."
REPEATS = 5  # images one by one
BATCH = 16  # images at once, for the throughput
ON_ONE_MACHINE = "times of one machine, which do other things too"


def parameters(parts: dict[str, nn.Module]) -> dict[str, Metric]:
    """Parameters of the whole model, and of each part of it in the settings.

    >>> parameters({"network": nn.Linear(3, 2), "whitening": nn.Identity()})["parameters"].value
    8
    """
    counts = {name: parameter_count(part) for name, part in parts.items() if isinstance(part, nn.Module)}
    settings = {name: count for name, count in counts.items() if count}
    return {"parameters": Metric(sum(counts.values()), 1, False, settings=settings, reason="a count")}


def latencies(pipeline: TextToCXR, steps: Sequence[int], sampling: Sampling) -> dict[str, Metric]:
    """Seconds for one image, and images a second in batches, at each number of steps.

    Returns:
        `latency_at_steps_N`: the median of several single images; `images_per_second_at_steps_N`: of one batch.
    """
    for images in (1, BATCH) if steps else ():  # not counted: a compiled network is made for each batch size
        _seconds(pipeline, images, min(steps), sampling)
    metrics = {}
    for count in steps:
        settings = {**sampling.rule.facts(), **pipeline.compiled_by(), "prompt": PROMPT, **hardware()}
        single = [_seconds(pipeline, 1, count, sampling) for _ in range(REPEATS)]
        batch = _seconds(pipeline, BATCH, count, sampling)
        metrics[f"latency_at_steps_{count}"] = Metric(
            statistics.median(single), REPEATS, False, settings=settings, reason=ON_ONE_MACHINE
        )
        metrics[f"images_per_second_at_steps_{count}"] = Metric(
            BATCH / batch, BATCH, True, settings=settings | {"batch": BATCH}, reason=ON_ONE_MACHINE
        )
    return metrics


def _seconds(pipeline: TextToCXR, images: int, steps: int, sampling: Sampling) -> float:
    start = time.perf_counter()
    pipeline.draw([PROMPT] * images, list(range(images)), replace(sampling, steps=steps))
    return time.perf_counter() - start


def peak_memory(bundle: Path, device: str, packages: Sequence[str], sampling: Sampling) -> dict[str, Metric]:
    """Most memory, in megabytes, that making one image takes: of the GPU, or of a whole fresh process on a CPU."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        megabytes = pool.submit(_peak, bundle, device, list(packages), sampling).result()
    of = "the GPU's allocations" if device.startswith("cuda") else "a whole process, Python and torch included"
    settings = {"of": of, "images": 1, "device": device, "steps": sampling.steps, **sampling.rule.facts()}
    return {"peak_memory_mb": Metric(megabytes, 1, False, settings=settings, reason="a single maximum")}


def _peak(bundle: Path, device: str, packages: list[str], sampling: Sampling) -> float:
    _seconds(TextToCXR.from_bundle(bundle, device, packages), 1, sampling.steps, sampling)
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e6
    return peak_bytes() / 1e6
