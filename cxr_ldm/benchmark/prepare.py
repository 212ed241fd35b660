"""How fast the data engine is, each time as a ratio to a peer that runs in the same process, in turns.

- Preparing: `cxr_ldm.data.prepared.making` on large DICOM files, against a bare decode and one area resize of the same
  files on as many processes.
- Reading for training: batches of a prepared folder, against opening, resizing, CLAHE and tokenising each PNG.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from cxr_ldm.benchmark.peers import decode_and_resize, open_resize_equalise
from cxr_ldm.benchmark.turns import in_turns, ratio, seconds
from cxr_ldm.benchmark.watched import watch
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.pixels.dicom import load_dicom
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.prepared.workers import begin
from cxr_ldm.metrics.results import Metric
from cxr_ldm.ranges import Count
from cxr_ldm.report.markdown import render_markdown

HEIGHT, WIDTH, BITS = 2828, 2320, 12  # the commonest size and depth of the Indiana collection
PNG_SIZE = 1024
LOOK = 0.1  # seconds between two looks at the memory
SPLITS = {"seed": 0, "val": 0.1, "test": 0.1}


INTRO = """Ratios of speeds, each the median over pairs of runs in turn in one process; above 1 is faster than the peer.

- `prepare_speed_to_peer`: preparing large DICOM files against the least that has to be done, a bare decode and one
  area resize of the same files on as many processes. At least 0.85 is aimed at.
- `prepare_memory_gb`: the most memory of the preparing command and its workers together. At most 1.5 is aimed at.
- `reading_speed_to_peer`: reading a prepared folder for training against opening, resizing, CLAHE and tokenising each
  PNG of 1024 pixels. At least 20 is aimed at."""


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    return render_markdown(content, "Speed of the data engine", INTRO)


class DicomFolder:
    """Reader of a folder of DICOM files, each with the same text."""

    def __init__(self, folder: Path):
        self.folder = folder

    def settings(self) -> dict[str, Any]:
        return {"reader": "benchmark"}

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.dcm"))

    def records(self) -> Iterator[Record | Rejected]:
        for path in self.files():
            name = path.stem
            load = partial(load_dicom, path)
            yield Record(name, name, name, "PA", "Chest.", None, None, "benchmark", load, isolate=True)


def run(images: Count, size: Count, repeats: Count, workers: Count | None) -> dict[str, Metric]:
    """Both ratios, each the median over `repeats` pairs of runs in turn, and the memory that preparing took.

    Args:
        images: files of each kind; each is opened once in a run.
        size: side of the prepared images.
        repeats: pairs of runs.
        workers: processes on either side; None is one for each core.
    """
    workers = workers or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_dicom_files(folder / "dicom", images)
        preparing = _prepare_against_floor(folder, size, repeats, workers)
        shutil.rmtree(folder / "dicom")
        write_png_files(folder / "png", images)
        return preparing | _reading_against_fly(folder, images, size, repeats)


def _prepare_against_floor(folder: Path, size: int, repeats: int, workers: int) -> dict[str, Metric]:
    paths = sorted((folder / "dicom").glob("*.dcm"))
    target = Target(size)

    def ours() -> None:
        shutil.rmtree(folder / "out", ignore_errors=True)
        prepare(DicomFolder(folder / "dicom"), folder / "out", target, name="ours", splits=SPLITS, workers=workers)

    def floor() -> None:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=begin) as pool:
            for _ in pool.map(partial(decode_and_resize, size=size), paths, chunksize=8):
                pass

    pairs = in_turns(ours, floor, repeats, "prepare and its floor")
    stated = {
        "files": f"{len(paths)} generated DICOM files, {HEIGHT} × {WIDTH}, {BITS} bits",
        "size": size,
        "processes": workers,
        "peer": "pydicom's decode without its copies, and one OpenCV area resize, on as many processes",
        **seconds(pairs),
    }
    return {
        "prepare_speed_to_peer": ratio(pairs, len(paths), stated),
        "prepare_memory_gb": Metric(
            watch(command(folder, size, workers), folder / "log.txt", LOOK).peak / 1e9,
            len(paths),
            False,
            settings={"of": "the command and its workers together, resident, the most of ten looks a second"},
            reason="a single maximum",
        ),
    }


def command(folder: Path, size: int, workers: int) -> list[str]:
    """The command that prepares the same files."""
    reader = [
        "data.reader.files=*.dcm",
        r"data.reader.pattern=(?P<number>\d+)\.dcm",
        "data.reader.text=Chest {number}.",
    ]
    where = [f"data.root={folder / 'dicom'}", f"data.size={size}", f"workers={workers}", f"paths.outputs={folder}"]
    return [sys.executable, "-m", "cxr_ldm", "prepare", "data=table", *reader, *where]


def _reading_against_fly(folder: Path, images: int, size: int, repeats: int) -> dict[str, Metric]:
    import torch

    from cxr_ldm.data.batches.images import ImageDataModule
    from cxr_ldm.text.encoders import scratch

    prepared = prepare(PhantomReader(images, size, 0), folder / "read", Target(size), name="read", splits=SPLITS)
    rows = np.arange(len(prepared))
    texts, paths = prepared.texts(rows), sorted((folder / "png").glob("*.png"))
    tokenizer = scratch(texts, vocabulary=500, layers=1, width=16, heads=2, length=64).tokenizer
    encoded = tokenizer(texts)  # once, as the text table is
    train = len(prepared.rows("train"))
    data = ImageDataModule(prepared, 32, train, seed=0)

    def ours() -> None:
        for batch in data.train_dataloader():
            assert batch["pixels"].dtype == torch.float32
            _ = [part[batch["row"]] for part in encoded]

    def on_the_fly() -> None:
        for start in range(0, train, 32):
            chosen = slice(start, min(start + 32, train))
            pictures = [open_resize_equalise(path, size) for path in paths[chosen]]
            tokenizer(texts[chosen])
            torch.from_numpy(np.stack(pictures)).unsqueeze(1).float().div_(127.5).sub_(1)

    pairs = in_turns(ours, on_the_fly, repeats, "reading and on the fly")
    stated = {
        "files": f"{train} PNG files of {PNG_SIZE} × {PNG_SIZE}",
        "size": size,
        "on the fly": "open, area resize, CLAHE and tokenise each image, one process on both sides, no augmentation",
        **seconds(pairs),
    }
    return {"reading_speed_to_peer": ratio(pairs, train, stated)}


def write_dicom_files(folder: Path, count: int) -> None:
    """Uncompressed radiographs of phantoms: half of them MONOCHROME1, a third without a window."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True)
    largest, random = 2**BITS - 1, np.random.default_rng(0)
    noise = random.integers(0, 16, (HEIGHT, WIDTH), dtype=np.uint16)
    for number in tqdm(range(count), desc="write DICOM", unit="file"):
        picture = cv2.resize(_phantom(number), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        values = np.minimum(picture * np.uint16(largest // 256) + noise, largest)
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = ComputedRadiographyImageStorage
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = UID(f"1.2.3.{number + 1}")
        header.Modality, header.ViewPosition = "CR", "PA"
        header.Rows, header.Columns, header.SamplesPerPixel = HEIGHT, WIDTH, 1
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, BITS, BITS - 1, 0
        header.PhotometricInterpretation = "MONOCHROME1" if number % 2 else "MONOCHROME2"
        if number % 3:
            header.WindowCenter, header.WindowWidth = "2047", "4095" if number % 3 == 1 else "3000"
        header.PixelData = (largest - values if number % 2 else values).astype(np.uint16).tobytes()
        header.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def write_png_files(folder: Path, count: int) -> None:
    """Phantoms as PNG files of 1024 × 1024."""
    folder.mkdir(parents=True)
    for number in tqdm(range(count), desc="write PNG", unit="file"):
        picture = cv2.resize(_phantom(number), (PNG_SIZE, PNG_SIZE), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:04d}.png"), picture)


def _phantom(number: int) -> np.ndarray:
    """One of ten pictures, 256 × 256: what they show does not change how long they take."""
    picture = PhantomReader(10, 256, 0).record(number % 10).load()
    assert isinstance(picture, np.ndarray)
    return picture
