"""Files known by their content: checksums beside the settings that made them, and reading that tells damage from data.

Whatever damages a file (a disk, a copy that was cut, a hand), reading it ends in one sentence that names it and says
what makes it anew, and never in a training on other numbers.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from cxr_ldm.errors import UserError

Verify = Literal["stat", "full"]
Value = TypeVar("Value")
SEAL = "sha256"  # key of a JSON file's own checksum
WHOLE = 2**30  # bytes up to which a file is hashed whole at each opening: 0.7 s at 1.4 GB/s
BLOCK, BLOCKS = 2**20, 256  # of a larger file that many blocks of that many bytes are, 0.2 s


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_sample(path: Path) -> str:
    """SHA-256 of BLOCKS blocks at equal distances, the first and the last included."""
    digest, last = hashlib.sha256(), path.stat().st_size - BLOCK
    with open(path, "rb") as file:
        for number in range(BLOCKS):
            file.seek(last * number // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def sums(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """For each of these files its bytes and SHA-256; of a large one also that of a sample, see `sha256_sample`."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(names):
        path = folder / name
        found[name] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        if found[name]["bytes"] > WHOLE:
            found[name]["sample"] = sha256_sample(path)
    return found


_seen: set[tuple[Any, ...]] = set()  # files that this process has found whole; a mix opens a folder for each image


def check(folder: Path, files: Mapping[str, Mapping[str, Any]], advice: str, verify: Verify = "stat") -> None:
    """Compare files with their `sums`; those above 1 GiB by a sample, unless `verify` is "full".

    Args:
        advice: what makes the folder anew.

    Raises:
        UserError: one is missing or has another content.
    """
    for name, known in files.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is missing; {advice}.")
        found = path.stat()
        sampled = "sample" in known and verify != "full"
        state = (path, found.st_size, found.st_mtime_ns, found.st_ino, sampled, known["sha256"])
        if state in _seen:
            continue
        kind, measure = ("sample", sha256_sample) if sampled else ("sha256", sha256_file)
        if found.st_size != known["bytes"] or measure(path) != known[kind]:
            raise UserError(f"{path} is damaged: it is not what was written there; {advice}.")
        _seen.add(state)


def seal(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object without its own checksum, whatever the order of its keys."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its checksum as the last key."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    return rest | {SEAL: seal(json.loads(json.dumps(rest)))}


def check_seal(path: Path, content: Any, advice: str) -> None:
    """Raises UserError where a JSON object is not what its checksum says; one without, of before, passes."""
    if isinstance(content, Mapping) and SEAL in content and content[SEAL] != seal(content):
        raise UserError(f"{path} is damaged or was changed by hand: its checksum is another; {advice}.")


def reading(path: Path, read: Callable[[], Value], advice: str) -> Value:
    """What `read` makes of a file.

    Raises:
        UserError: whatever a library raises over bytes that are not what it wrote; its own words are kept.
        OSError: the file is missing or must not be read.
    """
    try:
        return read()
    except (MemoryError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
        raise
    except Exception as error:  # libraries raise dozens of types over damaged bytes, and change them
        words = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({words or type(error).__name__}); {advice}.") from error


def read_array(path: Path, advice: str, mapped: bool = False) -> np.ndarray:
    """An .npy file, as a memory map where `mapped`; raises UserError where it is damaged."""
    return reading(path, lambda: np.load(path, mmap_mode="r" if mapped else None), advice)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError that names no file, as when a disk is full, the name of what was being written."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def new_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """A memory map of a new .npy file whose space is reserved: writing to a map on a full disk kills the process.

    Raises:
        OSError: there is no space for it.
    """
    with naming(path):
        np.lib.format.open_memmap(path, "w+", dtype, shape).flush()
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return np.lib.format.open_memmap(path, "r+")


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an .npy file; raises OSError, naming it, where there is no space for it."""
    written = new_array(path, array.dtype, array.shape)
    written[...] = array
    written.flush()
