"""A folder of images and nothing else: whatever in it is a PNG, JPEG or DICOM file by its first bytes."""

import warnings
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cxr_ldm.data.pixels.dicom import load_dicom
from cxr_ldm.data.pixels.dicom_file import read_file
from cxr_ldm.data.pixels.images import MISSING, Grey, UnreadableImage, other_format, read_grey
from cxr_ldm.data.prepared.folder import say_once
from cxr_ldm.data.prepared.manifest import Record
from cxr_ldm.data.prepared.splits import Split
from cxr_ldm.data.readers.file_search import matching
from cxr_ldm.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # how PNG and JPEG files begin


def is_image(path: Path) -> bool:
    """Whether a file is called an image or begins as one; one that is called so and is none is found unreadable."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    head = beginning(path, 132)
    return head.startswith(PICTURES) or head[128:] == b"DICM"


def beginning(path: Path, count: int) -> bytes:
    """The first bytes of a file; none where it cannot be opened, which is said where it is read."""
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError:
        return b""


def images_below(root: Path) -> list[Path]:
    """Every image below a folder, in the order of the paths.

    Raises:
        UserError: it is no folder, or holds none.
    """
    if not root.is_dir():
        raise UserError(f"{root} is no folder.")
    listed = [path for path in matching(root, "**/*") if not path.name.startswith(".")]
    found = [path for path in listed if is_image(path)]
    if not found:
        raise UserError(f"{root} holds no PNG, JPEG or DICOM file.")
    kinds = Counter(
        kind for path in set(listed) - set(found) if (kind := other_format(beginning(path, 16))) is not None
    )
    if kinds:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        say_once(f"{root}: left out {counts}; PNG, JPEG and DICOM files are read.")
    return found


def may_crash(path: Path) -> bool:
    """Whether a DICOM decoder reads a file, which damaged bytes may bring down: all but PNG and JPEG."""
    head = beginning(path, 8)
    return bool(head) and not head.startswith(PICTURES)


def load_picture(path: Path) -> Grey:
    """An image by its first bytes, whatever it is called; also a DICOM file of ours, which is no radiograph.

    Raises:
        UnreadableImage: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(132)
    except FileNotFoundError:
        raise UnreadableImage(path, MISSING) from None
    except OSError as error:
        raise UnreadableImage(path, f"image file cannot be opened ({error.strerror})") from None
    if head.startswith(PICTURES):
        return read_grey(path)
    if head[128:] == b"DICM" and b"CXR_LDM" in path.read_bytes():
        return own_dicom(path)
    return load_dicom(path, modality="assume")


def load_nobody(path: Path) -> Grey:
    """As `load_picture`, of a file whose header does not say that its pixels tell who it is.

    Raises:
        UnreadableImage: it cannot be read.
        UserError: the header says so.
    """
    image = load_picture(path)
    with open(path, "rb") as file:
        if file.read(8).startswith(PICTURES):
            return image
    from pydicom.config import disable_value_validation

    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")  # as where the pixels are read
        header = read_file(path, stop_before_pixels=True)  # with or without the preamble
    for key in ("BurnedInAnnotation", "RecognizableVisualFeatures"):
        if str(header.get(key, "")).strip().upper() == "YES":
            raise UserError(f"{path}: {key} is YES, so its pixels tell who it is; take an image without.")
    return image


def own_dicom(path: Path) -> Grey:
    """The grey levels of a DICOM file that this project wrote, uint8 [H, W]; of another, as any radiograph."""
    from pydicom import dcmread

    try:
        header = dcmread(path)
        if header.get("Manufacturer") == "cxr_ldm" and header.get("ConversionType") == "SYN":
            levels: Grey = header.pixel_array
            return levels
    except Exception as error:  # what a parser trips over in damaged bytes has no common type
        raise UnreadableImage(path, "DICOM file is truncated or damaged") from error
    return load_dicom(path, modality="assume")


class FilesReader:
    """The images below a folder, each of a patient of its own, without text, all in one split.

    Args:
        root: the folder.
        split: of all images.
        name: of the collection.
    """

    def __init__(self, root: Path, split: Split, name: str) -> None:
        self.root, self.split, self.name = root, split, name

    def settings(self) -> dict[str, Any]:
        """What decides the result apart from the files."""
        return {"reader": "files", "split": self.split}

    def files(self) -> list[Path]:
        """The images."""
        return images_below(self.root)

    def records(self) -> Iterator[Record]:
        """One for each image, known by its path below the folder."""
        for path in self.files():
            name = path.relative_to(self.root).as_posix()
            yield Record(
                image_id=name,
                study_id=name,
                patient_id=name,
                view=None,
                text="",
                labels=None,
                findings=None,
                source=self.name,
                load=partial(load_picture, path),
                split=self.split,
                isolate=may_crash(path),
                path=path,
            )
