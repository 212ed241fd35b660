"""DICOM files of a known picture, with headers as they occur; shared by the tests that read them."""

from pathlib import Path

import cv2
import gdcm
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CR = "1.2.840.10008.5.1.4.1.1.1"


def picture(height: int = 40, width: int = 48) -> np.ndarray:
    """Grey levels 0–255, different at each corner, with more than 1 % of black and of white."""
    random = np.random.default_rng(0)
    smooth = cv2.resize(random.uniform(0, 255, (5, 6)), (width, height), interpolation=cv2.INTER_LINEAR)
    image = np.clip(np.rint(smooth), 0, 255).astype(np.uint8)
    image[:4, :12], image[-4:, -12:] = 0, 255
    return image


def file_of(
    image: np.ndarray,
    *,
    photometric: str = "MONOCHROME2",
    shape: str | None = None,
    bits: int = 12,
    signed: bool = False,
    low: int | None = None,
    span: int | None = None,
    window: str = "one",
    slope: float | None = None,
    intercept: float | None = None,
    **extra: object,
) -> Dataset:
    """A header and pixels that show `image` in standard display.

    Args:
        low, span: stored value at one end of the grey scale, and the distance to the other.
        window: "none", "one" or "three"; the first is the one that shows the picture.
    """
    allocated = 8 if bits <= 8 else 16
    smallest = -(1 << (bits - 1)) if signed else 0
    span = span if span is not None else (1 << bits) - 1
    low = low if low is not None else smallest
    inverted = photometric == "MONOCHROME1" or shape == "INVERSE"
    grey = (255 - image if inverted else image) / 255
    if slope is not None and slope < 0:
        grey = 1 - grey
    kind = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
    stored = np.rint(low + grey * span).astype(kind)

    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = CR
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = "1.2.3.4"
    header.Modality = "CR"
    header.PatientID, header.StudyInstanceUID, header.SeriesInstanceUID = "p1", "1.2.3", "1.2.3.5"
    header.Rows, header.Columns = image.shape
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = photometric
    header.BitsAllocated, header.BitsStored, header.HighBit = allocated, bits, bits - 1
    header.PixelRepresentation = int(signed)
    if shape:
        header.PresentationLUTShape = shape
    if slope is not None:
        header.RescaleSlope, header.RescaleIntercept = str(slope), str(intercept or 0)
    if window != "none":
        ends = sorted((end * (slope or 1) + (intercept or 0)) for end in (low, low + span))
        width, centre = ends[1] - ends[0] + 1, (ends[0] + ends[1]) / 2 + 0.5
        others = [(centre + 100, width / 2), (centre, width * 2)] if window == "three" else []
        pairs = [(centre, width), *others]
        header.WindowCenter = [f"{pair[0]:.6f}"[:16] for pair in pairs]
        header.WindowWidth = [f"{pair[1]:.6f}"[:16] for pair in pairs]
    for name, value in extra.items():
        setattr(header, name, value)
    header.PixelData = stored.tobytes()
    return header


def written(header: Dataset, path: Path) -> Path:
    """The header as a Part 10 file."""
    header.save_as(path, enforce_file_format=True)
    return path


def compressed(path: Path, syntax: int) -> Path:
    """The file once more in another transfer syntax, by GDCM's own encoders."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    target = path.with_name(f"{path.stem}_{syntax}.dcm")
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(target).file_meta.TransferSyntaxUID.is_compressed
    return target
