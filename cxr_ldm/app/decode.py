"""python -m cxr_ldm.app.decode FILE OUT.npy [nobody]: the process behind `cxr_ldm.app.uploads.decode`.

A module of its own, since it must start fast and hold little: no torch, no Streamlit.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_ldm.app.uploads import REFUSED
from cxr_ldm.data.pixels.dicom import is_dicom, load_image
from cxr_ldm.data.pixels.images import UnreadableImage, display
from cxr_ldm.data.readers.files import load_nobody
from cxr_ldm.errors import UserError

MEMORY = 4 * 2**30  # bytes of address space
LARGEST_SIDE = 5000  # pixels; a detector of 43 × 43 cm at 0.1 mm has 4300


def main(source: Path, target: Path, nobody: bool = False) -> None:
    """Decode one file, or say on standard error why not and end with `REFUSED`.

    Args:
        nobody: whether a file that says that its pixels tell who it is is refused; one of ours is then read, too.
    """
    limit_memory()
    try:
        check_size(*stated_size(source))
        image = load_nobody(source) if nobody else load_image(source)
        check_size(image.shape[1], image.shape[0])
    except UnreadableImage as error:
        print(f"{error.reason}.", file=sys.stderr)
        sys.exit(REFUSED)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)
    np.save(target, display(image, 16).astype(np.float32) / np.float32(65535))


def stated_size(source: Path) -> tuple[int, int]:
    """Width and height by a PNG's or JPEG's header, before anything is unpacked; 0 where none is stated."""
    if is_dicom(source):
        return 0, 0  # its reader looks at the header first
    Image.MAX_IMAGE_PIXELS = None  # it would refuse without saying the size
    try:
        with Image.open(source, formats=("PNG", "JPEG")) as file:
            return file.size
    except Exception:  # whatever its class
        return 0, 0  # the reader says what is wrong with it


def check_size(width: int, height: int) -> None:
    """Raises UserError for a picture that is larger than any radiograph."""
    if max(height, width) > LARGEST_SIDE:
        raise UserError(f"image has {width} × {height} pixels; at most {LARGEST_SIDE} a side can be opened.")


def limit_memory() -> None:
    """Let the system refuse what a damaged header asks for; not on Windows, which has no such limit."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] == ["nobody"])
