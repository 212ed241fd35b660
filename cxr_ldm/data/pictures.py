"""Images from any generator, with the prompts that they were made of: a folder, a CSV or a ZIP.

None is dropped, squashed or made up: a file that cannot be read is named, an image that is no square is padded or
cropped as the real ones were, and two equal images are two, since a generator that repeats itself is measured as it is.
"""

import json
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from cxr_ldm import artifacts, content
from cxr_ldm.data.pixels.images import Fit, UnreadableImage, resize_square
from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.prepared.workers import pool
from cxr_ldm.data.readers.columns import has_words, read_rows, require_columns
from cxr_ldm.data.readers.files import IMAGE_SUFFIXES, images_below, load_picture, may_crash
from cxr_ldm.errors import UserError

# Columns of a CSV by what they are called elsewhere, the first that is there counts.
FILE_COLUMNS = ("image", "file", "filename", "path", "image_path", "img_savename")
PROMPT_COLUMNS = ("prompt", "text", "caption", "report", "annotated_prompt")
KEY = "cxr_ldm"  # of the provenance in a PNG
LARGEST_MEMBER, LARGEST_ZIP = 512 * 2**20, 256 * 2**30  # bytes, unpacked
SEVERAL = "\0several"
MOST_NAMED = 3  # files that a message names
CHUNK = 256  # images that are decoded before they are written


@dataclass(frozen=True)
class Listed:
    """An image file, its name within the set, and the prompt that it was made of, where that is known."""

    name: str
    path: Path
    prompt: str | None = None


@dataclass(frozen=True)
class Pictures:
    """Images of one generator.

    Attributes:
        images: uint8 [N, size, size].
        listed: what each is.
        sizes: heights and widths of the files, and how many have each, such as {"512 x 512": 500}.
        skipped: files that could not be read, with the reason.
        fingerprint: of the files and what was made of them.
    """

    images: np.ndarray
    listed: list[Listed]
    sizes: dict[str, int]
    skipped: dict[str, str]
    fingerprint: str

    @property
    def prompts(self) -> list[str] | None:
        """Of every image; None where one is not known."""
        found = [each.prompt for each in self.listed]
        return None if any(prompt is None for prompt in found) else [str(prompt) for prompt in found]


def listed(source: Path, cache: Path) -> list[Listed]:
    """The images that a folder, a CSV or a ZIP names, in the order of their names or rows.

    A prompt is read from the CSV, or from the provenance of this project's own files. Of a folder that `sample.py`
    wrote the images alone are taken, and no overview, difference or image of before.

    Args:
        cache: folder in which a ZIP is unpacked.

    Raises:
        UserError: it is none of the three, or names no image.
    """
    if source.suffix.lower() == ".zip" and source.is_file():
        return listed(unpacked(source, cache), cache)
    if source.suffix.lower() == ".csv" and source.is_file():
        return of_table(source)
    if not source.exists():
        raise UserError(f"images={source} does not exist.")
    if source.is_file():
        raise UserError(f"images={source} is no folder, CSV or ZIP.")
    found = [path for path in images_below(source) if not beside_ours(path)]
    if not found:
        raise UserError(f"images={source} holds overviews of images and none itself.")
    return [Listed(path.relative_to(source).as_posix(), path, own_prompt(path)) for path in found]


def beside_ours(path: Path) -> bool:
    """Whether a file stands beside images that `sample.py` wrote and is none: an overview, a difference, a before."""
    if not (path.parent / artifacts.RECORD).is_file():
        return False
    return not path.with_suffix(".json").is_file() or path.stem.endswith("_before")


def own_prompt(path: Path) -> str | None:
    """The prompt in this project's provenance, in the PNG or in the JSON beside the image; None without."""
    facts: Any = None
    try:
        beside = path.with_suffix(".json")
        if beside.is_file():
            facts = json.loads(beside.read_text(encoding="utf-8"))
        elif path.suffix.lower() == ".png":
            with Image.open(path) as image:
                facts = json.loads(image.info.get(KEY, "null"))
    except Exception:  # another program's JSON, or a damaged file, which reading will name
        return None
    prompt = facts.get("prompt") if isinstance(facts, Mapping) else None
    return prompt if isinstance(prompt, str) else None


def of_table(table: Path) -> list[Listed]:
    """The rows of a CSV, whose paths start from its folder.

    Raises:
        UserError: it cannot be read, has no column of images, or no row.
    """
    header, rows = read_rows(table)
    image, prompt = column_of(header, FILE_COLUMNS, table), column_of(header, PROMPT_COLUMNS, table)
    if image is None:
        raise UserError(f"{table} has no column of images; call it one of {', '.join(FILE_COLUMNS)}.")
    if not rows:
        raise UserError(f"{table} names no image.")
    names = [row[image] for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise UserError(f"{table} names images more than once, such as {named(twice)}.")
    return [Listed(row[image], table.parent / row[image], stated(row, prompt)) for row in rows]


def stated(row: Mapping[str, str], column: str | None) -> str | None:
    """The prompt in a row; None where its cell holds no word."""
    return row[column].strip() if column is not None and has_words(row[column]) else None


def with_prompts(items: Sequence[Listed], table: Path) -> list[Listed]:
    """The images with the prompts of a CSV, by their names or, where these have none of its folders, their last part.

    Raises:
        UserError: it lacks a column, or the prompt of an image.
    """
    header, rows = read_rows(table)
    image, prompt = column_of(header, FILE_COLUMNS, table), column_of(header, PROMPT_COLUMNS, table)
    if image is None or prompt is None:
        raise UserError(
            f"prompts={table} needs a column of images ({', '.join(FILE_COLUMNS)}) and one of prompts "
            f"({', '.join(PROMPT_COLUMNS)})."
        )
    known = by_name((row[image], stated(row, prompt)) for row in rows)
    short = by_name((PurePosixPath(row[image]).name, stated(row, prompt)) for row in rows)
    found = [known.get(each.name, short.get(PurePosixPath(each.name).name)) for each in items]
    unclear = [each.name for each, text in zip(items, found, strict=True) if text == SEVERAL]
    if unclear:
        raise UserError(f"prompts={table} has several prompts for {named(unclear)}; name each image by its folders.")
    missing = [each.name for each, text in zip(items, found, strict=True) if text is None]
    if missing:
        raise UserError(f"prompts={table} has no prompt for {len(missing)} images, such as {named(missing)}.")
    return [Listed(each.name, each.path, text) for each, text in zip(items, found, strict=True)]


def by_name(pairs: Iterable[tuple[str, str | None]]) -> dict[str, str | None]:
    """Prompts by name; SEVERAL where rows of one name say different things."""
    found: dict[str, str | None] = {}
    for name, text in pairs:
        found[name] = text if found.get(name, text) == text else SEVERAL
    return found


def column_of(header: Sequence[str], names: Sequence[str], table: Path) -> str | None:
    """The first of some names that a header has, whatever its case.

    Raises:
        UserError: it has that name more than once.
    """
    known = [column.strip().lower() for column in header]
    name = next((name for name in names if name in known), None)
    if name is None:
        return None
    require_columns([name], known, str(table))
    return header[known.index(name)]


def unpacked(archive: Path, cache: Path) -> Path:
    """The images of a ZIP, unpacked once below `cache`; names that lead out of it, and all but images, stay in it.

    Raises:
        UserError: it is damaged, holds no image, or would fill the disk.
    """
    folder = cache / f"unpacked-{content.sha256_file(archive)[:16]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as file, artifacts.building(folder) as partial_folder:
            members = [entry for entry in file.infolist() if wanted(entry)]
            if not members:
                raise UserError(f"images={archive} holds no PNG, JPEG or DICOM file.")
            if sum(entry.file_size for entry in members) > LARGEST_ZIP:
                raise UserError(f"images={archive} unpacks to more than {LARGEST_ZIP // 2**30} GiB.")
            for entry in members:
                file.extract(entry, partial_folder)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"images={archive} cannot be unpacked ({error}).") from None
    return folder


def wanted(entry: zipfile.ZipInfo) -> bool:
    """Whether a member of a ZIP is an image, or the provenance beside one, that may be unpacked."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    inside = not path.is_absolute() and ".." not in path.parts and "__MACOSX" not in path.parts
    kind = path.suffix.lower() in (*IMAGE_SUFFIXES, ".json") and not path.name.startswith(".")
    return inside and kind and not entry.is_dir() and entry.file_size <= LARGEST_MEMBER


def draw(size: int, fit: Fit, record: Record) -> tuple[np.ndarray, str] | Rejected:
    """One image as a square, blank ones included, and the size of its file; or why there is none."""
    try:
        image = record.load()
    except UserError as error:
        return Rejected(record.image_id, error.reason if isinstance(error, UnreadableImage) else str(error))
    return resize_square(image, size, fit), f"{image.shape[1]} x {image.shape[0]}"


def read_pictures(
    items: Sequence[Listed], size: int, fit: Fit, cache: Path, skip: bool = False, workers: int | None = None
) -> Pictures:
    """Every image as a square of `size` pixels; decoded once and kept in the cache by the content of the files.

    Args:
        skip: whether files that cannot be read are left out and named in the result.
        workers: processes; None is one for each core.

    Raises:
        UserError: a file cannot be read and `skip` is off, or none can.
    """
    missing = [each.name for each in items if not each.path.is_file()]
    if missing and not skip:
        raise UserError(f"{len(missing)} of {len(items)} images are not there, such as {named(missing)}.")
    there = [each for each in items if each.path.is_file()]
    made_by = {
        "pictures": 1,
        "files": [[each.name, content.sha256_file(each.path)] for each in hashed(there)],
        "size": size,
        "fit": fit,
    }
    fingerprint = artifacts.fingerprint(made_by)
    folder = cache / f"pictures-{fingerprint}"

    def fill(partial_folder: Path) -> None:
        arrays, facts = decoded(there, size, fit, workers)
        content.save_array(partial_folder / "images.npy", arrays)
        artifacts.write_json(partial_folder / "facts.json", facts)

    artifacts.cached(folder, made_by, fill)
    images = content.read_array(folder / "images.npy", f"delete {folder}", mapped=True)
    facts = artifacts.read_json(folder / "facts.json")
    skipped: dict[str, str] = dict.fromkeys(missing, "image file is missing") | facts["skipped"]
    if skipped and not skip:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:MOST_NAMED])
        raise UserError(
            f"{len(skipped)} of {len(items)} images cannot be read ({reasons}); mend them, or say unreadable=skip, "
            "which leaves them out and says so in the report."
        )
    kept = [each for each in there if each.name not in skipped]
    if not kept:
        raise UserError(f"none of {len(items)} images can be read.")
    return Pictures(images, kept, facts["sizes"], skipped, fingerprint)


def hashed(items: Sequence[Listed]) -> Iterator[Listed]:
    """The items, with a progress bar."""
    return iter(tqdm(items, desc="hashing images", unit="file"))


def decoded(
    items: Sequence[Listed], size: int, fit: Fit, workers: int | None
) -> tuple[np.ndarray, dict[str, dict[str, Any]]]:
    """Squares uint8 [N, size, size] of what can be read; sizes of the files, and what cannot be read."""
    records = [
        Record(
            image_id=each.name,
            study_id=each.name,
            patient_id=each.name,
            view=None,
            text="",
            labels=None,
            findings=None,
            source="",
            load=partial(load_picture, each.path),
            isolate=may_crash(each.path),
        )
        for each in items
    ]
    squares: list[np.ndarray] = []
    sizes: dict[str, int] = {}
    skipped: dict[str, str] = {}
    with pool(records, workers) as run, tqdm(total=len(records), desc="reading images", unit="image") as bar:
        for start in range(0, len(records), CHUNK):
            chunk = records[start : start + CHUNK]
            for record, result in zip(chunk, run(partial(draw, size, fit), chunk), strict=True):
                bar.update()
                if isinstance(result, Rejected):
                    skipped[record.image_id] = result.reason
                else:
                    squares.append(result[0])
                    sizes[result[1]] = sizes.get(result[1], 0) + 1
    images = np.stack(squares) if squares else np.zeros((0, size, size), np.uint8)
    return images, {"sizes": sizes, "skipped": skipped}


def named(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:MOST_NAMED])
