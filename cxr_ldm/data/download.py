"""python -m cxr_ldm.data.download: fetch a published collection, going on where a transfer broke off."""

import json
import shutil
import tarfile
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_ldm.artifacts import write_json
from cxr_ldm.content import sha256_file
from cxr_ldm.errors import UserError

BLOCK = 1 << 20  # most bytes written at a time
MOST_TIMES, LARGEST = 50, 1 << 30  # an archive may grow to so many times its size and so many bytes
TIMEOUT = 30  # seconds without a byte, after which a connection counts as broken


def download(
    root: Path, archives: Mapping[str, Mapping[str, Any]], parts: Sequence[str], retries: int, pause: float
) -> None:
    """Fetch and unpack the chosen archives; what is complete already is left alone.

    Args:
        root: folder of the collection; made where it is missing.
        archives: for each part `url`, `folder` (below root, where its files end up) and, where they are known, `bytes`
            and `sha256`.
        parts: names of the archives to fetch.
        retries: attempts in a row that bring no byte before it gives up.
        pause: seconds before the second attempt, doubled before each further one.

    Raises:
        UserError: an unknown part; a server that refuses; a size or hash that differs; an archive that is damaged or
            leads out of its folder.
    """
    unknown = sorted(set(parts) - set(archives))
    if unknown or not parts:
        raise UserError(f"parts={list(parts)} must be one or more of {', '.join(archives)}.")
    root.mkdir(parents=True, exist_ok=True)
    for part in parts:
        archive = archives[part]
        folder = root / archive["folder"]
        if folder.is_dir():
            print(f"complete already: {folder}")
            continue
        path = root / archive["url"].rsplit("/", 1)[-1]
        if not path.is_file():
            fetch(archive["url"], path, archive.get("bytes"), archive.get("sha256"), retries, pause)
        unpack(path, folder)
        print(f"  {folder}  ({sum(1 for _ in folder.rglob('*.*'))} files)")


def fetch(url: str, path: Path, size: int | None, sha256: str | None, retries: int, pause: float) -> None:
    """Bring a file to `path`, which appears only once its size and hash are right.

    What arrived stays in `.NAME.part`, and a range request continues it, in this run or the next; where the server's
    file has changed meanwhile (by its ETag or date), it begins anew.
    """
    partial = path.with_name(f".{path.name}.part")
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        reason = _transfer(url, partial, size)
        if reason is None:
            break
        failures = 0 if partial.exists() and partial.stat().st_size > before else failures + 1
        if failures > retries:
            raise UserError(f"{url} could not be fetched ({reason}); the same command goes on from where it stopped.")
        time.sleep(pause * 2**failures if failures else 0)
    digest = sha256_file(partial)
    if sha256 is not None and digest != sha256:
        partial.unlink()
        raise UserError(f"{url} has SHA-256 {digest} and not {sha256}; the file was removed, fetch it again.")
    _validator(partial).unlink(missing_ok=True)
    partial.replace(path)
    print(f"  {path}  sha256 {digest}" + ("" if sha256 else " (no published hash to compare with)"))


def _transfer(url: str, partial: Path, size: int | None) -> str | None:
    """One connection; None once the file is whole, else what broke it off."""
    import requests
    from tqdm import tqdm
    from urllib3.exceptions import HTTPError

    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # a compressed transfer has no byte ranges of the file
    known = json.loads(_validator(partial).read_text()) if _validator(partial).exists() else None
    if have and known:
        headers |= {"Range": f"bytes={have}-", "If-Range": known}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416 and have:  # nothing is left to send, or what is here is none of its bytes
                whole = _total(response.headers.get("Content-Range"))
                if whole == have:
                    _check_size(partial, size)
                    return None
                partial.unlink()
                return "the server's file is another one now"
            if response.status_code >= 500:
                return f"the server answered {response.status_code}"
            if response.status_code >= 400:
                raise UserError(f"{url} cannot be fetched: the server answered {response.status_code}.")
            resumed = response.status_code == 206
            total = _total(response.headers.get("Content-Range")) if resumed else _length(response.headers)
            validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
            if validator and not validator.startswith("W/"):  # a weak tag does not promise the same bytes
                write_json(_validator(partial), validator)
            with (
                open(partial, "ab" if resumed else "wb") as file,
                tqdm(total=total, initial=file.tell(), unit="B", unit_scale=True, desc=partial.name[1:-5]) as progress,
            ):
                # what has come, and not a whole block: the part before a broken connection would be lost
                while block := response.raw.read1(BLOCK):
                    file.write(block)
                    progress.update(len(block))
    except (requests.RequestException, HTTPError) as error:
        return type(error).__name__
    have = partial.stat().st_size
    if total is not None and have < total:
        return f"the connection ended after {have} of {total} bytes"
    _check_size(partial, size)
    return None


def _check_size(partial: Path, size: int | None) -> None:
    have = partial.stat().st_size
    if size is not None and have != size:
        partial.unlink()
        raise UserError(f"{partial.name[1:-5]} has {have} bytes and not {size}; the file was removed, fetch it again.")


def _validator(partial: Path) -> Path:
    """Where the server's mark of the file's version is kept."""
    return partial.with_name(f"{partial.name}.json")


def _length(headers: Mapping[str, str]) -> int | None:
    return int(headers["Content-Length"]) if headers.get("Content-Length", "").isdigit() else None


def _total(content_range: str | None) -> int | None:
    """The whole size of "bytes 10-99/100" or "bytes */100"."""
    last = (content_range or "").rsplit("/", 1)[-1]
    return int(last) if last.isdigit() else None


def unpack(path: Path, folder: Path) -> None:
    """Unpack a tar archive as `folder`, which appears only once all of it is there.

    An archive whose one top folder has the name of `folder` is unpacked without it. No path leaves the folder, and
    links and devices are refused (the "data" filter of PEP 706).
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with tarfile.open(path) as archive:
            unpacked = 0
            for member in archive:
                unpacked += member.size
                check_room(path, unpacked, member.size, shutil.disk_usage(partial).free)
                archive.extract(member, partial, filter="data")
    except UserError:
        shutil.rmtree(partial)
        raise
    except (tarfile.FilterError, OSError, EOFError, zlib.error, tarfile.TarError) as error:
        shutil.rmtree(partial)
        unsafe = isinstance(error, tarfile.FilterError)
        advice = "it is not unpacked" if unsafe else "delete it and fetch it again"
        raise UserError(
            f"{path} {'leads out of its folder' if unsafe else 'is damaged'} ({error}); {advice}."
        ) from None
    top = list(partial.iterdir())
    if [entry.name for entry in top] == [folder.name]:
        top[0].replace(folder)
        partial.rmdir()
    else:
        partial.replace(folder)


def check_room(path: Path, unpacked: int, following: int, free: int) -> None:
    """Raises UserError where an archive grows as no collection of pictures does, or the disk has no room for more.

    Args:
        unpacked: bytes up to the end of the file that follows, which has `following`.
        free: bytes on the disk.
    """
    if unpacked > LARGEST + MOST_TIMES * path.stat().st_size:
        raise UserError(f"{path} would grow to more than {MOST_TIMES} times its size; it is no collection, delete it.")
    if following > free:
        raise UserError(f"the disk has no room to unpack {path}; make room, and the same command goes on.")


if __name__ == "__main__":
    from cxr_ldm.commands.cli import launch

    launch("download")
