"""Folders on disk that say what made them: fingerprints, records, and writing without half-files."""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from cxr_ldm import content
from cxr_ldm.errors import UserError
from cxr_ldm.register import named

RECORD = "run.json"
State = Literal["new", "unfinished", "complete"]


def fingerprint(made_by: Any) -> str:
    """First 16 hex digits of the SHA-256 of `made_by` as canonical JSON, parts by their short names (see `register`).

    >>> fingerprint({"b": 1, "a": [2.0, None]}) == fingerprint({"a": [2.0, None], "b": 1})
    True
    >>> fingerprint({"a": 1})
    '015abd7f5cc57a2d'
    """
    text = json.dumps(named(made_by), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with content.naming(path):
            partial.write_text(text, encoding="utf-8")
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)


def write_json(path: Path, value: Any) -> None:
    """Like `write_text`, for JSON with stable key order as given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises UserError with the path where it is missing, broken, or not what its checksum says."""
    advice = f"delete {path.parent} and make it again"
    try:
        value = content.reading(path, lambda: json.loads(path.read_text(encoding="utf-8")), advice)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    content.check_seal(path, value, advice)
    return value


def read_record(folder: Path) -> dict[str, Any]:
    """The `run.json` of a folder; raises UserError where it is missing, damaged, or not what `write_record` writes."""
    record = read_json(folder / RECORD)
    if not isinstance(record, dict) or not {"settings", "complete"} <= record.keys():
        raise UserError(f"{folder / RECORD} is not a record of this project; delete {folder} and make it again.")
    return record


def flatten(made_by: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested settings as (dotted key, value).

    >>> dict(flatten({"a": {"b": 1}, "c": [2]}))
    {'a.b': 1, 'c.0': 2}
    """
    items: Any
    if isinstance(made_by, Mapping):
        items = made_by.items()
    elif isinstance(made_by, list):
        items = enumerate(made_by)
    else:
        yield prefix, made_by
        return
    for key, value in items:
        yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))


def state(folder: Path, made_by: Mapping[str, Any]) -> State:
    """Whether `folder` is still to be made, was begun, or was completed with exactly `made_by`.

    Raises:
        UserError: the folder was made by other settings, or is none of ours.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return "new"
    if not (folder / RECORD).exists():
        raise UserError(f"{folder} exists and holds no {RECORD}, so it is not ours to write to; choose another name=.")
    record = read_record(folder)
    if fingerprint(record["settings"]) != fingerprint(made_by):
        theirs, ours = (dict(flatten(named(side))) for side in (record["settings"], made_by))
        keys = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
        listed = ", ".join(f"{key} ({theirs.get(key)!r} there, {ours.get(key)!r} here)" for key in keys[:3])
        raise UserError(f"{folder} was made by other settings: {listed}; choose another name= or delete the folder.")
    return "complete" if record["complete"] else "unfinished"


def now() -> str:
    """The time of a record, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def write_record(folder: Path, made_by: Mapping[str, Any], *, complete: bool, **extra: Any) -> None:
    """Write `run.json`: the settings that make this folder, their fingerprint, and whether it is complete."""
    record = {"fingerprint": fingerprint(made_by), "complete": complete, **extra, "settings": named(made_by)}
    write_json(folder / RECORD, content.sealed(record))


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes from making `folder`; the system takes the lock back from a process that was killed.

    Its file stands beside the folder while the lock is held. A process that was forked from this one has no part in it.

    Args:
        wait: for another process that holds it, which a line says.

    Raises:
        UserError: another process holds it, and this one does not wait.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f".{folder.name}.lock")
    file = _lock(path, folder, wait)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _lock(path: Path, folder: Path, wait: bool) -> int:
    """The open and locked file, which is still the one under this name: its last holder may have removed it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # which of the two is for the system to choose
            if not wait:
                os.close(file)
                raise UserError(f"another process is making {folder} at this moment; wait until it ends.") from None
            print(f"another process is making {folder}; waiting for it")
            fcntl.lockf(file, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            return file
        os.close(file)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A scratch folder beside `folder` that takes its name only when the block ends without an error.

    What a killed process left of it is removed first.

    Raises:
        UserError: another process is making the same folder.
    """
    with locked(folder), _scratch(folder) as partial:
        yield partial


def cached(
    folder: Path, made_by: Mapping[str, Any], fill: Callable[[Path], None], verify: content.Verify = "stat"
) -> Path:
    """A folder of files that `fill` writes once for these settings, with a checksum of each; returns it.

    A second process waits for the first and takes what it made.

    Raises:
        UserError: a file is not what was written.
    """
    if not folder.exists():
        with locked(folder, wait=True):
            if not folder.exists():
                with _scratch(folder) as partial:
                    fill(partial)
                    files = content.sums(partial, (path.name for path in partial.iterdir()))
                    write_record(partial, made_by, complete=True, files=files)
    advice = f"delete {folder}, and the same command makes it anew"
    content.check(folder, read_record(folder).get("files", {}), advice, verify)
    return folder


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    partial = folder.with_name(f".{folder.name}.building.partial")
    with content.naming(partial):
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        try:
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if folder.exists() and any(folder.iterdir()):  # no process of ours, which the lock keeps out
            raise UserError(f"{folder} came to hold something while it was being made; delete it or choose another.")
        os.replace(partial, folder)


@contextmanager
def resumable(folder: Path, made_by: Mapping[str, Any]) -> Iterator[Path | None]:
    """A scratch folder beside `folder` that outlives a kill: the same settings find it again as it was left.

    It takes the name of `folder` when the block ends without an error; a UserError removes it. A second process
    waits for the first; it gets None where `folder` is complete by then.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    with locked(folder, wait=True), content.naming(partial):
        if state(folder, made_by) == "complete":
            yield None
            return
        if not _left_by(partial, made_by):
            shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(exist_ok=True)
        write_record(partial, made_by, complete=False)
        try:
            yield partial
        except UserError:
            shutil.rmtree(partial)
            raise
        os.replace(partial, folder)


def _left_by(partial: Path, made_by: Mapping[str, Any]) -> bool:
    """Whether a scratch folder was begun by these settings; one whose record is damaged was begun by none."""
    try:
        return fingerprint(read_record(partial)["settings"]) == fingerprint(made_by)
    except UserError:
        return False
