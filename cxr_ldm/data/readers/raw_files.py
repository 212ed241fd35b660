"""Fingerprints of the raw files that a prepared folder is made from."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from cxr_ldm.artifacts import fingerprint
from cxr_ldm.content import sha256_file


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
    """Name and SHA-256 of each file."""
    return [[name, sha256_file(path)] for name, path in tqdm(named, desc="hashing raw files", unit="file")]


def relative_names(files: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Names from the deepest common folder on, so that a collection that moves as a whole stays the same."""
    common = Path(os.path.commonpath([path.parent for path in files])) if files else Path()
    return iter(sorted((path.relative_to(common).as_posix(), path) for path in files))
