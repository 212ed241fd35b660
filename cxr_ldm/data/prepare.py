"""Raw collection → prepared folder: manifest.parquet, images.npy, rejected.csv, summary.json and run.json."""

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from cxr_ldm.artifacts import (
    RECORD,
    building,
    read_json,
    state,
    write_json,
    write_record,
    write_text,
)
from cxr_ldm.data import raw_files
from cxr_ldm.data.images import Fit, UnreadableImage, resize_square
from cxr_ldm.data.manifest import COLUMNS, Counting, Reader, Record, Rejected
from cxr_ldm.data.prepared import IMAGES, MANIFEST, Prepared
from cxr_ldm.data.splits import SPLITS, split_of
from cxr_ldm.errors import UserError

# Raised when the same files and settings come to give another result, so that an older folder is not taken for it.
VERSION = 2
REJECTED, SUMMARY = "rejected.csv", "summary.json"
# Images in flight: bounds the memory whatever the size of the collection, at an idle moment of the threads for each.
CHUNK = 512
Verify = Literal["stat", "full"]


def prepare(
    reader: Reader,
    folder: Path,
    *,
    name: str,
    size: int,
    fit: Fit,
    splits: Mapping[str, Any],
    limit: int | None = None,
    workers: int | None = None,
    verify: Verify = "stat",
    kind: str | None = None,
) -> Prepared:
    """Make the prepared folder of a collection, or open it where it is complete and made by the same settings.

    Args:
        reader: the collection.
        folder: where the result goes; appears under this name only when it is complete.
        name: of the collection, for people.
        size: side of the square images in pixels.
        fit: "pad" or "crop", see `resize_square`.
        splits: arguments of `split_of`: seed, val, test.
        limit: take this many images, chosen by a hash of their ids, for trials; None takes all.
        workers: threads that decode; None is one for each core.
        verify: "full" also compares the content of the raw files with that at the first "full", by SHA-256.
        kind: of the collection, as in data.kind; `name` where none is given.

    Raises:
        UserError: nothing usable in the collection; `folder` was made by other settings or from other raw files.
    """
    _refuse(size, limit, verify)
    folder, files = Path(folder), reader.files()
    split_of("", **splits)  # refuses impossible shares before any work
    settings = {
        "version": VERSION,
        "reader": reader.settings(),
        "size": size,
        "fit": fit,
        "splits": dict(splits),
        "limit": limit,
        "raw_files": raw_files.described(files),
    }
    if state(folder, settings) == "complete":
        if verify == "full":
            _verify(folder, settings, files)
        return Prepared(folder)
    records, rejected = sift(reader)
    with building(folder) as partial:
        chosen = _limited(records, limit)
        rows, unreadable = _decode(chosen, partial / IMAGES, name, size, fit, workers)
        rejected += unreadable
        if not rows:
            raise UserError(f"{name}: none of {len(rejected)} images can be used ({_most_frequent(rejected)}).")
        for row in rows:
            row["split"] = split_of(row["patient_id"], **splits)
        _write_manifest(partial / MANIFEST, rows)
        _write_rejected(partial / REJECTED, rejected)
        write_json(partial / SUMMARY, _summary(name, rows, rejected) | _steps(reader))
        content = raw_files.content(files) if verify == "full" else None
        write_record(partial, settings, complete=True, name=name, kind=kind or name, size=size, content=content)
    return Prepared(folder)


def _refuse(size: int, limit: int | None, verify: str) -> None:
    if size < 8:
        raise UserError(f"data.size={size} is too small; use 8 or more pixels.")
    if limit is not None and limit < 1:
        raise UserError(f"data.limit={limit} takes no image; use 1 or more, or null for all.")
    if verify not in ("stat", "full"):
        raise UserError(f"verify={verify} is unknown; use stat or full.")


def dry_run(reader: Reader) -> dict[str, Any]:
    """Count what `prepare` would take and leave out, without opening an image.

    Returns:
        listed (all that the collection names), accepted, studies and patients (of the accepted), rejected: reason →
        count, the most frequent first, and the reader's steps where it counts them.
    """
    records, rejected = sift(reader)
    return {
        "listed": len(records) + len(rejected),
        "accepted": len(records),
        "studies": len({record.study_id for record in records}),
        "patients": len({record.patient_id for record in records}),
        "rejected": _reasons(rejected),
    } | _steps(reader)


def sift(reader: Reader) -> tuple[list[Record], list[Rejected]]:
    """Records of a reader and what it rejects; of records with one image_id the first is kept."""
    records: dict[str, Record] = {}
    rejected = []
    for item in reader.records():
        if isinstance(item, Rejected):
            rejected.append(item)
        elif item.image_id in records:
            rejected.append(Rejected(item.image_id, "image_id occurs twice"))
        else:
            records[item.image_id] = item
    return list(records.values()), rejected


def _limited(records: list[Record], limit: int | None) -> list[Record]:
    """`limit` records by the hash of their ids, in the order of the reader.

    The head of a collection is often one class or one source; a hash draws evenly, and a larger limit keeps the
    images of a smaller one.
    """
    if limit is None or limit >= len(records):
        return records
    by_hash = sorted(records, key=lambda record: hashlib.sha256(record.image_id.encode()).digest())
    chosen = {record.image_id for record in by_hash[:limit]}
    return [record for record in records if record.image_id in chosen]


def _decode(
    records: list[Record], path: Path, name: str, size: int, fit: Fit, workers: int | None
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Write the images of all readable records to `path` and return their manifest rows, without the split."""

    def square(record: Record) -> tuple[np.ndarray, tuple[int, int]] | Rejected:
        try:
            image = record.load()
        except UserError as error:
            return Rejected(record.image_id, error.reason if isinstance(error, UnreadableImage) else str(error))
        return resize_square(image, size, fit), (image.shape[0], image.shape[1])

    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    with open(path, "wb") as file, ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        _write_header(file, 0, size)
        with tqdm(total=len(records), desc=f"prepare {name}", unit="image") as progress:
            for start in range(0, len(records), CHUNK):
                chunk = records[start : start + CHUNK]
                for record, result in zip(chunk, pool.map(square, chunk), strict=True):
                    progress.update()
                    if isinstance(result, Rejected):
                        rejected.append(result)
                        continue
                    image, (height, width) = result
                    file.write(image.tobytes())
                    rows.append({**_row(record), "height": height, "width": width})
        file.seek(0)
        _write_header(file, len(rows), size)
    return rows, rejected


def _write_header(file: io.BufferedWriter, count: int, size: int) -> None:
    """Header of a uint8 .npy array [count, size, size]; NumPy pads it so that the first axis can grow in place."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (count, size, size)})


def _row(record: Record) -> dict[str, Any]:
    return {column: getattr(record, column) for column in COLUMNS if hasattr(record, column)}


def _write_manifest(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    finding = pa.struct([(key, pa.string()) for key in ("name", "side", "severity", "certainty")])
    types = {"findings": pa.list_(finding), "labels": pa.list_(pa.string()), "height": pa.int64(), "width": pa.int64()}
    schema = pa.schema([(column, types.get(column, pa.string())) for column in COLUMNS])
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)


def _write_rejected(path: Path, rejected: Iterable[Rejected]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", "reason"])
    writer.writerows((item.image_id, item.reason) for item in rejected)
    write_text(path, text.getvalue())


def _summary(name: str, rows: Sequence[Mapping[str, Any]], rejected: list[Rejected]) -> dict[str, Any]:
    def counts(chosen: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        return {"images": len(chosen), "patients": len({row["patient_id"] for row in chosen})}

    return {
        "name": name,
        **counts(rows),
        "splits": {split: counts([row for row in rows if row["split"] == split]) for split in SPLITS},
        "sources": dict(Counter(row["source"] for row in rows)),
        "views": dict(Counter(row["view"] or "unknown" for row in rows)),
        "rejected": _reasons(rejected),
    }


def _steps(reader: Reader) -> dict[str, Any]:
    """The reader's own counts under the key "steps"; nothing where it has none."""
    steps = reader.steps() if isinstance(reader, Counting) else {}
    return {"steps": steps} if steps else {}


def _reasons(rejected: Iterable[Rejected]) -> dict[str, int]:
    return dict(Counter(item.reason for item in rejected).most_common())


def _most_frequent(rejected: Iterable[Rejected]) -> str:
    reasons = list(_reasons(rejected).items())[:3]
    return "; ".join(f"{count} × {reason}" for reason, count in reasons) or "the collection names no image"


def _verify(folder: Path, settings: Mapping[str, Any], files: Sequence[Path]) -> None:
    record = read_json(folder / RECORD)
    content = raw_files.content(files)
    if record["content"] is None:
        extra = {key: record[key] for key in ("name", "kind", "size")}
        write_record(folder, settings, complete=True, **extra, content=content)
    elif record["content"] != content:
        raise UserError(f"{folder} was made from other raw files; choose another name= or delete the folder.")
