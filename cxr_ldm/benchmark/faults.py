"""docs/results/faults.md: bits flipped in, and ends cut off, each kind of file that a command reads.

What must come of it is one sentence that names the file, or the same content as before.
"""

import hashlib
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from cxr_ldm import artifacts
from cxr_ldm.assets import DEMO
from cxr_ldm.bundle import load_bundle
from cxr_ldm.callbacks.history import HEADER, HISTORY, lines, read_history
from cxr_ldm.checkpoints import WholeCheckpoints, read_checkpoint
from cxr_ldm.data.prepared.folder import IMAGES, MANIFEST, WEIGHTS, Prepared
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.manifest import Reader, Record, Rejected
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import RUN_KEYS, Metric, read_metrics, run_entry, write_metrics
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.ranges import Count, Seed
from cxr_ldm.stages.caches import moments_of, text_table
from cxr_ldm.text.encoders import scratch

INTRO = """Each kind of file that a command reads, made in miniature, is damaged and read again as commands read it: one
bit flipped at a random place, or its end cut off at one. *noticed*: reading ends in one sentence that names the file.
*harmless*: what was read is what was written, as where a bit lies in padding; of the curves of a run also an earlier
state of the table, which no reader can tell from a run that was killed. *unnoticed*: other content was taken for the
file's. *raised*: any other error, which a command would show as a traceback."""
OUTCOMES = ("noticed", "harmless", "unnoticed", "raised")
WAYS = ("flip", "cut")


@dataclass(frozen=True)
class File:
    """One kind of file.

    Attributes:
        folder: that holds it.
        name: of the file, relative to the folder.
        read: a copy of the folder -> all that a command takes from it.
    """

    folder: Path
    name: str
    read: Callable[[Path], Any]


def run(reader: Reader, trials: Count, seed: Seed) -> dict[str, Metric]:
    """For each kind of file, how many of its damaged copies were neither noticed nor harmless.

    Args:
        reader: of a small collection of 16 pixels.
        trials: flips of each file, and as many cuts.
        seed: of the places.
    """
    metrics = {}
    with TemporaryDirectory() as scratch_folder:
        for kind, file in files(Path(scratch_folder), reader).items():
            counts = {way: outcomes(file, way, trials, seed) for way in WAYS}
            bad = sum(counts[way][outcome] for way in WAYS for outcome in ("unnoticed", "raised"))
            settings = {"file": file.name, "counts": {way: dict(counts[way]) for way in WAYS}, "seed": seed}
            metrics[kind] = Metric(bad, 2 * trials, False, settings=settings, reason="a count")
    return metrics


class Weighted:
    """A reader whose first record is drawn twice in each pass, so that there are weights to damage."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.settings, self.files = reader, reader.settings, reader.files

    def records(self) -> Iterator[Record | Rejected]:
        """Those of the reader."""
        for number, record in enumerate(self.reader.records()):
            yield replace(record, weight=2.0) if number == 0 and isinstance(record, Record) else record


def outcomes(file: File, way: str, trials: int, seed: int) -> Counter[str]:
    """How often each of OUTCOMES came of damage of one way."""
    random = np.random.default_rng([seed, WAYS.index(way)])
    whole = (file.folder / file.name).read_bytes()
    expected = file.read(file.folder)
    counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
    for _ in range(trials):
        with TemporaryDirectory(dir=file.folder.parent) as copies:  # a new place, so that nothing is remembered of it
            copy = Path(copies) / file.folder.name
            shutil.copytree(file.folder, copy)
            (copy / file.name).write_bytes(damaged(whole, way, random))
            counts[outcome(file, copy, expected)] += 1
    return counts


def damaged(whole: bytes, way: str, random: np.random.Generator) -> bytes:
    """The bytes with one bit flipped, or without their end."""
    place = int(random.integers(len(whole)))
    if way == "cut":
        return whole[:place]
    changed = bytearray(whole)
    changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def outcome(file: File, copy: Path, expected: Any) -> str:
    """One of OUTCOMES for a damaged copy of the folder."""
    try:
        found = file.read(copy)
    except UserError as error:
        return "noticed" if str(copy) in str(error) else "raised"
    except Exception:  # what a command would show as a traceback is what is counted here
        return "raised"
    earlier = isinstance(expected, list) and found == expected[: len(found)]
    return "harmless" if found == expected or earlier else "unnoticed"


def files(folder: Path, reader: Reader) -> dict[str, File]:
    """Every kind of file in miniature, as the commands write it."""
    splits, torch_device = {"seed": 0, "val": 0.2, "test": 0.2}, torch.device("cpu")
    prepared = prepare(Weighted(reader), folder / "prepared", Target(16), name="faults", splits=splits, workers=1)
    bundle = folder / "bundle"
    shutil.copytree(DEMO, bundle)
    torch.manual_seed(0)
    autoencoder, texts = Autoencoder(2, [8, 8], 1, 4), prepared.texts(np.arange(len(prepared)))
    encoder = scratch(texts, vocabulary=60, layers=1, width=16, heads=2, length=10)
    cache, made_by = folder / "cache", {"faults": 1}

    def moments(place: Path) -> Any:
        return moments_of(autoencoder, prepared, place, made_by, torch_device).tobytes()

    def table(place: Path) -> Any:
        found = text_table(encoder, [[text] for text in texts], place, made_by, torch_device)
        return found.cached.tobytes(), found.mask.tobytes(), found.number.tobytes()

    moments(cache / "moments")
    table(cache / "texts")
    run_folder = folder / "run"
    state = {"state_dict": autoencoder.state_dict(), "global_step": 3, "loops": {"fit_loop": {"epoch": 1}}}
    WholeCheckpoints().save_checkpoint(state, run_folder / "checkpoints" / "last.ckpt")
    artifacts.write_record(run_folder, {"seed": 0}, complete=True, data="faults")
    curve = [{"step": step, "name": "train/loss", "value": 1 / step} for step in range(1, 100)]
    artifacts.write_text(run_folder / HISTORY, f"{HEADER}\n{lines(curve)}")
    metrics = {"psnr": Metric(31.5, 8, True, reason="one pass")}
    write_metrics(run_folder / "metrics.json", metrics, run_entry(composed={}, bundle_sha256=None, seed=0, command="x"))
    return {
        "images": File(prepared.folder, IMAGES, whole_folder),
        "manifest": File(prepared.folder, MANIFEST, whole_folder),
        "draw weights": File(prepared.folder, WEIGHTS, whole_folder),
        "record of a prepared folder": File(prepared.folder, artifacts.RECORD, whole_folder),
        "bundle weights": File(bundle, "whitening.safetensors", whole_bundle),
        "bundle config": File(bundle, "config.json", whole_bundle),
        "bundle checksums": File(bundle, "SHA256SUMS", whole_bundle),
        "checkpoint": File(run_folder, "checkpoints/last.ckpt", checkpoint),
        "latents cache": File(cache / "moments", _inside(cache / "moments", "moments.npy"), moments),
        "text cache": File(cache / "texts", _inside(cache / "texts", "cached.npy"), table),
        "text cache, masks": File(cache / "texts", _inside(cache / "texts", "mask.npy"), table),
        "record of a cache": File(cache / "moments", _inside(cache / "moments", artifacts.RECORD), moments),
        "curves of a run": File(run_folder, HISTORY, lambda place: read_history(place / HISTORY)),
        "record of a run": File(run_folder, artifacts.RECORD, lambda place: facts(artifacts.read_record(place))),
        "metrics": File(run_folder, "metrics.json", lambda place: figures(place / "metrics.json")),
    }


def _inside(folder: Path, name: str) -> str:
    """The path of the one file of this name below a folder, relative to it."""
    (found,) = folder.rglob(name)
    return found.relative_to(folder).as_posix()


def whole_folder(place: Path) -> Any:
    """All that training takes from a prepared folder."""
    prepared = Prepared(place)
    rows = np.arange(len(prepared))
    drawn, weights = prepared.draws(), prepared.draw_weights(rows)
    known = (prepared.name, prepared.kind, prepared.size, prepared.fingerprint, prepared.packed)
    images = prepared.images.tobytes()
    return known, images, prepared.manifest.to_dict("records"), drawn.tolist(), weights is not None and weights.tolist()


def whole_bundle(place: Path) -> Any:
    """All that sampling takes from a bundle."""
    bundle = load_bundle(place, "ldm")
    modules = {name: part for name, part in bundle.parts.items() if isinstance(part, torch.nn.Module)}
    weights = {name: value.numpy().tobytes() for part in modules.values() for name, value in part.state_dict().items()}
    return weights, bundle.spec, bundle.info


def checkpoint(place: Path) -> str:
    """A hash of all that a run is resumed from."""
    content = read_checkpoint(place / "checkpoints" / "last.ckpt")
    content["state_dict"] = {name: value.numpy() for name, value in content["state_dict"].items()}
    return hashlib.sha256(pickle.dumps(content)).hexdigest()


def facts(record: dict[str, Any]) -> dict[str, Any]:
    """A record without its checksum."""
    return {key: record.get(key) for key in ("settings", "complete", "data", "fingerprint")}


def figures(path: Path) -> dict[str, Any]:
    """A metrics.json without its checksum."""
    found = read_metrics(path)
    return found | {"run": {key: value for key, value in found["run"].items() if key in RUN_KEYS}}


def page(content: Mapping[str, Any]) -> str:
    """The Markdown page, every number of it from `content`, a metrics.json."""
    found = {name: entry for name, entry in content.items() if name != "run"}
    heads = ["file", "example", *(f"{way}s: {outcome}" for way in WAYS for outcome in OUTCOMES)]
    rows = [f"| {' | '.join(heads)} |", f"| --- | --- |{' ---: |' * (len(heads) - 2)}"]
    for name, entry in found.items():
        counts = [str(entry["settings"]["counts"][way][outcome]) for way in WAYS for outcome in OUTCOMES]
        rows.append(f"| {name} | `{Path(entry['settings']['file']).name}` | {' | '.join(counts)} |")
    total, bad = sum(entry["n"] for entry in found.values()), sum(entry["value"] for entry in found.values())
    verdict = f"Of {total:,} damaged files {bad:g} were neither noticed nor harmless."
    run_lines = [f"- {key}: `{value}`" for key, value in content["run"].items()]
    return "\n".join(["# Damaged files", "", INTRO, "", *rows, "", verdict, "", "## Run", "", *run_lines]) + "\n"
