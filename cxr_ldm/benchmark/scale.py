"""As many images as the largest public collection has, small ones, from raw files to generated images on this machine.

Each command runs as a person would run it, and the memory of all its processes is watched. What it shows is that
nothing grows with the number of images but what is on disk.
"""

import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from cxr_ldm.artifacts import write_json
from cxr_ldm.benchmark.watched import watch
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.metrics.results import Metric
from cxr_ldm.ranges import Count
from cxr_ldm.report.markdown import render_markdown

PICTURES = 1000  # distinct phantoms; each file is one of them under noise of its own
A_FOLDER = 1000  # files of a folder
TABLE, DONE = "reports.csv", "watched.json"
STEPS = ("prepare", "vae", "ldm", "sample")  # in this order
BATCH = 32

INTRO = """As many images as MIMIC-CXR has, generated ones of few pixels, each a PNG file with a report in one table,
from raw files to generated images by the commands that a person types. Memory is resident, of all processes of a
command together; at most 6 GB are aimed at. `dataset_page_seconds` is the time in which the page *Dataset* shows the
prepared collection after another one was shown, so with its libraries loaded; at most 3 s are aimed at.

- `prepare`: hashing and reading the files, the table, the splits.
- `vae`: a few steps of a small VAE.
- `ldm`: filling both caches, then training the diffusion model.
- `sample`: four images of a prompt by the trained model."""


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    picture = content["memory_gb_prepare"]["settings"]["picture"]
    heading = "As many images as the largest public collection"
    return render_markdown(content, heading, INTRO, image=picture, alt="memory of each command over time")


def run(rows: Count, size: Count, steps: Count, folder: str, picture: str | None = None) -> dict[str, Metric]:
    """Memory and time of each command, and the time in which the page opens the collection.

    A command that was watched is not run again, so that a suite that was ended goes on.

    Args:
        rows: images of the collection.
        size: side of the images in pixels.
        steps: of the diffusion model's training.
        folder: the raw collection, all outputs and logs.
        picture: PNG file for the memory over time, which the page shows beside itself; None draws none.

    Raises:
        UserError: a command fails; psutil or streamlit is missing.
    """
    home, outputs = Path(folder), Path(folder) / "outputs"
    if not (home / "raw" / TABLE).is_file():
        write_collection(home / "raw", rows, size)
    watched = {}
    for name, command in commands(home / "raw", outputs, size, steps).items():
        record = home / name / DONE
        if not record.is_file():
            found = watch([sys.executable, "-m", "cxr_ldm", *command], home / name / "log.txt")
            write_json(record, {"seconds": found.seconds, "times": found.times, "sizes": found.sizes})
        watched[name] = json.loads(record.read_text(encoding="utf-8"))
    if picture:
        draw(watched, Path(picture))
    stated = {"rows": rows, "size": size, "steps": steps, "picture": Path(picture).name if picture else None}
    metrics = {}
    for name, found in watched.items():
        reason = "one run on one machine"
        metrics[f"memory_gb_{name}"] = Metric(max(found["sizes"]) / 1e9, rows, False, settings=stated, reason=reason)
        metrics[f"minutes_{name}"] = Metric(found["seconds"] / 60, rows, False, settings=stated, reason=reason)
    opened = page_seconds(outputs)
    metrics["dataset_page_seconds"] = Metric(opened, rows, False, settings=stated, reason="one opening on one machine")
    return metrics


def commands(raw: Path, outputs: Path, size: int, steps: int) -> dict[str, list[str]]:
    """What follows `cxr-ldm` for each of STEPS."""
    where, prepared = f"paths.outputs={outputs}", f"prepared={outputs}/prepared/whole"
    reader = [f"data.reader.{key}" for key in (f"csv={TABLE}", "image=file", "text=text", "patient=patient")]
    made = [f"data.size={size}", "data.splits.val=0.005", "data.splits.test=0.005", "name=whole"]
    small = ["denoiser=tiny", "logger=csv", f"training.ldm.batch_size={BATCH}", f"training.ldm.images={steps * BATCH}"]
    return {
        "prepare": ["prepare", "data=table", f"data.root={raw}", *reader, *made, where],
        "vae": ["train", "stage=vae", "vae=tiny", "training.vae.images=3200", prepared, where, "name=vae"],
        "ldm": ["train", "stage=ldm", *small, prepared, where, "name=ldm", "vae_bundle=vae"],
        "sample": ["sample", "bundle=ldm", "prompt=Small right pleural effusion.", "n=4", where],
    }  # fmt: skip


def write_collection(folder: Path, rows: int, size: int) -> None:
    """PNG files [size, size] of noisy phantoms in folders of 1,000, and a table of file, patient and text.

    Each row has a report of its own; pictures repeat under noise, since what they show does not change what they cost.
    """
    reader, random = PhantomReader(rows, size, 0), np.random.default_rng(0)
    loaded = [reader.record(number).load() for number in tqdm(range(min(rows, PICTURES)), desc="draw", unit="image")]
    pictures = [picture for picture in loaded if isinstance(picture, np.ndarray)]
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{TABLE}"
    with open(unfinished, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "patient", "text"])
        for number in tqdm(range(rows), desc="write", unit="image"):
            record, name = reader.record(number), f"{number // A_FOLDER:04d}/{number:06d}.png"
            noisy = pictures[number % len(pictures)] + random.integers(-9, 10, (size, size))
            path = folder / name
            if number % A_FOLDER == 0:
                path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8))
            table.writerow([name, record.patient_id, record.text])
    unfinished.rename(folder / TABLE)


def page_seconds(outputs: Path) -> float:
    """Seconds until the page Dataset shows the collection of `outputs`; another one is shown before."""
    from streamlit.testing.v1 import AppTest

    import cxr_ldm.app
    from cxr_ldm.data.prepared.making import prepare
    from cxr_ldm.data.prepared.target import Target

    view = Path(cxr_ldm.app.__file__).parent / "views" / "dataset.py"
    before = os.environ.get("CXR_LDM_OUTPUTS")
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "prepared" / "small"
        prepare(PhantomReader(12, 32, 0), small, Target(32), name="small", splits={"seed": 0, "val": 0.1, "test": 0.1})
        try:
            seconds = []
            for place in (Path(scratch), outputs):
                os.environ["CXR_LDM_OUTPUTS"] = str(place.resolve())
                start = time.perf_counter()
                opened = AppTest.from_file(str(view), default_timeout=300).run()
                seconds.append(time.perf_counter() - start)
                if opened.exception:
                    raise RuntimeError(f"the page Dataset fails: {opened.exception[0].message}")
        finally:
            os.environ.pop("CXR_LDM_OUTPUTS")
            if before is not None:
                os.environ["CXR_LDM_OUTPUTS"] = before
    return seconds[-1]


def draw(watched: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Memory of each command over its own time, a panel each, as a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(watched), sharey=True)
    for panel, (name, found) in zip(panels, watched.items(), strict=True):
        panel.fill_between(np.array(found["times"]) / 60, np.array(found["sizes"]) / 1e9, alpha=0.4)
        panel.set(title=name, xlabel="minutes")
        panel.axhline(6, color="firebrick", linewidth=1, linestyle=":")
    panels[0].set(ylabel="resident memory, GB", ylim=(0, 6.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
