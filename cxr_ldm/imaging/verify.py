"""python -m cxr_ldm.imaging.verify FILE…: does a file say that it is synthetic, and do its pixels?

For each file a line: the provenance in its text, its signature (C2PA), the watermark in its pixels, and whether that
outlives another JPEG at quality 80. Exit code 0 where every file has the watermark, 1 where one has not, 2 for bad
input.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxr_ldm.commands.cli import one_sentence
from cxr_ldm.data.pixels.images import UnreadableImage, read_grey, to_uint8
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.dicom import provenance_of, read_header
from cxr_ldm.imaging.grids import KEY
from cxr_ldm.imaging.signature import signed
from cxr_ldm.imaging.watermark import THRESHOLD, as_jpeg, false_alarm, score

QUALITY = 80
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # how PNG and JPEG files begin, whatever they are called


@dataclass(frozen=True)
class Finding:
    """What a file carries.

    Attributes:
        provenance: the facts in its text, None without.
        score: of the watermark in its pixels.
        after_jpeg: the same after a JPEG of quality 80.
        signed: by whom by C2PA, and whether the file is still the same; None without, or where c2pa-python is not here.
    """

    provenance: dict[str, Any] | None
    score: float
    after_jpeg: float
    signed: tuple[str, str] | None = None

    @property
    def marked(self) -> bool:
        return self.score > THRESHOLD

    @property
    def outlives(self) -> bool:
        return self.marked and self.after_jpeg > THRESHOLD


def examine(path: Path) -> Finding:
    """Read a PNG, JPEG or DICOM file; raises UnreadableImage where it cannot be read."""
    facts, levels = picture(path) if begins(path).startswith(PICTURES) else dicom(path)
    return Finding(facts, score(levels), score(as_jpeg(levels, QUALITY)), signed(path))


def begins(path: Path) -> bytes:
    """The first bytes of a file; raises UnreadableImage where there are none to be had."""
    try:
        with open(path, "rb") as file:
            return file.read(8)
    except FileNotFoundError:
        raise UnreadableImage(path, "image file is missing") from None
    except OSError as error:
        raise UnreadableImage(path, f"cannot be read ({error.strerror})") from None


def picture(path: Path) -> tuple[dict[str, Any] | None, np.ndarray]:
    """Facts and grey levels of a PNG or JPEG file."""
    levels = read_grey(path)
    try:
        with Image.open(path) as file:
            file.load()  # text may stand behind the pixels
            facts = json.loads(file.info.get(KEY, "null"))
    except Exception:  # a text of this name that is none of ours, or damaged
        facts = None
    return facts if isinstance(facts, dict) else None, levels


def dicom(path: Path) -> tuple[dict[str, Any] | None, np.ndarray]:
    """Facts and grey levels of a DICOM file; of deeper ones than ours the range is brought to 8 bits."""
    try:
        header = read_header(path)
    except UnreadableImage:
        raise UnreadableImage(path, "not a readable PNG, JPEG or DICOM file") from None
    try:
        levels = header.pixel_array
    except Exception as error:  # as of a decoder in damaged bytes
        raise UnreadableImage(path, "the pixels of this DICOM file cannot be read") from error
    if levels.ndim != 2:
        raise UnreadableImage(path, "DICOM file holds no single grey picture")
    return provenance_of(header), to_uint8(levels)


def line(path: Path, found: Finding) -> str:
    """One line for people."""
    facts, kept = found.provenance or {}, "outlives" if found.outlives else "does not outlive"
    seed = f"seed {facts['seed']}" if "seed" in facts else f"seeds {facts.get('seeds', '?')}"
    origin = f"provenance of {facts.get('software', '?')}, {seed}" if facts else "no provenance"
    # the bound underflows for large images
    chance = f"score {found.score:.1f}, by chance at most {max(false_alarm(found.score), 1e-300):.1e}"
    if found.signed is not None:
        origin += f"; signed (C2PA) by {found.signed[0]}, {found.signed[1].lower()}"
    if not found.marked:
        return f"{path}: {origin}; no watermark ({chance})"
    return f"{path}: {origin}; watermark found ({chance}); {kept} JPEG at quality {QUALITY} ({found.after_jpeg:.1f})"


def main(names: Sequence[str]) -> int:
    """Examine each file, print a line for it and a last one for all; the exit code.

    Raises:
        UserError: no file is named, or one cannot be read.
    """
    if any(name in ("-h", "--help") for name in names):
        print(__doc__)
        return 0
    if not names:
        raise UserError("no file is named; python -m cxr_ldm.imaging.verify FILE… takes PNG, JPEG and DICOM files.")
    found = []
    for name in names:
        found.append(examine(Path(name)))
        print(line(Path(name), found[-1]))
    marked, kept = sum(entry.marked for entry in found), sum(entry.outlives for entry in found)
    share = (
        f", which {kept} of these {marked} keep after JPEG at quality {QUALITY} ({kept / marked:.0%})" if marked else ""
    )
    stated = sum(entry.provenance is not None for entry in found)
    print(f"{stated} of {len(found)} files with provenance, {marked} with the watermark{share}.")
    return 0 if marked == len(found) else 1


if __name__ == "__main__":
    with one_sentence():
        sys.exit(main(sys.argv[1:]))
