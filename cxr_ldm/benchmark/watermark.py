"""How surely the invisible mark is found after JPEG, how often where there is none, and how much it changes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from cxr_ldm.assets import DEMO
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.imaging.presets import apply, presets
from cxr_ldm.imaging.watermark import STRENGTH, THRESHOLD, as_jpeg, mark, score
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import wilson_interval
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.ranges import Count, Place, Seed
from cxr_ldm.report.terminal import cell

INTRO = """Each picture at each size, plain and through each preset of `enhance=`, is marked and saved as a JPEG of each
quality. *found* is the share of marked pictures whose score after it reaches the threshold, with its Wilson 95 %
interval, which takes pictures as independent although several stem from one; *lowest score* is of the worst of them."""
EXTREME = "an extreme of all pictures"


def run(
    phantoms: Count,
    generated: Count,
    folder: Place | None,
    sizes: Sequence[Count],
    qualities: Sequence[Count],
    seed: Seed,
) -> dict[str, Metric]:
    """Shares found at each quality, false alarms, scores at their worst, and the change that the mark makes.

    Args:
        phantoms: drawn at the largest size.
        generated: images of the package's model.
        folder: of a prepared collection, as many of whose test images as `phantoms` are measured too; None: none.
        sizes: sides in pixels that each picture is brought to.
        qualities: of the JPEG files.
        seed: of phantoms and images.
    """
    chains = {"plain": (), **{name: preset.steps for name, preset in presets().items()}}
    found: dict[int, list[float]] = {quality: [] for quality in qualities}
    unmarked, changes, sources = [], [], {}
    for source, pictures in collections(phantoms, generated, folder, max(sizes), seed):
        sources[source] = len(pictures)
        for picture in tqdm(pictures, desc=source, unit="picture"):
            for size in sizes:
                for steps in chains.values():
                    levels = finished(picture, size, steps)
                    marked = mark(levels)
                    changes.append(float(np.square(levels.astype(float) - marked).mean()))
                    unmarked += [score(levels), score(as_jpeg(levels))]
                    for quality, scores in found.items():
                        scores.append(score(as_jpeg(marked, quality)))
    stated = {
        "pictures": sources,
        "sizes": list(sizes),
        "enhanced": list(chains),
        "strength": STRENGTH,
        "threshold": THRESHOLD,
    }
    metrics = {"false_alarms": share(unmarked, {**stated, "jpeg": "none, and quality 80"}, higher=False)}
    metrics["highest_score_unmarked"] = Metric(max(unmarked), len(unmarked), False, settings=stated, reason=EXTREME)
    metrics["psnr_lowest"] = Metric(
        10 * math.log10(255**2 / max(changes)),
        len(changes),
        True,
        settings={**stated, "unit": "dB", "data_range": 255},
        reason=EXTREME,
    )
    for quality, scores in found.items():
        settings = {**stated, "jpeg": f"quality {quality}"}
        metrics[f"found_at_{quality}"] = share(scores, settings, higher=True)
        metrics[f"lowest_score_at_{quality}"] = Metric(
            min(scores), len(scores), True, settings=settings, reason=EXTREME
        )
    return metrics


def collections(
    phantoms: int, generated: int, folder: Place | None, size: int, seed: int
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Names and pictures, uint8 `[H,W]`, of what is measured."""
    reader = PhantomReader(phantoms, size, seed)
    yield "phantoms", [np.asarray(record.load()) for record in reader.records()]
    prompts = ["Normal chest X-ray, clear lungs (no effusion).", "Large right pleural effusion."]
    texts = [prompts[number % len(prompts)] for number in range(generated)]
    images = TextToCXR.from_bundle(DEMO)(texts, [seed + number for number in range(generated)])
    yield "images of the package's model", [to_uint8(image[0]) for image in images]
    if folder is not None:
        prepared = Prepared(folder)
        pixels = prepared.pixels(prepared.rows("test")[:phantoms])
        yield "images of a prepared collection", [to_uint8(image[0]) for image in pixels]


def finished(picture: np.ndarray, size: int, steps: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The picture enhanced and brought to a size, uint8 `[size,size]`, as `Finish` does both."""
    stages = apply(picture / 255, steps)
    grey = stages[-1].image if stages else picture / 255
    if size != len(grey):
        kind = cv2.INTER_AREA if size < len(grey) else cv2.INTER_CUBIC
        grey = np.clip(cv2.resize(grey, (size, size), interpolation=kind), 0, 1)
    return np.rint(grey * 255).astype(np.uint8)


def share(scores: Sequence[float], facts: dict[str, Any], higher: bool) -> Metric:
    """Share of scores that reach the threshold."""
    hits = sum(value >= THRESHOLD for value in scores)
    stated = {**facts, "hits": hits, "interval": "Wilson 95 %"}
    ends = wilson_interval(hits, len(scores))
    return Metric(
        hits / len(scores),
        len(scores),
        higher,
        ci95=ends,
        settings=stated,
        over="pictures, each at each size and enhancement",
    )


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    qualities = [name.removeprefix("found_at_") for name in content if name.startswith("found_at_")]
    alarms, settings = content["false_alarms"], content["false_alarms"]["settings"]
    measured = ", ".join(f"{count} {name}" for name, count in settings["pictures"].items())
    lines = [
        "# How surely the watermark is found",
        "",
        INTRO,
        "",
        f"Measured on {measured}; at {', '.join(map(str, settings['sizes']))} pixels; the threshold is "
        f"{settings['threshold']:g}.",
        "",
        "| JPEG quality | found | lowest score | n |",
        "| ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {quality} | {cell(content[f'found_at_{quality}'])} | {cell(content[f'lowest_score_at_{quality}'])} | "
        f"{content[f'found_at_{quality}']['n']:,} |"
        for quality in qualities
    ]
    lines += [
        "",
        f"Without a mark, plain and after JPEG at 80: {settings['hits']} of {alarms['n']:,} were taken for marked, the "
        f"highest score being {cell(content['highest_score_unmarked'])}. The mark changes a picture by a PSNR of "
        f"{cell(content['psnr_lowest'])} dB or more.",
        "",
        "## Run",
        "",
    ]
    lines += [f"- {key}: `{value}`" for key, value in content["run"].items()]
    return "\n".join(lines) + "\n"
