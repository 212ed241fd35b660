"""Opening a DICOM file of unknown origin: what it would grow to is bounded before anything is inflated."""

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_ldm.data.pixels.dicom_pixels import NotARadiograph

if TYPE_CHECKING:
    from pydicom import Dataset

DEFLATED = "1.2.840.10008.1.2.1.99"  # the transfer syntax whose whole data set is one zlib stream
MOST_BYTES = 256 << 20  # of an inflated data set: an uncompressed radiograph of 100 million pixels, and its header
BLOCK = 1 << 20


def read_file(path: Path, **options: Any) -> "Dataset":
    """`pydicom.dcmread` of a file with or without the Part 10 preamble.

    Args:
        options: of dcmread.

    Raises:
        NotARadiograph: a deflated data set would grow beyond MOST_BYTES.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info, read_preamble

    with open(path, "rb") as file:
        read_preamble(file, force=True)
        start = file.tell()
    if start:  # without a preamble there is no transfer syntax, and nothing is inflated
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") == DEFLATED:
            check_inflated(path, start + meta.FileMetaInformationGroupLength)
    return dcmread(path, force=True, **options)


def check_inflated(path: Path, start: int) -> None:
    """Raises NotARadiograph where the zlib stream that begins at or after byte `start` inflates beyond MOST_BYTES."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    grown = 0
    with open(path, "rb") as file:
        file.seek(start + 12)  # the group's length element itself: tag, type and value
        packed = file.read(BLOCK)
        while packed and not inflate.eof:
            grown += len(inflate.decompress(packed, BLOCK))
            if grown > MOST_BYTES:
                raise NotARadiograph(f"DICOM file inflates beyond {MOST_BYTES >> 20} MB")
            packed = inflate.unconsumed_tail or file.read(BLOCK)
