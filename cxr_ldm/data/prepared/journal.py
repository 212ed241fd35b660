"""The images of a prepared folder, written one after another beside a journal from which a killed run goes on."""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from tqdm import tqdm

from cxr_ldm.artifacts import write_text
from cxr_ldm.data.prepared.folder import IMAGES
from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.prepared.target import Target

JOURNAL, PNG = "journal.jsonl", "png"
IDENTICAL = "identical to an earlier image"
# Images in flight: bounds the memory whatever the size of the collection, at an idle moment of the workers for each.
CHUNK = 512
Drawn = tuple[np.ndarray, tuple[int, int]] | Rejected
Draw = Callable[[int, int], Iterable[Drawn]]  # what the records from one place to another came to


def write_images(
    records: Sequence[Record], folder: Path, name: str, target: Target, draw: Draw, apart: bool = False
) -> list[dict[str, Any]]:
    """Write the images of all readable records and return what each record came to.

    The journal holds one line for each record that is done, written after its image; what both hold is kept.

    Args:
        apart: whether identical images are kept, since which one is the first is not known yet.
    """
    images, journal = folder / IMAGES, folder / JOURNAL
    done = _recovered(images, journal, target)
    seen = {outcome["picture"]: outcome["image_id"] for outcome in done if "reason" not in outcome}
    with open(images, "r+b") as file, open(journal, "a", encoding="utf-8") as log:
        file.seek(0, os.SEEK_END)
        with tqdm(total=len(records), initial=len(done), desc=f"prepare {name}", unit="image") as progress:
            for start in range(len(done), len(records), CHUNK):
                end = min(start + CHUNK, len(records))
                for record, result in zip(records[start:end], draw(start, end), strict=True):
                    progress.update()
                    if not apart:
                        result = _first_of_its_kind(record, result, seen)
                    outcome = _outcome(record, result)
                    if not isinstance(result, Rejected):
                        file.write(result[0].tobytes())
                        file.flush()
                        if target.png:
                            _write_png(folder / PNG, record.image_id, result[0])
                    log.write(json.dumps(outcome) + "\n")
                    log.flush()
                    done.append(outcome)
        file.seek(0)
        _write_header(file, sum("reason" not in outcome for outcome in done), target)
    return done


def _first_of_its_kind(record: Record, result: Drawn, seen: dict[str, str]) -> Drawn:
    """`result`, or its rejection where the same picture, decoded and resized, came before.

    Two files of one picture may belong to two people of the table, and so to two splits.

    Args:
        seen: picture → image_id of those that are kept; this one is added.
    """
    if isinstance(result, Rejected):
        return result
    first = seen.setdefault(_picture(result[0]), record.image_id)
    return result if first == record.image_id else Rejected(record.image_id, IDENTICAL, first)


def _picture(image: np.ndarray) -> str:
    """SHA-256 of the grey levels."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def _outcome(record: Record, result: Drawn) -> dict[str, Any]:
    if isinstance(result, Rejected):
        return {"image_id": record.image_id, "reason": result.reason} | (
            {"detail": result.detail} if result.detail else {}
        )
    height, width = result[1]
    return {"image_id": record.image_id, "height": height, "width": width, "picture": _picture(result[0])}


def _recovered(images: Path, journal: Path, target: Target) -> list[dict[str, Any]]:
    """Outcomes that an interrupted run left whole; both files are cut to them, or begun."""
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True) if journal.exists() else []
    outcomes = [json.loads(line) for line in lines if line.endswith("\n")]
    header = io.BytesIO()
    _write_header(header, 0, target)
    start, bytes_each = header.tell(), target.size**2 * target.dtype.itemsize
    if images.exists() and outcomes:
        whole = (images.stat().st_size - start) // bytes_each
        while sum("reason" not in outcome for outcome in outcomes) > whole:
            outcomes.pop()
        os.truncate(images, start + bytes_each * sum("reason" not in outcome for outcome in outcomes))
    else:
        images.write_bytes(header.getvalue())
        outcomes = []
    write_text(journal, "".join(lines[: len(outcomes)]))
    return outcomes


def _write_png(folder: Path, image_id: str, image: np.ndarray) -> None:
    """PNG file named by the image's id; folders in an id become folders, and none leads out of ours."""
    stem = re.sub(r"\.(png|jpe?g|dcm)$", "", image_id, flags=re.IGNORECASE)
    path = folder.joinpath(*(part for part in f"{stem}.png".split("/") if part not in ("", ".", "..")))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def _write_header(file: BinaryIO, count: int, target: Target) -> None:
    """Header of a .npy array [count, size, size]; NumPy pads it so that the first axis can grow in place."""
    shape = (count, target.size, target.size)
    entries = {"descr": target.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, entries)  # type: ignore[arg-type]
