"""DICOM files with the header variety of the Indiana collection, around a drawn picture.

The kinds and their values occur in the headers of the collection's 7,469 files; the shares follow those of its frontal
images, with the rare ones raised so that a hundred files hold most. The stored values are those which the header's own
window turns back into the picture; where a header has no window, they span a range that is not written down.
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from cxr_ldm.data.phantom.patient import HEADER
from cxr_ldm.data.phantom.picture import Study

COMPUTED = "1.2.840.10008.5.1.4.1.1.1"  # Computed Radiography Image Storage
DIGITAL = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation
RLE_SHARE = 0.08
WIDTH_MM = 380  # of the picture: two image units


@dataclass(frozen=True)
class Kind:
    """One combination of values, as one make of machine writes it; None is an absent element."""

    share: float
    photometric: str
    lut_shape: str | None
    bits: int
    # (centre, width) as written; "own": drawn for each image; "three": drawn, with a harder and a softer one beside it
    window: tuple[str, str] | str | None
    rescale: tuple[str, str, str] | None = None  # slope, intercept, type
    orientation: tuple[str, str] | None = None
    sop_class: str = COMPUTED
    modality: str = "CR"
    image_type: tuple[str, ...] | None = ("DERIVED", "PRIMARY")
    names_view: bool = True


STANDARD, MIRRORED = ("L", "F"), ("R", "F")  # where the columns and the rows of the stored picture lead
LOG_E, P_VALUES, US, US_LONG = (
    ("1", "0", "LOG_E REL"),
    ("1", "0", "P-VALUES"),
    ("1", "0", "US"),
    ("1.000", "0.000", "US"),
)
WHOLE_10, WHOLE_12, WHOLE_15 = ("511", "1023"), ("2048", "4096"), ("16383.500", "32767.000")
RESAMPLED, PROCESSED = ("DERIVED", "SECONDARY", "", "CSA RESAMPLED"), ("DERIVED", "PRIMARY", "POST_PROCESSED")
ORIGINAL = ("ORIGINAL", "PRIMARY", "")
M1, M2 = "MONOCHROME1", "MONOCHROME2"
KINDS = (
    Kind(0.33, M1, None, 12, None, LOG_E, STANDARD),
    Kind(0.01, M1, None, 12, None, LOG_E, MIRRORED),
    Kind(0.02, M1, None, 12, WHOLE_12, image_type=None),
    Kind(0.02, M1, None, 10, None, US, image_type=PROCESSED, names_view=False),
    Kind(0.01, M1, None, 10, WHOLE_10, US, image_type=PROCESSED, names_view=False),
    Kind(0.07, M1, "INVERSE", 15, ("16384", "16384"), P_VALUES, STANDARD),
    Kind(0.03, M1, "INVERSE", 15, None, P_VALUES, STANDARD),
    Kind(0.29, M2, "IDENTITY", 12, "own", image_type=RESAMPLED, names_view=False),
    Kind(0.03, M2, "IDENTITY", 12, None),
    Kind(0.03, M2, "IDENTITY", 12, ("2047.0", "4095.0"), US, STANDARD, DIGITAL, image_type=ORIGINAL),
    Kind(0.11, M2, "IDENTITY", 15, WHOLE_15, US_LONG, STANDARD, DIGITAL),
    Kind(0.02, M2, "IDENTITY", 14, "three", US, STANDARD, DIGITAL, "DX", ORIGINAL),
    Kind(0.02, M2, None, 12, WHOLE_12),
    Kind(0.01, M2, None, 15, WHOLE_15, names_view=False),
)


@dataclass(frozen=True)
class Header:
    """What was drawn for one file."""

    kind: Kind
    windows: tuple[tuple[float, float], ...]  # (centre, width); the first made the stored values
    rle: bool


def draw_header(seed: int, index: int) -> Header:
    """Header of one study's file, the same for the same arguments."""
    generator = np.random.default_rng([seed, HEADER, index])
    shares = np.array([kind.share for kind in KINDS])
    kind = KINDS[int(generator.choice(len(KINDS), p=shares / shares.sum()))]
    return Header(kind, _windows(kind, generator), bool(generator.random() < RLE_SHARE))


def _windows(kind: Kind, generator: np.random.Generator) -> tuple[tuple[float, float], ...]:
    if isinstance(kind.window, tuple):
        return ((float(kind.window[0]), float(kind.window[1])),)
    top = 2**kind.bits
    if kind.window == "three":  # one centre; half of each of these windows lies below it
        width = int(generator.integers(2000, 3500))
        centre = float(generator.integers(4400, 4900))
        return ((centre, float(width)), (centre, float(round(0.75 * width))), (centre, float(round(1.5 * width))))
    width = int(generator.integers(int(0.45 * top), int(0.95 * top)))
    low = int(generator.integers(0, top - width))
    return ((float(low + (width + 1) // 2), float(width)),)


def stored(picture: np.ndarray, header: Header) -> np.ndarray:
    """Pixel values that the header's first window shows as the picture, uint16 [H, W].

    The linear function of DICOM PS3.3 C.11.2.1.2.1, solved for the stored value.

    Args:
        picture: grey levels in [0, 255], bone bright, standard display.
    """
    shown = picture / np.float64(255)
    if header.kind.photometric == "MONOCHROME1":  # the lowest value is shown white
        shown = 1 - shown
    if header.kind.orientation == MIRRORED:  # the first column is the patient's left
        shown = shown[:, ::-1]
    centre, width = header.windows[0]
    values = np.rint((shown - 0.5) * (width - 1) + centre - 0.5)
    return np.clip(values, 0, 2**header.kind.bits - 1).astype("<u2")


def dicom_bytes(picture: np.ndarray, study: Study, header: Header, patient_id: str, comment: str) -> bytes:
    """A whole DICOM file; nothing in it depends on the time or the place of its making.

    Args:
        picture: grey levels in [0, 255], float [H, W], standard display.
        study: who was drawn.
        header: how it is written.
        patient_id: of the collection; UIDs follow from it and `comment`.
        comment: where the picture comes from; the file says that it is generated.
    """
    kind, pixels = header.kind, stored(picture, header)
    data = _identity(study, kind, patient_id, comment)
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = kind.photometric
    data.Rows, data.Columns = pixels.shape
    data.ImagerPixelSpacing = [_decimal(round(WIDTH_MM / pixels.shape[1], 4))] * 2
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, kind.bits, kind.bits - 1, 0
    if kind.window is not None:
        texts = kind.window if isinstance(kind.window, tuple) else None
        data.WindowCenter = texts[0] if texts else [_decimal(centre) for centre, _ in header.windows]
        data.WindowWidth = texts[1] if texts else [_decimal(width) for _, width in header.windows]
        if kind.window == "three":
            data.WindowCenterWidthExplanation = ["NORMAL", "HARDER", "SOFTER"]
    if kind.rescale is not None:
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = kind.rescale
    if kind.lut_shape is not None:
        data.PresentationLUTShape = kind.lut_shape
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    data.file_meta = _file_meta(data)
    if header.rle:
        data.compress(RLELossless, generate_instance_uid=False)
    target = io.BytesIO()
    dcmwrite(target, data, enforce_file_format=True)
    return target.getvalue()


def _identity(study: Study, kind: Kind, patient_id: str, comment: str) -> Dataset:
    """Patient, study and acquisition; the birthday is New Year's, so that the age is right on any day of the year."""
    data, year = Dataset(), 2012
    day = int(hashlib.sha256(comment.encode()).hexdigest()[:4], 16) % 336
    data.SpecificCharacterSet = "ISO_IR 100"
    if kind.image_type:
        data.ImageType = list(kind.image_type)
    data.SOPClassUID, data.SOPInstanceUID = kind.sop_class, _uid(comment, "image")
    data.StudyDate = f"{year}{day // 28 + 1:02d}{day % 28 + 1:02d}"
    data.Modality = kind.modality
    data.PatientName = data.PatientID = patient_id
    data.PatientBirthDate = f"{year - study.anatomy.age}0101"
    data.PatientSex = study.anatomy.sex[0].upper()
    data.PatientAge = f"{study.anatomy.age:03d}Y"
    data.BodyPartExamined = "CHEST"
    if kind.names_view:
        data.ViewPosition = study.position.view
    data.StudyInstanceUID, data.SeriesInstanceUID = _uid(comment, "study"), _uid(comment, "series")
    data.SeriesNumber, data.InstanceNumber = 1, 1
    if kind.orientation:
        data.PatientOrientation = list(kind.orientation)
    data.ImageComments = comment
    if kind.sop_class == DIGITAL:
        data.PresentationIntentType = "FOR PRESENTATION"
        data.PixelIntensityRelationship, data.PixelIntensityRelationshipSign = "LOG", -1
    data.LossyImageCompression = "00"
    return data


def _file_meta(data: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = _uid("cxr_ldm", "writer"), "CXR_LDM"
    return meta


def _uid(*parts: str) -> UID:
    """A UID under 2.25 that follows from the text.

    >>> _uid("a") == _uid("a") != _uid("b"), len(_uid("a")) <= 64
    (True, True)
    """
    return UID(f"2.25.{int(hashlib.sha256('|'.join(parts).encode()).hexdigest()[:32], 16)}")


def _decimal(value: float) -> str:
    return f"{value:g}"
