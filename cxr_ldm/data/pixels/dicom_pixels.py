"""Stored values of a DICOM file, decompressed."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_ldm.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
Padding = tuple[int, int] | None  # first and last stored value that stands for no pixel


class NotARadiograph(UserError):
    """A DICOM file that holds no single radiograph to show; the message is the reason alone."""


def stored_values(header: "Dataset") -> tuple[np.ndarray, int]:
    """Stored values as uint8 or uint16 [H, W], and what was added to make signed ones so.

    Bits above those stored (old files keep overlays there) are dropped.
    """
    from pydicom.pixels import pixel_array
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in header.file_meta:  # a file without its preamble: uncompressed, as it was parsed
        implicit, little = header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    if header.file_meta.TransferSyntaxUID == JPEG_EXTENDED and header.BitsStored > 8:
        return _moved(header, _by_gdcm(header))
    try:
        # the bits above are dropped below, where there are any: pydicom would copy every image to make sure, and once
        # more to make it writable
        values = pixel_array(header, correct_unused_bits=False, view_only=True)
    except (RuntimeError, NotImplementedError) as error:  # pydicom says so of syntaxes without a decoder
        raise NotARadiograph("DICOM file is damaged, or no installed decoder knows its compression") from error
    return _moved(header, values)


def _moved(header: "Dataset", values: np.ndarray) -> tuple[np.ndarray, int]:
    """Decoded values without the bits above those stored, moved up where they are signed, and by how much."""
    # in this machine's byte order before the bits are looked at: a view would drop a big-endian file's
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    bits, allocated = int(header.BitsStored), 8 * values.itemsize
    unsigned: Any = values.view(np.uint8 if allocated == 8 else np.uint16)
    shift = int(header.get("HighBit", bits - 1)) + 1 - bits
    if shift > 0:
        unsigned = unsigned >> shift
    largest = (1 << bits) - 1
    if bits < allocated and (shift > 0 or values.dtype.kind == "i" or int(unsigned.max()) > largest):
        unsigned = unsigned & unsigned.dtype.type(largest)
    if not header.PixelRepresentation:
        return unsigned, 0
    half = 1 << (bits - 1)
    return unsigned ^ unsigned.dtype.type(half), half  # two's complement, moved up by half its range


def _by_gdcm(header: "Dataset") -> np.ndarray:
    """Values of a file of JPEG Extended (process 2 and 4) in 12 bits, which pydicom's own plugins do not decode."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(header.filename))
    if not reader.Read():
        raise NotARadiograph("DICOM file is damaged, or no installed decoder knows its compression")
    data = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")  # gdcm hands bytes over as text
    kind = np.dtype(np.int16 if header.PixelRepresentation else np.uint16)
    return np.frombuffer(data, kind).reshape(header.Rows, header.Columns)


def padding_of(header: "Dataset", offset: int) -> Padding:
    """First and last of the values of `stored_values` that stand for no pixel at all (PS3.3 C.7.5.1.1.2), or None.

    They fill what lies beyond the picture, and count in no range of its values.
    """
    stated = [header.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if not isinstance(stated[0], int):
        return None
    # unsigned or signed as the parser took them, the bits are the same; moved up as in stored_values
    largest = (1 << int(header.BitsStored)) - 1
    ends = sorted((value & largest) ^ offset for value in stated if isinstance(value, int))
    return ends[0], ends[-1]
