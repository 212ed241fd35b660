"""DICOM radiographs to grey levels in standard display: bone bright, the patient's right at the left of the image.

The grey scale follows DICOM PS3.3: modality transform (C.11.1), then values of interest (C.11.2: a table, a window,
or a percentile range where a file states neither), then the display's polarity (C.7.6.3.1.2 and C.11.6).

The decoder of compressed files (GDCM) can crash on damaged bytes; preparing reads DICOM in processes of their own.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cxr_ldm.data.images import MISSING, Grey, Table, Toned, UnreadableImage, Window, is_file, read_grey
from cxr_ldm.data.manifest import View
from cxr_ldm.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

MODALITIES = ("CR", "DX", "RG")  # computed, digital and film radiography
LATERAL = ("LL", "RL", "LLD", "RLD", "LATERAL", "LARGE LATERAL")
VIEWS: dict[str, View] = {"PA": "PA", "AP": "AP", **dict.fromkeys(LATERAL, "lateral")}  # type: ignore[dict-item]
PERCENTILES = (0.5, 99.5)  # of the pixels: the range shown where a file states none
MOST_PIXELS = 100_000_000  # a damaged header must not ask for all memory
SAMPLED = 1_000_000  # pixels above which percentiles are taken of a sixteenth of them

Voi = int | Literal["percentile"]


class NotARadiograph(UserError):
    """A DICOM file that holds no single radiograph to show; the message is the reason alone."""


@dataclass(frozen=True)
class Radiograph:
    """A decoded DICOM file.

    Attributes:
        image: what it stores and how to show it, in standard display; see `cxr_ldm.data.images.display`.
        view: by its header; None where that does not say.
        voi: where the grey scale comes from: "table", "window" or "percentile".
        turned: "left-right", "upside-down" or both, where Patient Orientation says that it was stored so.
    """

    image: Toned
    view: View | None
    voi: str
    turned: tuple[str, ...]


def read_dicom(path: Path, voi: Voi = 0) -> Radiograph:
    """Read a single-frame radiograph of 8 to 16 stored bits, compressed or not, with or without the Part 10 preamble.

    Args:
        path: the file.
        voi: number of the VOI table or window to show, where a file has several (a file with fewer shows its first);
            "percentile" takes the 0.5 to 99.5 % range of the pixels whatever the file says.

    Raises:
        UnreadableImage: the file is missing, damaged or no DICOM; no radiograph; without pixels; of several frames;
            in colour; not for display; or of a compression that no installed decoder knows.
        UserError: `voi` is impossible.
    """
    check_voi(voi)
    if not is_file(path):
        raise UnreadableImage(path, MISSING)
    from pydicom import dcmread
    from pydicom.config import disable_value_validation

    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")  # pydicom warns of values that are odd and harmless, file by file
        try:
            header = dcmread(path, force=True)
            check_radiograph(header)
            values, offset = stored_values(header)
            tone, source = tone_of(header, values, offset, voi)
            turned = orientation(header)
            view = view_of(header)
        except NotARadiograph as reason:
            raise UnreadableImage(path, str(reason)) from None
        except Exception as error:  # what a parser or decoder trips over in damaged bytes has no common type
            raise UnreadableImage(path, "DICOM file is truncated or damaged") from error
    if "left-right" in turned:
        values = values[:, ::-1]
    if "upside-down" in turned:
        values = values[::-1]
    return Radiograph(Toned(np.ascontiguousarray(values), tone), view, source, turned)


def load_dicom(path: Path, voi: Voi = 0) -> Toned:
    """The picture of `read_dicom` alone, as a `Record` loads it."""
    return read_dicom(path, voi).image


def is_dicom(path: Path) -> bool:
    """By its suffix: whatever is not called PNG or JPEG, since DICOM files often have no suffix at all."""
    return path.suffix.lower() not in (".png", ".jpg", ".jpeg")


def load_image(path: Path, voi: Voi = 0) -> Grey:
    """The picture of a DICOM, PNG or JPEG file."""
    return load_dicom(path, voi) if is_dicom(path) else read_grey(path)


def header_view(path: Path) -> View | None:
    """The view that a file's header states, read without its pixels; None where it states none or is unreadable."""
    from pydicom import dcmread
    from pydicom.config import disable_value_validation

    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        try:
            return view_of(dcmread(path, force=True, stop_before_pixels=True))
        except Exception:  # as in read_dicom, which names the reason once the image itself is read
            return None


def check_voi(voi: Voi) -> None:
    """Raises UserError unless `voi` is "percentile" or a number from 0."""
    if voi != "percentile" and (isinstance(voi, bool) or not isinstance(voi, int) or voi < 0):
        raise UserError(f"data.reader.voi={voi} must be 0, 1, … or percentile.")


def check_radiograph(header: "Dataset") -> None:
    """Raises NotARadiograph with the reason where a file is not one radiograph for display."""
    if "SOPClassUID" not in header and "Rows" not in header:
        raise NotARadiograph("not a DICOM file")
    modality = str(header.get("Modality", "") or "")
    if modality not in MODALITIES:
        stated = modality if re.fullmatch(r"\w{1,16}", modality) else "not stated"
        raise NotARadiograph(f"not a radiograph (modality {stated})")
    if "PixelData" not in header or not header.PixelData:
        raise NotARadiograph("DICOM file has no pixel data")
    if int(header.get("NumberOfFrames", 1) or 1) != 1:
        raise NotARadiograph("DICOM file has several frames")
    if header.SamplesPerPixel != 1 or header.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise NotARadiograph("DICOM file is in colour")
    if header.get("PresentationIntentType") == "FOR PROCESSING":
        raise NotARadiograph("DICOM file is raw data, for processing and not for display")
    if not 0 < header.Rows * header.Columns <= MOST_PIXELS:
        raise NotARadiograph("DICOM file states an impossible size")
    if header.BitsAllocated not in (8, 16) or not 8 <= header.BitsStored <= header.BitsAllocated:
        raise NotARadiograph("DICOM file does not store 8 to 16 bits")


def view_of(header: "Dataset") -> View | None:
    """The projection that View Position states; where it is silent, Patient Orientation tells lateral from frontal."""
    stated = VIEWS.get(str(header.get("ViewPosition", "") or "").strip().upper())
    if stated:
        return stated
    # The direction in which columns run: towards the left or right of the body, or towards its front or back.
    across = _directions(header)[0][:1]
    return "frontal" if across in ("L", "R") else "lateral" if across in ("A", "P") else None


def orientation(header: "Dataset") -> tuple[str, ...]:
    """What turns a frontal image into standard display; nothing where Patient Orientation is absent."""
    across, down = _directions(header)
    return ("left-right",) * across.startswith("R") + ("upside-down",) * down.startswith("H")


def _directions(header: "Dataset") -> tuple[str, str]:
    stated = header.get("PatientOrientation") or ()
    across, down = (str(word) for word in stated) if len(stated) == 2 and not isinstance(stated, str) else ("", "")
    return across, down


def stored_values(header: "Dataset") -> tuple[np.ndarray, int]:
    """Stored values as uint8 or uint16 [H, W], and what was added to make signed ones so.

    Bits above those stored (old files keep overlays there) are dropped.
    """
    from pydicom.pixels import pixel_array
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in header.file_meta:  # a file without its preamble: uncompressed, as it was parsed
        implicit, _ = header.original_encoding
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    try:
        # the bits above are dropped below, where there are any: pydicom would copy every image to make sure, and once
        # more to make it writable
        values = pixel_array(header, correct_unused_bits=False, view_only=True)
    except (RuntimeError, NotImplementedError) as error:  # pydicom says so of syntaxes without a decoder
        raise NotARadiograph("DICOM file is damaged, or no installed decoder knows its compression") from error
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


def tone_of(header: "Dataset", values: np.ndarray, offset: int, voi: Voi) -> tuple[Window | Table, str]:
    """How stored values are shown, and where that comes from: "table", "window" or "percentile"."""
    inverted = header.PhotometricInterpretation == "MONOCHROME1" or header.get("PresentationLUTShape") == "INVERSE"
    source, bounds = "percentile", None
    if voi != "percentile" and header.get("VOILUTSequence"):
        return _voi_table(header, offset, voi, inverted), "table"
    if voi != "percentile":
        bounds = window_bounds(header, voi)
        source = "window" if bounds else source
    if header.get("ModalityLUTSequence") or (bounds and header.get("VOILUTFunction") == "SIGMOID"):
        return _curve(header, values, offset, bounds, inverted), source
    slope, intercept = _rescale(header)
    if bounds is None:
        low, high = percentile_range(values)
    else:
        low, high = sorted((bound - intercept) / slope + offset for bound in bounds)
    return Window(low, high, inverted != (slope < 0)), source


def window_bounds(header: "Dataset", number: int) -> tuple[float, float] | None:
    """Modality values shown black and white by a window (PS3.3 C.11.2.1.2); None where the file states no usable one.

    LINEAR, the default, maps centre - 0.5 ± (width - 1) / 2; LINEAR_EXACT and SIGMOID centre ± width / 2.
    """
    centres, widths = (_numbers(header.get(name)) for name in ("WindowCenter", "WindowWidth"))
    # not strict: a file that states more of one than of the other still states the pairs that both have
    windows = [pair for pair in zip(centres, widths, strict=False) if np.isfinite(pair).all() and pair[1] >= 1]
    if not windows:
        return None
    centre, width = windows[number if number < len(windows) else 0]
    if header.get("VOILUTFunction") not in ("LINEAR_EXACT", "SIGMOID"):
        centre, width = centre - 0.5, max(width - 1, 1.0)
    return centre - width / 2, centre + width / 2


def percentile_range(values: np.ndarray) -> tuple[float, float]:
    """The values between which all but 0.5 % of the pixels lie at either end.

    >>> percentile_range(np.arange(1001, dtype=np.uint16)[None])
    (5.0, 995.0)
    """
    sample = values[::4, ::4] if values.size > SAMPLED else values
    cumulative = np.bincount(sample.ravel()).cumsum()
    ranks = [share / 100 * (sample.size - 1) for share in PERCENTILES]
    low, high = (float(np.searchsorted(cumulative, rank, side="right")) for rank in ranks)
    return low, high


def _rescale(header: "Dataset") -> tuple[float, float]:
    slope, intercept = (_numbers(header.get(name)) for name in ("RescaleSlope", "RescaleIntercept"))
    return (slope[0] if slope and slope[0] else 1.0), (intercept[0] if intercept else 0.0)


def _numbers(value: object) -> list[float]:
    """Values of a header entry that holds none, one or several."""
    if value is None or value == "":
        return []
    return [float(item) for item in value] if hasattr(value, "__iter__") else [float(value)]  # type: ignore[arg-type]


def _modality(header: "Dataset", offset: int) -> np.ndarray:
    """Modality value of every stored value, float64."""
    from pydicom.pixels import apply_modality_lut

    stored = np.arange(1 << int(header.BitsStored)) - offset
    return np.asarray(apply_modality_lut(stored, header), dtype=np.float64)


def _voi_table(header: "Dataset", offset: int, number: int, inverted: bool) -> Table:
    """The file's own table, from its smallest entry (black) to its largest (white)."""
    from pydicom.pixels import apply_voi

    tables = len(header.VOILUTSequence)
    # The lookup is by whole modality values, signed or not as the pixels are.
    modality = np.rint(_modality(header, offset)).astype(np.int64)
    shown = np.asarray(apply_voi(modality, header, index=number if number < tables else 0), dtype=np.float64)
    return Table.between(shown, shown.min(), shown.max(), inverted)


def _curve(
    header: "Dataset", values: np.ndarray, offset: int, bounds: tuple[float, float] | None, inverted: bool
) -> Table:
    """A modality table, a sigmoid window, or both."""
    modality = _modality(header, offset)
    if bounds is None:
        sample = modality[values[::4, ::4] if values.size > SAMPLED else values]
        low, high = np.percentile(sample, PERCENTILES)
        bounds = float(low), float(high)
    if header.get("VOILUTFunction") == "SIGMOID":
        centre, width = sum(bounds) / 2, bounds[1] - bounds[0]
        modality = 1 / (1 + np.exp(-4 * (modality - centre) / width))
        bounds = 0.0, 1.0
    return Table.between(modality, *bounds, inverted)
