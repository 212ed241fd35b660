"""Stored values of a DICOM file, decompressed."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_ldm.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset


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
    try:
        # the bits above are dropped below, where there are any: pydicom would copy every image to make sure, and once
        # more to make it writable
        values = pixel_array(header, correct_unused_bits=False, view_only=True)
    except (RuntimeError, NotImplementedError) as error:  # pydicom says so of syntaxes without a decoder
        raise NotARadiograph("DICOM file is damaged, or no installed decoder knows its compression") from error
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
