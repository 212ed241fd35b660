"""Files of a collection by a glob, through linked folders, whatever the case of their extensions."""

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path


def matching(root: Path, pattern: str) -> list[Path]:
    """Files below `root` that a glob names, in the order of their paths.

    As `Path.glob`, but that `**` follows links to folders (once round a loop), that the case of the extension does not
    count, and that a folder which cannot be read is named in a line instead of passed over.

    Args:
        pattern: relative, such as `**/*.png` or `images_*/*.png`.
    """
    found = set(_expand(Path(root), pattern.split("/"), ()))
    broken = sum(path.is_symlink() and not path.exists() for path in found)
    if broken:
        print(f"{root} holds {broken} links to files that are not there, so these images are not in the collection.")
    return sorted(filter(Path.is_file, found))


def in_either_case(path: Path) -> Path:
    """The path, or where there is no such file the one whose extension alone is written in the other case."""
    others = (path.with_suffix(suffix) for suffix in (path.suffix.upper(), path.suffix.lower()))
    try:
        return path if path.is_file() else next(filter(Path.is_file, others), path)
    except (OSError, ValueError):  # too long for the name of any file, or none at all
        return path


def _expand(folder: Path, parts: list[str], above: tuple[str, ...]) -> Iterator[Path]:
    """Paths below a folder that match the parts of a pattern.

    Args:
        above: real paths of the folders that `**` came through; a link back to one of them is a loop.
    """
    part, rest = parts[0], parts[1:]
    if part == "**":
        here = os.path.realpath(folder)
        if here in above:
            return
        if rest:
            yield from _expand(folder, rest, above)
        for path in _entries(folder):
            if path.is_dir():
                yield from _expand(path, parts, (*above, here))
    elif part in ("", "."):
        yield from _expand(folder, rest, above) if rest else ()
    elif part == "..":
        yield from _expand(folder / "..", rest, above) if rest else ()
    elif rest:
        for path in _entries(folder):
            if fnmatchcase(path.name, part) and path.is_dir():
                yield from _expand(path, rest, above)
    else:
        wanted = lower_extension(part)
        yield from (path for path in _entries(folder) if fnmatchcase(lower_extension(path.name), wanted))


def lower_extension(name: str) -> str:
    """A file's name with its extension in lower case.

    >>> lower_extension("IM-0001.DCM"), lower_extension("IM")
    ('IM-0001.dcm', 'IM')
    """
    return re.sub(r"\.\w+$", lambda extension: extension[0].lower(), name)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        print(f"{folder} cannot be read ({error.strerror}), so its images are not in the collection.")
        return []
