"""DICOM radiographs to grey levels in standard display: bone bright, the patient's right at the left of the image.

The grey scale is that of `cxr_ldm.data.pixels.dicom_tone`, the values those of `cxr_ldm.data.pixels.dicom_pixels`.

The decoder of compressed files (GDCM) can crash on damaged bytes; preparing reads DICOM in processes of their own.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from cxr_ldm.data.pixels.dicom_file import read_file
from cxr_ldm.data.pixels.dicom_pixels import NotARadiograph, stored_values
from cxr_ldm.data.pixels.dicom_tone import Voi, tidy, tone_of, word
from cxr_ldm.data.pixels.images import MISSING, Grey, Toned, UnreadableImage, is_file, other_format, read_grey
from cxr_ldm.data.prepared.people import View, view_in
from cxr_ldm.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

# computed, digital and film radiography, and what is written for them against the standard
MODALITIES = ("CR", "DX", "RG", "DR", "XR", "RX")
# What a file without a modality is by its SOP class: of computed and of digital radiography, for presentation
RADIOGRAPHS = ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1")
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"  # digital radiography, raw
# Without these nothing says how the pixels are to be read.
NEEDED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation"),
)
SQUARE = (0.98, 1.02)  # height of a pixel over its width
DECUBITUS = ("LLD", "RLD")  # View Position of a patient who lies on a side, which is not taken for a frontal view
MOST_PIXELS = 100_000_000  # a damaged header must not ask for all memory


Modality = Literal["stated", "assume"]


@dataclass(frozen=True)
class Radiograph:
    """A decoded DICOM file.

    Attributes:
        image: what it stores and how to show it, in standard display; see `cxr_ldm.data.pixels.images.display`.
        view: by its header; None where that does not say.
        voi: where the grey scale comes from: "table", "window" or "percentile".
        turned: "transposed", "left-right", "upside-down", in this order: what set it upright, by Patient Orientation.
    """

    image: Toned
    view: View | None
    voi: str
    turned: tuple[str, ...]


def read_dicom(path: Path, voi: Voi = 0, modality: Modality = "stated") -> Radiograph:
    """Read a single-frame radiograph of 8 to 16 stored bits, compressed or not, with or without the Part 10 preamble.

    Args:
        path: the file.
        voi: number of the VOI table or window to show, where a file has several (a file with fewer shows its first);
            "percentile" takes the 0.5 to 99.5 % range of the pixels whatever the file says.
        modality: "stated" refuses a file that says neither by its modality nor by its SOP class that it is a
            radiograph; "assume" takes one that says nothing for a radiograph, as de-identified files are.

    Raises:
        UnreadableImage: the file is missing, damaged or no DICOM; no radiograph; without pixels; of several frames;
            in colour; not for display; blank; turned in a way that no rotation or mirror sets upright; or of a
            compression that no installed decoder knows.
        UserError: `voi` or `modality` is impossible.
    """
    check_voi(voi, modality)
    if not is_file(path):
        raise UnreadableImage(path, MISSING)
    with open(path, "rb") as file:
        other = other_format(file.read(16))
    if other is not None:
        raise UnreadableImage(path, f"image is a {other} file; PNG, JPEG and DICOM files are read")
    from pydicom.config import disable_value_validation

    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")  # pydicom warns of values that are odd and harmless, file by file
        try:
            header = read_file(path)
            check_radiograph(header, modality)
            tidy(header)
            values, offset = stored_values(header)
            tone, source = tone_of(header, values, offset, voi)
            turned = orientation(header)
            view = view_of(header)
        except NotARadiograph as reason:
            raise UnreadableImage(path, str(reason)) from None
        except Exception as error:  # what a parser or decoder trips over in damaged bytes has no common type
            raise UnreadableImage(path, "DICOM file is truncated or damaged") from error
    if "transposed" in turned:
        values = values.T
    if "left-right" in turned:
        values = values[:, ::-1]
    if "upside-down" in turned:
        values = values[::-1]
    return Radiograph(Toned(np.ascontiguousarray(values), tone), view, source, turned)


def load_dicom(path: Path, voi: Voi = 0, modality: Modality = "stated") -> Toned:
    """The picture of `read_dicom` alone, as a `Record` loads it."""
    return read_dicom(path, voi, modality).image


def is_dicom(path: Path) -> bool:
    """By its suffix: whatever is not called PNG or JPEG, since DICOM files often have no suffix at all."""
    return path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".jpe", ".jfif")


def load_image(path: Path, voi: Voi = 0, modality: Modality = "stated") -> Grey:
    """The picture of a DICOM, PNG or JPEG file."""
    return load_dicom(path, voi, modality) if is_dicom(path) else read_grey(path)


def header_view(path: Path) -> View | None:
    """The view that a file's header states, read without its pixels; None where it states none or is unreadable."""
    from pydicom.config import disable_value_validation

    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        try:
            return view_of(read_file(path, stop_before_pixels=True))
        except Exception:  # as in read_dicom, which names the reason once the image itself is read
            return None


def check_voi(voi: Voi, modality: Modality = "stated") -> None:
    """Raises UserError unless `voi` is "percentile" or a number from 0, and `modality` one of its words."""
    if modality not in get_args(Modality):
        raise UserError(f"data.reader.modality={modality} must be {' or '.join(get_args(Modality))}.")
    if voi != "percentile" and (isinstance(voi, bool) or not isinstance(voi, int) or voi < 0):
        raise UserError(f"data.reader.voi={voi} must be 0, 1, … or percentile.")


def check_radiograph(header: "Dataset", stated_or_assumed: Modality = "stated") -> None:
    """Raises NotARadiograph with the reason where a file is not one radiograph for display."""
    if "SOPClassUID" not in header and "Rows" not in header:
        raise NotARadiograph("not a DICOM file")
    modality, sop_class = (str(header.get(name, "") or "").strip() for name in ("Modality", "SOPClassUID"))
    if re.fullmatch(r"\w{1,16}", modality):
        if modality.upper() not in MODALITIES:
            raise NotARadiograph(f"not a radiograph (modality {modality})")
    elif stated_or_assumed != "assume" and sop_class not in RADIOGRAPHS:
        raise NotARadiograph("not a radiograph (modality not stated; data.reader.modality=assume takes such a file)")
    if "PixelData" not in header or not header.PixelData:
        raise NotARadiograph("DICOM file has no pixel data")
    missing = next((name for name in NEEDED if header.get(name) is None), None)
    if missing is not None:
        raise NotARadiograph(f"DICOM file does not state {missing}")
    if int(header.get("NumberOfFrames", 1) or 1) != 1:
        raise NotARadiograph("DICOM file has several frames")
    if header.SamplesPerPixel != 1 or word(header, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise NotARadiograph("DICOM file is in colour")
    if word(header, "PresentationIntentType") == "FOR PROCESSING" or sop_class == FOR_PROCESSING:
        raise NotARadiograph("DICOM file is raw data, for processing and not for display")
    if not 0 < header.Rows * header.Columns <= MOST_PIXELS:
        raise NotARadiograph("DICOM file states an impossible size")
    if header.BitsAllocated not in (8, 16) or not 8 <= header.BitsStored <= header.BitsAllocated:
        raise NotARadiograph("DICOM file does not store 8 to 16 bits")
    if header.PixelRepresentation not in (0, 1):
        raise NotARadiograph("DICOM file says neither that its values are signed nor that they are not")
    if not SQUARE[0] <= aspect_of(header) <= SQUARE[1]:
        raise NotARadiograph("pixels of the DICOM file are not square")


def aspect_of(header: "Dataset") -> float:
    """Height of a pixel over its width; 1 where the file does not say it."""
    for name in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"):
        stated = header.get(name)
        if stated is not None and not isinstance(stated, str) and hasattr(stated, "__len__") and len(stated) == 2:
            height, width = (float(each) for each in stated)
            if height > 0 and width > 0:
                return height / width
    return 1.0


def view_of(header: "Dataset") -> View | None:
    """The projection that View Position states; where it is silent, Patient Orientation tells lateral from frontal."""
    position = str(header.get("ViewPosition", "") or "").strip()
    stated = "lateral" if position.upper() in DECUBITUS else view_in(position)
    if stated:
        return stated
    # The direction across the body: towards its left or right, or towards its front or back.
    across, down = _directions(header)
    across = down if across in ("H", "F") else across
    return "frontal" if across in ("L", "R") else "lateral" if across in ("A", "P") else None


def orientation(header: "Dataset") -> tuple[str, ...]:
    """What turns an image into standard display, in this order; nothing where Patient Orientation is absent.

    Of the two directions, in which rows and in which columns run, one must be along the body (H, F) and the other
    across it (L, R, A, P); the first letter of each counts, and one that is not stated is as it should be.

    Raises:
        NotARadiograph: the two are not those of an upright, lying or mirrored picture, such as L and P.
    """
    across, down = _directions(header)
    lies = across in ("H", "F") and down in ("L", "R", "A", "P")
    if lies:
        across, down = down, across
    if across not in ("", "L", "R", "A", "P") or down not in ("", "H", "F"):
        raise NotARadiograph(f"patient orientation {across or '-'}, {down or '-'} is that of no upright picture")
    return ("transposed",) * lies + ("left-right",) * (across == "R") + ("upside-down",) * (down == "H")


def _directions(header: "Dataset") -> tuple[str, str]:
    """First letters of Patient Orientation, each empty where it is not stated and ? where it is none of DICOM's."""
    stated = header.get("PatientOrientation") or ()
    if isinstance(stated, str) or len(stated) != 2:
        return "", ""
    across, down = (str(word).strip().upper()[:1] for word in stated)
    return tuple(letter if letter in "LRAPHF" else "?" for letter in (across, down))  # type: ignore[return-value]
