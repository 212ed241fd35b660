"""Raw collection → prepared folder: manifest.parquet, images.npy, rejected.csv, summary.json and run.json."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cxr_ldm.artifacts import RECORD, read_record, resumable, state, write_json, write_record
from cxr_ldm.content import Verify, save_array, sealed
from cxr_ldm.content import sums as content_sums
from cxr_ldm.data.findings.language import in_english
from cxr_ldm.data.pixels.images import is_file
from cxr_ldm.data.prepared.folder import IMAGES, MANIFEST, WEIGHTS, Prepared, checksums
from cxr_ldm.data.prepared.journal import JOURNAL, Draw, write_images
from cxr_ldm.data.prepared.manifest import COLUMNS, Counting, Reader, Record, Rejected
from cxr_ldm.data.prepared.parts import HASHES, Part, Parts
from cxr_ldm.data.prepared.rejected import counted, said, write_rejected
from cxr_ldm.data.prepared.splits import SPLITS, split_of
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.prepared.workers import pool
from cxr_ldm.data.readers import raw_files
from cxr_ldm.errors import UserError

# Raised when the same files and settings come to give another result, so that an older folder is not taken for it.
VERSION = 4
# Of what tables and texts are read as; folders say which. Those of before are opened, for their pixels are the same.
READ_BY = 2
# Folders of these versions are opened where they are; they may hold identical images more than once.
EARLIER = (3,)
REJECTED, SUMMARY = "rejected.csv", "summary.json"
FOREIGN = "texts not in English"
MADE = (MANIFEST, IMAGES, REJECTED, SUMMARY)


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
    settings = checked(reader, target, splits, limit, verify)
    folder, files = Path(folder), reader.files()
    now = raw_files.stat(files)
    parts = None
    if join is not None and not (folder / RECORD).is_file():
        parts = Parts(folder, settings | {"raw_files": {"stat": now}}, join)
        settings |= {"raw_files": parts.raw_files()}
    else:
        settings |= known_files(folder, files, now, verify)
    if state(folder, settings) == "complete":
        if read_record(folder).get("read_by", 1) != READ_BY:
            print(f"{folder} holds tables and findings as an earlier version read them; delete it to read them anew.")
        return Prepared(folder, verify)
    with resumable(folder, settings) as partial_folder:
        if partial_folder is None:  # another process has made it while this one waited
            return Prepared(folder)
        records, rejected = sift(reader)
        records = _limited(records, limit)
        with decoded(records, target, workers) if parts is None else joined(records, parts) as draw:
            done = write_images(records, partial_folder, name, target, draw)
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
        facts = {"name": name, "kind": kind or name, "size": target.size, "stat": now, "read_by": READ_BY}
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
    settings, files = checked(reader, target, splits, limit, "stat"), reader.files()
    settings |= {"raw_files": {"stat": raw_files.stat(files)}, "part": str(part)}
    own = part.folder(Path(folder))
    if state(own, settings) == "complete":
        return own
    with resumable(own, settings) as partial_folder:
        if partial_folder is None:
            return own
        records = part.of(_limited(sift(reader)[0], limit))
        with decoded(records, target, workers) as draw:
            write_images(records, partial_folder, f"{name} {part}", target, draw, apart=True)
        write_json(partial_folder / HASHES, raw_files.hashes(part.of(list(raw_files.relative_names(files)))))
        made = content_sums(partial_folder, (IMAGES, JOURNAL, HASHES))
        write_record(partial_folder, settings, complete=True, files=made)
    return own


def checked(
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
        **_foreign(record.text for record in records),
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


@contextmanager
def decoded(records: Sequence[Record], target: Target, workers: int | None) -> Iterator[Draw]:
    """Draws records in processes of their own."""
    with pool(records, workers) as run:
        yield lambda start, end: run(target.draw, records[start:end])


@contextmanager
def joined(records: Sequence[Record], parts: Parts) -> Iterator[Draw]:
    """Takes what the parts have drawn; raises UserError where that is of other records."""
    if [outcome["image_id"] for outcome in parts.outcomes] != [record.image_id for record in records]:
        raise UserError("the collection names other images than when its parts were prepared; prepare the parts again.")
    yield parts.drawn


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
        **_foreign(row["text"] for row in rows),
        **counted(rejected),
    }


def _foreign(texts: Iterable[str]) -> dict[str, int]:
    """How many texts are in another language; nothing where none is."""
    count = sum(not in_english(text) for text in texts)
    return {FOREIGN: count} if count else {}


def _steps(reader: Reader) -> dict[str, Any]:
    """The reader's own counts under the key "steps"; nothing where it has none."""
    steps = reader.steps() if isinstance(reader, Counting) else {}
    return {"steps": steps} if steps else {}
