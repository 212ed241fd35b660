"""Folders on disk that say what made them: fingerprints, records, and writing without half-files."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from cxr_ldm.errors import UserError
from cxr_ldm.register import named

RECORD = "run.json"
State = Literal["new", "unfinished", "complete"]


def fingerprint(settings: Any) -> str:
    """First 16 hex digits of the SHA-256 of `settings` as canonical JSON, parts by their short names (see `register`).

    >>> fingerprint({"b": 1, "a": [2.0, None]}) == fingerprint({"a": [2.0, None], "b": 1})
    True
    >>> fingerprint({"a": 1})
    '015abd7f5cc57a2d'
    """
    text = json.dumps(named(settings), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
    """Like `write_text`, for JSON with stable key order as given."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises UserError with the path where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); make its folder again.") from None


def flatten(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested settings as (dotted key, value).

    >>> dict(flatten({"a": {"b": 1}, "c": [2]}))
    {'a.b': 1, 'c.0': 2}
    """
    items: Any
    if isinstance(settings, Mapping):
        items = settings.items()
    elif isinstance(settings, list):
        items = enumerate(settings)
    else:
        yield prefix, settings
        return
    for key, value in items:
        yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))


def state(folder: Path, settings: Mapping[str, Any]) -> State:
    """Whether `folder` is still to be made, was begun, or was completed with exactly `settings`.

    Raises:
        UserError: the folder was made by other settings, or is none of ours.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return "new"
    if not (folder / RECORD).exists():
        raise UserError(f"{folder} exists and holds no {RECORD}, so it is not ours to write to; choose another name=.")
    record = read_json(folder / RECORD)
    if fingerprint(record["settings"]) != fingerprint(settings):
        theirs, ours = (dict(flatten(named(side))) for side in (record["settings"], settings))
        keys = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
        listed = ", ".join(f"{key} ({theirs.get(key)!r} there, {ours.get(key)!r} here)" for key in keys[:3])
        raise UserError(f"{folder} was made by other settings: {listed}; choose another name= or delete the folder.")
    return "complete" if record["complete"] else "unfinished"


def write_record(folder: Path, settings: Mapping[str, Any], *, complete: bool, **extra: Any) -> None:
    """Write `run.json`: the settings that make this folder, their fingerprint, and whether it is complete."""
    record = {"fingerprint": fingerprint(settings), "complete": complete, **extra, "settings": named(settings)}
    write_json(folder / RECORD, record)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A scratch folder beside `folder` that takes its name only when the block ends without an error.

    Two processes may make the same folder at once: each works in its own, and the first to end gives the result.
    What a killed process left is removed.
    """
    for left in folder.parent.glob(f".{folder.name}.*.partial"):
        if not alive(int(left.suffixes[-2][1:])):
            shutil.rmtree(left)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists() and any(folder.iterdir()):
        shutil.rmtree(partial)
    else:
        os.replace(partial, folder)


@contextmanager
def resumable(folder: Path, settings: Mapping[str, Any]) -> Iterator[Path | None]:
    """A scratch folder beside `folder` that outlives a kill: the same settings find it again as it was left.

    It takes the name of `folder` when the block ends without an error; a UserError removes it. A second process
    waits for the first; it gets None where `folder` is complete by then.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if state(folder, settings) == "complete":
            yield None
            return
        record = partial / RECORD
        if not record.exists() or fingerprint(read_json(record)["settings"]) != fingerprint(settings):
            shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(exist_ok=True)
        write_record(partial, settings, complete=False)
        try:
            yield partial
        except UserError:
            shutil.rmtree(partial)
            raise
        os.replace(partial, folder)


def alive(process: int) -> bool:
    """Whether a process with this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
