"""What the guidance scale does to the images of a phantom model: adherence to the prompt, and how far they move."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from cxr_ldm.assets import DEMO
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.folder import to_pixels
from cxr_ldm.metrics.faithfulness.adherence import Finding, PhantomAdherence
from cxr_ldm.metrics.images.diversity import pairwise_ssim
from cxr_ldm.metrics.results import Metric
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.ranges import Count, NotNegative, Place, Seed
from cxr_ldm.report.terminal import cell

INTRO = """The same prompts and seeds at several guidance scales. 0 ignores the text, 1 is the plain conditional model.

- *finding*, *side*: shares of samples that show the effusion (or its absence) that the prompt asks for, and on the side
  it names, read off the image by the phantom's geometry, with Wilson 95 % intervals.
- *moved*: mean absolute difference of a pixel from the image of the same prompt and seed one row above, as a share of
  the grey range; a scale without effect would have 0.
- *SSIM*: of random pairs of all samples; it rises where images become alike."""


def run(
    bundle: Place | None,
    scales: Sequence[NotNegative],
    n: Count,
    phantoms: Count,
    sampler: Callable[..., Tensor],
    steps: Count,
    seed: Seed,
) -> dict[str, Metric]:
    """Rates, movement and likeness at each scale, and the rates of real phantoms.

    Args:
        bundle: folder of a model trained on phantoms; None for the one of the package.
        scales: guidance scales, rising.
        n: samples at each scale.
        phantoms: real ones; half calibrate the measurement, half are measured.
        sampler, steps: of sampling.
        seed: of the samples; the phantoms have `seed` + 1,000, so that they are of other patients.
    """
    pipeline = TextToCXR.from_bundle(bundle or DEMO)
    measure = PhantomAdherence()
    pixels, findings = real(phantoms, pipeline.size, seed + 1000)
    half = phantoms // 2
    measure.calibrate(pixels[:half], findings[:half])
    metrics = measure.of_real(pixels[half:], findings[half:])
    names = list(measure.prompts)
    prompts = [measure.prompts[name] for name in names for _ in range(n // len(names))]
    seeds = [seed + index for index in range(len(prompts))]
    before = None
    for scale in scales:
        images = pipeline(prompts, seeds, steps=steps, guidance=float(scale), sampler=sampler)
        settings = {"guidance": scale, "steps": steps, "sampler": named(sampler), "bundle_sha256": pipeline.sha256}
        rates = measure.rates(dict(zip(names, images.split(n // len(names)), strict=True)))
        metrics |= {
            f"{name}_at_{scale:g}": replace(metric, settings=metric.settings | settings)
            for name, metric in rates.items()
        }
        alike = float(pairwise_ssim(images, seed=seed).mean())
        metrics[f"pairwise_ssim_at_{scale:g}"] = Metric(alike, len(images), False, settings=settings, reason="pairs")
        if before is not None:
            moved = float((images - before).abs().mean() / 2.0)
            metrics[f"moved_at_{scale:g}"] = Metric(moved, len(images), True, settings=settings, reason="a description")
        before = images
    return metrics


def named(sampler: Callable[..., Tensor]) -> str:
    """A sampler's name, options bound or not."""
    return str(getattr(getattr(sampler, "func", sampler), "__name__", sampler))


def real(count: int, size: int, seed: int) -> tuple[Tensor, list[Sequence[Finding]]]:
    """`count` phantoms as pixels `[N,1,size,size]` in [-1, 1], and the findings of each."""
    records = list(PhantomReader(count, size, seed).records())
    images = np.stack([np.asarray(record.load()) for record in records])
    return to_pixels(images), [record.findings or [] for record in records]


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    scales = [
        name.removeprefix("adherence_finding_at_") for name in content if name.startswith("adherence_finding_at_")
    ]
    heads = ("finding", "side", "moved", "SSIM")
    lines = [
        "# What the guidance scale does",
        "",
        INTRO,
        "",
        f"| scale | {' | '.join(heads)} |",
        "| ---: |" + " ---: |" * 4,
    ]
    columns = ("adherence_finding_at_", "adherence_side_at_", "moved_at_", "pairwise_ssim_at_")
    lines += [
        f"| {scale} | {' | '.join(cell(content.get(column + scale)) for column in columns)} |" for scale in scales
    ]
    ends = ("_real", "_real_all")
    words = ("real phantoms with an effusion alone or none", "real phantoms with any finding")
    for end, word in zip(ends, words, strict=True):
        cells = [cell(content.get(f"adherence_{key}{end}")) for key in ("finding", "side")]
        lines.append(f"| {word} | {' | '.join(cells)} | – | – |")
    first = content[f"adherence_finding_at_{scales[0]}"]
    lines += [
        "",
        f"{first['n']} samples at each scale, sides over those of the two prompts with an effusion.",
        "",
        "## Run",
        "",
    ]
    lines += [f"- {key}: `{value}`" for key, value in content["run"].items()]
    return "\n".join(lines) + "\n"
