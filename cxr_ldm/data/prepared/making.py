"""Raw collection → prepared folder: manifest.parquet, images.npy, rejected.csv, summary.json and run.json."""

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from tqdm import tqdm

from cxr_ldm.artifacts import (
    RECORD,
    read_record,
    resumable,
    state,
    write_json,
    write_record,
    write_text,
)
from cxr_ldm.content import Verify, save_array, sealed
from cxr_ldm.content import sums as content_sums
from cxr_ldm.data.pixels.images import BLANK, Bits, Fit, UnreadableImage, equalised, is_file, resize_square
from cxr_ldm.data.prepared.folder import IMAGES, MANIFEST, WEIGHTS, Prepared, checksums
from cxr_ldm.data.prepared.manifest import COLUMNS, Counting, Reader, Record, Rejected
from cxr_ldm.data.prepared.parts import HASHES, JOURNAL, Drawn, Part, Parts
from cxr_ldm.data.prepared.rejected import counted, said, write_rejected
from cxr_ldm.data.prepared.splits import SPLITS, split_of
from cxr_ldm.data.prepared.workers import pool
from cxr_ldm.data.readers import raw_files
from cxr_ldm.errors import UserError

# Raised when the same files and settings come to give another result, so that an older folder is not taken for it.
VERSION = 4
# Folders of these versions are opened where they are; they may hold identical images more than once.
EARLIER = (3,)
IDENTICAL = "identical to an earlier image"
REJECTED, SUMMARY, PNG = "rejected.csv", "summary.json", "png"
MADE = (MANIFEST, IMAGES, REJECTED, SUMMARY)
# Images in flight: bounds the memory whatever the size of the collection, at an idle moment of the workers for each.
CHUNK = 512


@dataclass(frozen=True)
class Target:
    """What every image of a prepared folder becomes.

    Args:
        size: side of the square in pixels.
        fit: "pad" or "crop", see `resize_square`.
        bits: 8 or 16, of each grey level.
        clahe: `clip_limit` and `tiles` of a local equalisation, or None; it changes what intensity means, so it is off
            unless asked for.
        png: whether each image is also written as a PNG file.
    """

    size: int
    fit: Fit = "pad"
    bits: Bits = 8
    clahe: Mapping[str, Any] | None = None
    png: bool = False

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    def check(self) -> None:
        """Raises UserError where a value is impossible."""
        if self.size < 8:
            raise UserError(f"data.size={self.size} is too small; use 8 or more pixels.")
        if self.fit not in ("pad", "crop"):
            raise UserError(f"data.fit={self.fit} is unknown; use pad or crop.")
        if self.bits not in (8, 16):
            raise UserError(f"data.bits={self.bits} is not possible; use 8 or 16.")
        if self.clahe is not None and not _possible(self.clahe, self.size):
            raise UserError(
                f"data.clahe={self.clahe} must be null, or a clip_limit above 0 and whole tiles from 1 to half of "
                f"data.size={self.size}."
            )

    def draw(self, record: Record) -> tuple[np.ndarray, tuple[int, int]] | Rejected:
        """The square of one record and the height and width of its original, or why there is none."""
        try:
            image = record.load()
        except UserError as error:
            return Rejected(record.image_id, error.reason if isinstance(error, UnreadableImage) else str(error))
        if isinstance(image, np.ndarray) and image.min() == image.max():
            return Rejected(record.image_id, BLANK)
        square = resize_square(image, self.size, self.fit, self.bits)
        if self.clahe:
            square = equalised(square, self.clahe["clip_limit"], self.clahe["tiles"])
        return square, (image.shape[0], image.shape[1])


def _possible(clahe: Any, size: int) -> bool:
    if not isinstance(clahe, Mapping) or set(clahe) != {"clip_limit", "tiles"}:
        return False
    limit, tiles = clahe["clip_limit"], clahe["tiles"]
    return type(limit) in (int, float) and limit > 0 and type(tiles) is int and 1 <= tiles <= size // 2


def prepare(
    reader: Reader,
    folder: Path,
    target: Target,
    *,
    name: str,
    splits: Mapping[str, Any],
    limit: int | None = None,
    workers: int | None = None,
    verify: Verify = "stat",
    kind: str | None = None,
    join: int | None = None,
) -> Prepared:
    """Make the prepared folder of a collection, or open it where it is complete and made by the same settings.

    Killed at any moment and called again, it goes on where it stopped, and the result is the same.

    Args:
        reader: the collection.
        folder: where the result goes; appears under this name only when it is complete.
        target: what every image becomes.
        name: of the collection, for people.
        splits: arguments of `split_of`: seed, val, test.
        limit: take this many images, chosen by a hash of their ids, for trials; None takes all.
        workers: processes that decode; None is one for each core.
        verify: raw files are known by their content. "stat" takes it as unchanged where names, sizes and times are;
            "full" hashes every file again.
        kind: of the collection, as in data.kind; `name` where none is given.
        join: take the images from so many parts of `prepare_part`, which are deleted then; None decodes them.

    Raises:
        UserError: nothing usable in the collection; `folder` was made by other settings or from other raw files; a
            part is missing.
    """
    settings = _checked(reader, target, splits, limit, verify)
    folder, files = Path(folder), reader.files()
    now = raw_files.stat(files)
    parts = None
    if join is not None and not (folder / RECORD).is_file():
        parts = Parts(folder, settings | {"raw_files": {"stat": now}}, join)
        settings |= {"raw_files": parts.raw_files()}
    else:
        settings |= known_files(folder, files, now, verify)
    if state(folder, settings) == "complete":
        return Prepared(folder, verify)
    with resumable(folder, settings) as partial_folder:
        if partial_folder is None:  # another process has made it while this one waited
            return Prepared(folder)
        records, rejected = sift(reader)
        records = _limited(records, limit)
        with decoded(records, target, workers) if parts is None else joined(records, parts) as draw:
            done = _decode(records, partial_folder, name, target, draw)
        rows, unreadable = _sorted(records, done)
        rejected += unreadable
        if not rows:
            why = "; ".join(said(**counted(rejected))[:3]) or "the collection names no image"
            raise UserError(f"{name}: none of {len(rejected)} images can be used ({why}).")
        for row in rows:
            row["split"] = row["split"] or split_of(row["patient_id"], **splits)
        _write_weights(partial_folder / WEIGHTS, rows)
        _write_manifest(partial_folder / MANIFEST, rows)
        write_rejected(partial_folder / REJECTED, rejected)
        write_json(partial_folder / SUMMARY, _summary(name, rows, rejected) | _steps(reader))
        (partial_folder / JOURNAL).unlink()
        facts = {"name": name, "kind": kind or name, "size": target.size, "stat": now}
        write_record(partial_folder, settings, complete=True, **facts, files=checksums(partial_folder))
    if parts is not None:
        parts.remove()
    return Prepared(folder)


def prepare_part(
    reader: Reader,
    folder: Path,
    target: Target,
    part: Part,
    *,
    name: str,
    splits: Mapping[str, Any],
    limit: int | None = None,
    workers: int | None = None,
) -> Path:
    """Decode the images of one part of a collection, and hash its share of the raw files; the part's folder.

    Killed at any moment and called again, it goes on where it stopped. Parts know nothing of each other: what is
    identical across them is found by the `prepare` that joins them.

    Args:
        folder: the prepared folder that the parts become; the others as of `prepare`.

    Raises:
        UserError: the part was made by other settings or from other raw files.
    """
    settings, files = _checked(reader, target, splits, limit, "stat"), reader.files()
    settings |= {"raw_files": {"stat": raw_files.stat(files)}, "part": str(part)}
    own = part.folder(Path(folder))
    if state(own, settings) == "complete":
        return own
    with resumable(own, settings) as partial_folder:
        if partial_folder is None:
            return own
        records = part.of(_limited(sift(reader)[0], limit))
        with decoded(records, target, workers) as draw:
            _decode(records, partial_folder, f"{name} {part}", target, draw, apart=True)
        write_json(partial_folder / HASHES, raw_files.hashes(part.of(list(raw_files.relative_names(files)))))
        made = content_sums(partial_folder, (IMAGES, JOURNAL, HASHES))
        write_record(partial_folder, settings, complete=True, files=made)
    return own


def _checked(
    reader: Reader, target: Target, splits: Mapping[str, Any], limit: int | None, verify: str
) -> dict[str, Any]:
    """The settings that decide a folder, but for its raw files; raises UserError where one is impossible."""
    target.check()
    _refuse(limit, verify)
    split_of("", **splits)  # refuses impossible shares before any work
    return {
        "version": VERSION,
        "reader": reader.settings(),
        **asdict(target),
        "splits": dict(splits),
        "limit": limit,
    }


def known_files(folder: Path, files: Sequence[Path], now: str, verify: Verify) -> dict[str, Any]:
    """The settings `version` and `raw_files` of a folder: the content of its raw files, hashed where it may be new.

    A copy of the collection, or a fresh checkout, has other times and the same content; the folder learns the times.

    Args:
        now: `raw_files.stat` of the files.
    """
    record: dict[str, Any] = {"settings": {}, "complete": False}
    if (folder / RECORD).is_file():
        record = read_record(folder)
    files_then, version = record["settings"].get("raw_files", {}), record["settings"].get("version")
    if record["complete"] and version in EARLIER and files_then.get("stat") == now:
        print(
            f"{folder} was prepared by an earlier version, which kept identical images; delete it to prepare it anew."
        )
        return {"version": version, "raw_files": files_then}
    if record.get("stat") == now and "content" in files_then and verify != "full":
        return {"version": VERSION, "raw_files": files_then}
    found = {"count": len(files), "content": raw_files.content(files)}
    if found == files_then and record["complete"] and record.get("stat") != now:
        write_json(folder / RECORD, sealed(record | {"stat": now}))
    return {"version": VERSION, "raw_files": found}


def _refuse(limit: int | None, verify: str) -> None:
    if limit is not None and limit < 1:
        raise UserError(f"data.limit={limit} takes no image; use 1 or more, or null for all.")
    if verify not in ("stat", "full"):
        raise UserError(f"verify={verify} is unknown; use stat or full.")


def dry_run(reader: Reader) -> dict[str, Any]:
    """Count what `prepare` would take and leave out, without opening an image.

    Returns:
        listed (all that the collection names), accepted, without an image file (of the accepted, where there are any:
        of a collection whose reports alone are there), studies and patients (of the accepted), what `counted` says of
        the rejected, and the reader's steps where it counts them.
    """
    records, rejected = sift(reader)
    absent = sum(record.path is not None and not is_file(record.path) for record in records)
    return {
        "listed": len(records) + len(rejected),
        "accepted": len(records),
        **({"without an image file": absent} if absent else {}),
        "studies": len({record.study_id for record in records}),
        "patients": len({record.patient_id for record in records}),
        **counted(rejected),
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


Draw = Callable[[int], Iterable[Drawn]]  # from a record on, what at least CHUNK of them came to, or all that follow


@contextmanager
def decoded(records: Sequence[Record], target: Target, workers: int | None) -> Iterator[Draw]:
    """Draws records in processes of their own."""
    with pool(records, workers) as run:
        yield lambda start: run(target.draw, records[start : start + CHUNK])


@contextmanager
def joined(records: Sequence[Record], parts: Parts) -> Iterator[Draw]:
    """Takes what the parts have drawn; raises UserError where that is of other records."""
    if [outcome["image_id"] for outcome in parts.outcomes] != [record.image_id for record in records]:
        raise UserError("the collection names other images than when its parts were prepared; prepare the parts again.")
    yield parts.drawn


def _decode(
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
                chunk = records[start : start + CHUNK]
                for record, result in zip(chunk, islice(draw(start), len(chunk)), strict=True):
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


def _sorted(
    records: Sequence[Record], done: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Manifest rows, without the split, of the records that are kept, and the others."""
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    for record, outcome in zip(records, done, strict=True):
        if "reason" in outcome:
            rejected.append(Rejected(record.image_id, outcome["reason"], outcome.get("detail", "")))
        else:
            rows.append(
                {**_row(record), "weight": record.weight, "height": outcome["height"], "width": outcome["width"]}
            )
    return rows, rejected


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


def _row(record: Record) -> dict[str, Any]:
    return {column: getattr(record, column) for column in COLUMNS if hasattr(record, column)}


def _write_manifest(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    finding = pa.struct([(key, pa.string()) for key in ("name", "side", "severity", "certainty")])
    types = {"findings": pa.list_(finding), "labels": pa.list_(pa.string()), "height": pa.int64(), "width": pa.int64()}
    types["age"] = pa.float64()
    schema = pa.schema([(column, types.get(column, pa.string())) for column in COLUMNS])
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)  # columns beyond the schema are left out


def _write_weights(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """How often one pass of training draws each row; no file where that is once each."""
    weights = np.array([row["weight"] for row in rows], dtype=np.float64)
    if (weights != 1).any():
        save_array(path, weights)


def _summary(name: str, rows: Sequence[Mapping[str, Any]], rejected: list[Rejected]) -> dict[str, Any]:
    def counts(chosen: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        return {"images": len(chosen), "patients": len({row["patient_id"] for row in chosen})}

    return {
        "name": name,
        **counts(rows),
        "splits": {split: counts([row for row in rows if row["split"] == split]) for split in SPLITS},
        "sources": dict(Counter(row["source"] for row in rows)),
        "views": dict(Counter(row["view"] or "unknown" for row in rows)),
        **counted(rejected),
    }


def _steps(reader: Reader) -> dict[str, Any]:
    """The reader's own counts under the key "steps"; nothing where it has none."""
    steps = reader.steps() if isinstance(reader, Counting) else {}
    return {"steps": steps} if steps else {}
