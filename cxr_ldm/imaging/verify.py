"""python -m cxr_ldm.imaging.verify FILE…: does a file say that it is synthetic, and does its picture?

Exit code 0 where every file carries provenance or the watermark, 1 where one carries neither, 2 for bad input.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxr_ldm.data.dicom import is_dicom
from cxr_ldm.data.images import UnreadableImage, read_grey
from cxr_ldm.errors import UserError
from cxr_ldm.imaging import dicom
from cxr_ldm.imaging.grids import KEY
from cxr_ldm.imaging.watermark import THRESHOLD, as_jpeg, false_alarm, score

QUALITY = 80


@dataclass(frozen=True)
class Finding:
    """What a file carries.

    Attributes:
        provenance: the facts in its text, None without.
        score: of the watermark in its pixels.
        after_jpeg: the same after a JPEG of quality 80.
    """

    provenance: dict[str, Any] | None
    score: float
    after_jpeg: float

    @property
    def watermarked(self) -> bool:
        return self.score > THRESHOLD


def examine(path: Path) -> Finding:
    """Read a PNG, JPEG or DICOM file; raises UnreadableImage where it cannot be read."""
    if is_dicom(path):
        provenance, levels = dicom.read_provenance(path), _pixels(path)
    else:
        levels = read_grey(path)
        with Image.open(path) as file:
            provenance = _facts(file.info.get(KEY))
    return Finding(provenance, score(levels), score(as_jpeg(levels, QUALITY)))


def _pixels(path: Path) -> np.ndarray:
    header = dicom.read_header(path)
    try:
        levels = header.pixel_array
    except Exception as error:  # as of a decoder in damaged bytes
        raise UnreadableImage(path, "its pixels cannot be read") from error
    if levels.dtype != np.uint8 or levels.ndim != 2:
        raise UnreadableImage(path, "no 8-bit grey picture, as this project writes them")
    return levels


def _facts(text: Any) -> dict[str, Any] | None:
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError):
        return None


def line(path: Path, found: Finding) -> str:
    """One line for people."""
    facts = found.provenance
    origin = (
        "no provenance" if facts is None else f"provenance: {facts.get('software', '?')}, seed {facts.get('seed', '?')}"
    )
    state = "watermark found" if found.watermarked else "no watermark"
    chance = f"score {found.score:.1f}, by chance {false_alarm(found.score):.1e}"
    return f"{path}: {origin}; {state} ({chance}; after JPEG at quality {QUALITY}: {found.after_jpeg:.1f})"


def main(arguments: Sequence[str]) -> int:
    """Examine each file, print a line for it and a last one for all."""
    if not arguments or any(word in ("-h", "--help") for word in arguments):
        print("python -m cxr_ldm.imaging.verify FILE…: provenance and watermark of PNG, JPEG and DICOM files.")
        return 0 if arguments else 2
    found = []
    for name in arguments:
        try:
            found.append(examine(Path(name)))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(line(Path(name), found[-1]))
    marked = [entry for entry in found if entry.watermarked]
    kept = sum(entry.after_jpeg > THRESHOLD for entry in marked)
    print(
        f"{sum(entry.provenance is not None for entry in found)} of {len(found)} with provenance, {len(marked)} with "
        f"the watermark, which {kept} of these {len(marked)} keep after JPEG at quality {QUALITY}."
    )
    return 0 if all(entry.provenance is not None or entry.watermarked for entry in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
