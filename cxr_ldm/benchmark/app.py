"""How long a visitor of the page waits: from the click to the first preview, and for a filter over many images."""

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cxr_ldm.app.generation import Request
from cxr_ldm.artifacts import read_json
from cxr_ldm.assets import MODELS
from cxr_ldm.benchmark.browser import chromium, serving
from cxr_ldm.data.prepared.browse import Catalogue, Query
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.metrics.results import Metric
from cxr_ldm.ranges import Count, Seed

SECONDS = 120_000  # that a step of the visit may take, in ms
REASON = "times of one machine; the spread of the repeats stands in the settings"


def run(repeats: Count, rows: Count, seed: Seed) -> dict[str, Metric]:
    """Seconds to the first preview, of a fresh server and later; and of a query.

    Args:
        repeats: clicks after the first.
        rows: images of the collection that is queried.
        seed: of its texts.
    """
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as address, chromium() as browser:
        first, *later = clicks(browser, address, repeats + 1)
    name = next(iter(MODELS))  # what the page opens with where nobody trained anything
    queries = query_seconds(rows, repeats, seed)
    settings = {
        "bundle": name,
        "images": 4,
        "steps": Request.steps,
        "sampler": Request.sampler,
        **Guidance.of_bundle(read_json(MODELS[name] / "config.json")["info"]).facts(),
        "viewport": [1280, 900],
    }
    return {
        "first_click_to_preview_seconds": Metric(first, 1, False, settings=settings, reason=REASON),
        "click_to_preview_seconds": timed(later, settings),
        "query_seconds": timed(queries, {"rows": rows, "filters": "finding, side, view, age, two words"}),
    }


def timed(seconds: list[float], facts: Mapping[str, Any]) -> Metric:
    """The median of repeats."""
    stated = {**facts, "each": [round(each, 3) for each in seconds]}
    return Metric(statistics.median(seconds), len(seconds), False, settings=stated, reason=REASON)


def clicks(browser: Any, address: str, count: int) -> list[float]:
    """Seconds from each click on Generate until a preview is on the screen; each generation is waited for."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(SECONDS)
    page.goto(address)
    button = page.get_by_role("button", name="Generate", exact=True)
    button.wait_for()
    seconds = []
    for _ in range(count):
        page.wait_for_timeout(1000)  # what the page does after a result
        start = time.perf_counter()
        button.click()
        page.get_by_text(f"of {Request.steps}").first.wait_for()  # "Step 1 of 20"
        page.locator("[data-testid=stImage] img").first.wait_for()
        seconds.append(time.perf_counter() - start)
        page.get_by_text(f"of {Request.steps}").first.wait_for(state="detached")
        page.get_by_text("The same images again").wait_for()
    return seconds


class Collection:
    """A manifest without images, as large as wanted."""

    def __init__(self, rows: int, seed: int) -> None:
        draw = np.random.default_rng(seed)
        effusion = {"name": "pleural effusion", "severity": "small", "certainty": "present"}
        texts = ["Small right pleural effusion.", "Small left pleural effusion.", "Normal chest."]
        found = [[{**effusion, "side": "right"}], [{**effusion, "side": "left"}], []]
        chosen = draw.integers(len(texts), size=rows)
        self.table = pa.table(
            {
                "text": [texts[i] for i in chosen],
                "findings": [found[i] for i in chosen],
                "view": draw.choice(["PA", "AP"], rows),
                "sex": draw.choice(["female", "male"], rows),
                "age": draw.integers(18, 90, rows).astype(float),
                "split": draw.choice(["train", "test"], rows),
                "source": ["here"] * rows,
            }
        )

    def __len__(self) -> int:
        return len(self.table)


def query_seconds(rows: int, repeats: int, seed: int) -> list[float]:
    """Seconds of a query over a collection that is in memory."""
    catalogue = Catalogue(Collection(rows, seed))  # type: ignore[arg-type]
    query = Query(findings=["pleural effusion"], side="right", views=["PA"], ages=(30, 60), text="small right")
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        catalogue.select(query)
        seconds.append(time.perf_counter() - start)
    return seconds


def page(content: Mapping[str, Any]) -> str:
    """The Markdown page of a metrics.json."""
    words = {
        "first_click_to_preview_seconds": "first click to first preview, 1 s after a new server shows the button",
        "click_to_preview_seconds": "click to first preview, later ones, median",
        "query_seconds": "a filter over {rows:,} images, median",
    }
    lines = [
        "# How long a visitor of the page waits",
        "",
        "In a browser without a window, on the machine of the server, with the model of the package: four images, "
        f"{Request.steps} steps of {Request.sampler}. The target is 3 seconds from the click to the first preview.",
        "",
        "| | seconds | n | each |",
        "| --- | ---: | ---: | --- |",
    ]
    for name, word in words.items():
        entry = content[name]
        each = ", ".join(f"{value:.2f}" for value in entry["settings"].get("each", [entry["value"]]))
        lines.append(f"| {word.format(**entry['settings'])} | {entry['value']:.2f} | {entry['n']} | {each} |")
    lines += ["", "## Run", ""]
    lines += [f"- {key}: `{value}`" for key, value in content["run"].items()]
    return "\n".join(lines) + "\n"
