"""Fingerprints of the raw files that a prepared folder is made from."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from cxr_ldm.artifacts import fingerprint
from cxr_ldm.content import sha256_file

AHEAD = 4096  # files that threads have been given: a future for each of a large collection would take its memory


def stat(files: Sequence[Path]) -> str:
    """Fingerprint of names, sizes and modification times, wherever their folder is: cheap, and different for a copy."""
    listed = []
    for name, path in relative_names(files):
        found = path.stat()
        listed.append([name, found.st_size, found.st_mtime_ns])
    return fingerprint(listed)


def content(files: Sequence[Path]) -> str:
    """Fingerprint of the names and the SHA-256 of all raw files."""
    return fingerprint(hashes(list(relative_names(files))))


def hashes(named: Sequence[tuple[str, Path]]) -> list[list[str]]:
    """Name and SHA-256 of each file, in threads: hashing lets go of Python's lock, and disks answer several at once."""
    found: list[list[str]] = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as threads,
        tqdm(total=len(named), desc="hashing raw files", unit="file") as progress,
    ):
        for start in range(0, len(named), AHEAD):
            part = named[start : start + AHEAD]
            for (name, _), digest in zip(part, threads.map(sha256_file, [path for _, path in part]), strict=True):
                found.append([name, digest])
                progress.update()
    return found


def relative_names(files: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Names from the deepest common folder on, so that a collection that moves as a whole stays the same."""
    common = Path(os.path.commonpath([path.parent for path in files])) if files else Path()
    return iter(sorted((path.relative_to(common).as_posix(), path) for path in files))
