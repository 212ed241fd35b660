"""A prepared folder as one file of limited size, for a machine that is lent by the minute; and back.

It holds training and validation images alone, so no test image leaves the machine. They are stored as PNG where that
fits, and else as JPEG of the best quality that does; what that costs is measured and kept in the file. The unpacked
folder has the fingerprint of the original: what was trained on it is evaluated here.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from cxr_ldm.artifacts import RECORD, building, read_json, write_json
from cxr_ldm.content import new_array, sealed
from cxr_ldm.data.prepared.folder import IMAGES, MANIFEST, WEIGHTS, Prepared, checksums
from cxr_ldm.errors import UserError

QUALITIES = range(98, 49, -2)  # of JPEG, from the best
SAMPLE = 200  # images by whose size a quality is chosen
ENTRY = 110  # bytes that a file of its own costs in the archive
REST = 2_000  # bytes of the archive's end, and of what is added to the record
DOUBT = 0.05  # how far the sample may be from the whole
Measure = Callable[[np.ndarray, np.ndarray], dict[str, Any]]


def pack(folder: Path, file: Path, limit_mb: float, measure: Measure | None = None) -> dict[str, Any]:
    """Write the training and validation images of a prepared folder into one file.

    Args:
        folder: a prepared folder of 8 bits a pixel.
        limit_mb: largest size of the file in MB (10⁶ bytes).
        measure: called with the original and the packed training images, uint8 [N, H, W] both, where they differ; what
            it returns is kept beside their PSNR.

    Returns:
        format, quality (None without loss), images, megabytes, psnr in dB (None without loss), and what `measure` gave.

    Raises:
        UserError: `file` exists, the folder has 16 bits a pixel, or no quality is small enough.
    """
    prepared = Prepared(folder)
    if file.exists():
        raise UserError(f"out={file} exists already; delete it or name another file.")
    if prepared.images.dtype != np.uint8:
        raise UserError(f"{folder} holds 16 bits a pixel; prepare it with data.bits=8 to pack it.")
    rows = np.sort(np.concatenate([prepared.rows("train"), prepared.rows("val")]))
    beside = {MANIFEST: taken(folder / MANIFEST, rows)}
    weights = prepared.draw_weights(rows)
    if weights is not None:
        beside[WEIGHTS] = as_npy(weights)
    room = limit_mb * 1e6 - sum(map(len, beside.values())) - (folder / RECORD).stat().st_size - REST
    quality, encoded = encode_all(prepared, rows, room, limit_mb)
    facts: dict[str, Any] = {"format": "png" if quality is None else "jpeg", "quality": quality, "images": len(rows)}
    facts |= {"psnr": None}
    if quality is not None:
        train = np.isin(rows, prepared.rows("train")).nonzero()[0]
        packed = np.stack([decode(encoded[place], prepared.size) for place in train])
        original = prepared.images[rows[train]]
        facts |= {"psnr": psnr(original, packed)} | (measure(original, packed) if measure else {})
    record = read_json(folder / RECORD) | {"packed": facts}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(RECORD, json.dumps(record))
        for name, content in beside.items():
            archive.writestr(name, content)
        for number, content in enumerate(encoded):
            archive.writestr(f"{number:06d}", content)
    partial.replace(file)
    return facts | {"megabytes": round(file.stat().st_size / 1e6, 1)}


def unpack(file: Path, folder: Path) -> Prepared:
    """The prepared folder of a packed file; `run.json` says under "packed" what its images went through.

    Raises:
        UserError: `file` is none of ours or damaged, or `folder` exists.
    """
    if folder.exists():
        raise UserError(f"out={folder} exists already; delete it or name another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(file) as archive, building(folder) as partial:
            record = json.loads(archive.read(RECORD))
            size, count = record["size"], record["packed"]["images"]
            (partial / MANIFEST).write_bytes(archive.read(MANIFEST))
            if WEIGHTS in archive.namelist():
                (partial / WEIGHTS).write_bytes(archive.read(WEIGHTS))
            images = new_array(partial / IMAGES, np.uint8, (count, size, size))
            for number in tqdm(range(count), desc="unpacking", unit="image"):
                images[number] = decode(archive.read(f"{number:06d}"), size)
            del images
            write_json(partial / RECORD, sealed(record | {"files": checksums(partial)}))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{file} is no packed collection, or damaged ({error}); pack it again.") from None
    return Prepared(folder)


def encode_all(prepared: Prepared, rows: np.ndarray, room: float, limit_mb: float) -> tuple[int | None, list[bytes]]:
    """The best quality of JPEG whose files take at most `room` bytes, None for PNG where that does, and the files.

    A sample rules out most qualities before all images are encoded.

    Raises:
        UserError: none does.
    """
    sample = prepared.images[np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])]
    for quality in (None, *QUALITIES):
        if np.mean([len(encode(image, quality)) + ENTRY for image in sample]) * len(rows) * (1 - DOUBT) > room:
            continue
        encoded = [encode(prepared.images[row], quality) for row in tqdm(rows, desc="packing", unit="image")]
        if sum(map(len, encoded)) + ENTRY * len(rows) <= room:
            return quality, encoded
    raise UserError(
        f"limit_mb={limit_mb:g} is too small for {len(rows)} images of {prepared.size} pixels, even at JPEG quality "
        f"{QUALITIES[-1]}; allow more, or prepare them smaller."
    )


def encode(image: np.ndarray, quality: int | None) -> bytes:
    """uint8 [H, W] as JPEG of this quality, or as PNG where it is None."""
    if quality is None:
        return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def decode(content: bytes, size: int) -> np.ndarray:
    """uint8 [size, size]; raises ValueError where the bytes are no such picture."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None or image.shape != (size, size):
        raise ValueError(f"an image is not {size} x {size}")
    return image


def psnr(original: np.ndarray, packed: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio of uint8 images [N, H, W], in dB.

    >>> round(psnr(np.zeros((1, 2, 2), np.uint8), np.full((1, 2, 2), 255, np.uint8)), 3)
    0.0
    """
    error = np.square(original.astype(np.float64) - packed).mean(axis=(1, 2)).clip(min=1e-12)
    return float((10 * np.log10(255**2 / error)).mean())


def taken(path: Path, rows: np.ndarray) -> bytes:
    """Rows of a parquet file as a parquet file."""
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(parquet.read_table(path).take(rows), content)
    return content.getvalue()


def as_npy(array: np.ndarray) -> bytes:
    """An array as the bytes of an .npy file."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


if __name__ == "__main__":
    from cxr_ldm.commands.cli import launch

    launch("pack")
