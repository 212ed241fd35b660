"""Stored values of a DICOM file, decompressed."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_ldm.data.pixels.images import is_filled
from cxr_ldm.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
DAMAGED = "DICOM file is damaged, or no installed decoder knows its compression"
ANOTHER_SIZE = "DICOM file holds a picture of another size than its header states"
MOST_ABOVE = 0.05  # share of pixels whose bits above those stored are not as usual: an overlay covers no more
Padding = tuple[int, int] | None  # first and last stored value that stands for no pixel


class NotARadiograph(UserError):
    """A DICOM file that holds no single radiograph to show; the message is the reason alone."""


def stored_values(header: "Dataset") -> tuple[np.ndarray, int]:
    """Stored values as uint8 or uint16 [H, W], and what was added to make signed ones so.

    Bits above those stored (old files keep overlays there) are dropped.

    Raises:
        NotARadiograph: the pixels are not those of one grey picture of the stated rows, columns and bits.
    """
    from pydicom.pixels import pixel_array
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

    if "TransferSyntaxUID" not in header.file_meta:  # a file without its preamble: uncompressed, as it was parsed
        implicit, little = header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    check_frame(header)
    if header.file_meta.TransferSyntaxUID == JPEG_EXTENDED and header.BitsStored > 8:
        return _moved(header, _by_gdcm(header))
    try:
        # the bits above are dropped below, where there are any: pydicom would copy every image to make sure, and once
        # more to make it writable
        values = pixel_array(header, correct_unused_bits=False, view_only=True)
    except (RuntimeError, NotImplementedError) as error:  # pydicom says so of syntaxes without a decoder
        raise NotARadiograph(DAMAGED) from error
    if header.file_meta.TransferSyntaxUID == JPEGBaseline8Bit and is_filled(values):
        raise NotARadiograph("DICOM file is truncated or damaged")
    if values.shape != (header.Rows, header.Columns):  # frames that the header does not state, or half of its rows
        raise NotARadiograph(ANOTHER_SIZE)
    return _moved(header, values)


def check_frame(header: "Dataset") -> None:
    """Raises NotARadiograph where a compressed picture says that it is in colour, or of another size than the header.

    Decoders take the header's word and hand out scrambled rows, or crash.
    """
    from pydicom.encaps import generate_frames

    if not header.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    stated = coded_shape(next(generate_frames(header.PixelData, number_of_frames=1)))
    if stated is None:  # run lengths say nothing of their rows
        return
    if stated[2] != 1:
        raise NotARadiograph("DICOM file is in colour")
    if stated[:2] != (header.Rows, header.Columns):
        raise NotARadiograph(ANOTHER_SIZE)


def coded_shape(code: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that a JPEG, JPEG-LS or JPEG 2000 codestream states; None of anything else.

    By the frame header of ITU-T T.81, B.2.2 (JPEG-LS has the same, T.87 C.2.2) and the SIZ marker of T.800, A.5.1.
    """
    if code[:4] == b"\xff\x4f\xff\x51" and len(code) >= 42:
        right, lower, left, upper = (int.from_bytes(code[at : at + 4]) for at in (8, 12, 16, 20))
        return lower - upper, right - left, int.from_bytes(code[40:42])
    at = 2
    while code[:2] == b"\xff\xd8" and at + 10 <= len(code) and code[at] == 0xFF:
        marker = code[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(code[at + 5 : at + 7]), int.from_bytes(code[at + 7 : at + 9]), code[at + 9]
        else:
            at += 2 + int.from_bytes(code[at + 2 : at + 4])
    return None


def _moved(header: "Dataset", values: np.ndarray) -> tuple[np.ndarray, int]:
    """Decoded values without the bits above those stored, moved up where they are signed, and by how much."""
    # in this machine's byte order before the bits are looked at: a view would drop a big-endian file's
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    bits, allocated = int(header.BitsStored), 8 * values.itemsize
    unsigned: Any = values.view(np.uint8 if allocated == 8 else np.uint16)
    shift, largest = int(header.get("HighBit", bits - 1)) + 1 - bits, (1 << bits) - 1
    if shift > 0 and not _has_own_precision(header) and int(unsigned.max()) > largest:
        unsigned = unsigned >> shift
    if bits < allocated and (values.dtype.kind == "i" or int(unsigned.max()) > largest):
        above = np.bincount((unsigned >> bits).ravel())
        if values.dtype.kind != "i" and not _has_overlay(header) and 1 - above.max() / above.sum() > MOST_ABOVE:
            raise NotARadiograph(f"DICOM file stores larger values than the {bits} bits that its header states")
        unsigned = unsigned & unsigned.dtype.type(largest)
    if not header.PixelRepresentation:
        return unsigned, 0
    half = 1 << (bits - 1)
    return unsigned ^ unsigned.dtype.type(half), half  # two's complement, moved up by half its range


def _has_own_precision(header: "Dataset") -> bool:
    """Whether the pixels are a codestream's, which knows nothing of the place of bits in a word; run lengths do."""
    from pydicom.uid import RLELossless

    syntax = header.file_meta.TransferSyntaxUID
    return bool(syntax.is_encapsulated) and syntax != RLELossless


def _has_overlay(header: "Dataset") -> bool:
    """Whether the header places an overlay in bits of the pixels (60xx,0102)."""
    return any((group, 0x0102) in header for group in range(0x6000, 0x6020, 2))


def _by_gdcm(header: "Dataset") -> np.ndarray:
    """Values of a file of JPEG Extended (process 2 and 4) in 12 bits, which pydicom's own plugins do not decode."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(header.filename))
    if not reader.Read():
        raise NotARadiograph(DAMAGED)
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
