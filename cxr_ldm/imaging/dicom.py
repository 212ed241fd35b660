"""Synthetic images as DICOM: Secondary Capture files that no system can take for a patient's radiograph.

Why Secondary Capture (PS3.3 A.8.1) and not Digital X-Ray: a DX object states how a patient was exposed, by which device
and with what dose, and worklists, dose registries and CAD act on that. Nothing was exposed here. Secondary Capture says
only that there are pixels from outside the modality, and its Conversion Type has a value for these: SYN, synthetic.
Multi-frame Grayscale Byte SC would be right for a stack; here each image has a prompt and a seed of its own.

Synthetic Data (0008,001C), the attribute that newer editions add to SOP Common for this, is left out: validators of
the installed base, among them the dciodvfy that our tests ask, take an unknown standard tag for an error. Conversion
Type SYN, Image Type DERIVED, the descriptions and the name of the patient who does not exist say it to every reader.

Our own reader (`cxr_ldm.data.dicom`) refuses these files, since their modality is OT: a training set must not fill with
generated images unseen.
"""

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

import cxr_ldm
from cxr_ldm.artifacts import write_json
from cxr_ldm.data.images import UnreadableImage
from cxr_ldm.imaging.grids import to_uint8

if TYPE_CHECKING:
    from pydicom import Dataset

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PRIVATE_GROUP, PRIVATE_CREATOR, PROVENANCE = 0x0011, "CXR_LDM", 0x01
NAME, NOTICE = "SYNTHETIC^CXR_LDM", "Synthetic image, for research and teaching. Not for diagnosis."
LONGEST_COMMENT = 10240  # characters of an LT
SEXES = {"female": "F", "male": "M"}


@dataclass(frozen=True)
class Study:
    """What a batch of related images shares.

    Attributes:
        study_uid, series_uid: new ones, derived from a random UUID (PS3.5 B.2).
        identifier: of the patient that does not exist.
        made: when.
    """

    study_uid: str
    series_uid: str
    identifier: str
    made: datetime.datetime

    @classmethod
    def new(cls) -> "Study":
        """A study that no other image belongs to."""
        from pydicom.uid import generate_uid

        study_uid = generate_uid(prefix=None)
        identifier = f"SYNTHETIC-{int(study_uid.rpartition('.')[2]) % 16**8:08X}"
        return cls(study_uid, generate_uid(prefix=None), identifier, datetime.datetime.now(datetime.UTC))


def write_dicom(path: Path, pixels: Tensor, facts: Mapping[str, Any], study: Study, number: int) -> None:
    """Write `dicom_bytes` to a file, and a JSON of the facts beside it."""
    path.write_bytes(dicom_bytes(pixels, facts, study, number))
    write_json(path.with_suffix(".json"), dict(facts))


def dicom_bytes(pixels: Tensor, facts: Mapping[str, Any], study: Study, number: int) -> bytes:
    """One image as a DICOM file, uncompressed, 8 bits, MONOCHROME2: the same grey levels as the PNG.

    Args:
        pixels: `[1,H,W]` in [-1, 1].
        facts: provenance, see `cxr_ldm.imaging.provenance`; its `patient` gives age and sex where stated.
        study: of the batch.
        number: of the image in it, from 1.
    """
    header = dataset(to_uint8(pixels[0]), facts, study, number)
    buffer = BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dataset(levels: np.ndarray, facts: Mapping[str, Any], study: Study, number: int) -> "Dataset":
    """The header by modules (PS3.3 A.8.1.3), and the pixels, uint8 `[H,W]`."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    date, time = study.made.strftime("%Y%m%d"), study.made.strftime("%H%M%S")
    patient = facts.get("patient") or {}
    uid = generate_uid(prefix=None)
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    header.file_meta.MediaStorageSOPInstanceUID = uid
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values: dict[str, Any] = {
        # SOP Common (C.12.1)
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": SECONDARY_CAPTURE,
        "SOPInstanceUID": uid,
        # Patient (C.7.1.1) and Patient Study (C.7.2.2): nobody
        "PatientName": NAME,
        "PatientID": study.identifier,
        "PatientBirthDate": "",
        "PatientSex": SEXES.get(str(patient.get("sex")), ""),
        "PatientComments": NOTICE,
        # General Study (C.7.2.1) and General Series (C.7.3.1)
        "StudyInstanceUID": study.study_uid,
        "StudyDate": date,
        "StudyTime": time,
        "ReferringPhysicianName": "",
        "StudyID": study.identifier[-8:],
        "AccessionNumber": "",
        "StudyDescription": "Synthetic chest radiographs",
        "SeriesInstanceUID": study.series_uid,
        "SeriesNumber": "1",
        "SeriesDescription": "Synthetic, generated from text",
        "Modality": "OT",
        "BodyPartExamined": "CHEST",
        # General Equipment (C.7.5.1) and SC Equipment (C.8.6.1)
        "Manufacturer": "cxr_ldm",
        "ManufacturerModelName": "text-to-chest-X-ray latent diffusion",
        "SoftwareVersions": cxr_ldm.__version__,
        "ConversionType": "SYN",
        # General Image (C.7.6.1) and SC Image (C.8.6.2)
        "InstanceNumber": str(number),
        "PatientOrientation": ["L", "F"],  # the patient's left is at the right of the image
        "ImageType": ["DERIVED", "SECONDARY"],
        "DerivationDescription": f"Generated from text by a latent diffusion model (cxr_ldm {cxr_ldm.__version__})",
        "ContentDate": date,
        "ContentTime": time,
        "DateOfSecondaryCapture": date,
        "TimeOfSecondaryCapture": time,
        "ImageComments": f"{NOTICE} Prompt: {facts.get('prompt', '')}"[:LONGEST_COMMENT],
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        # Image Pixel (C.7.6.3)
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": levels.shape[0],
        "Columns": levels.shape[1],
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
    for keyword, value in values.items():
        setattr(header, keyword, value)
    if patient.get("age") is not None:
        header.PatientAge = f"{round(patient['age']):03d}Y"
    content = levels.tobytes()
    header.add_new(0x7FE00010, "OB", content + b"\0" * (len(content) % 2))
    block = header.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(PROVENANCE, "UT", json.dumps(dict(facts), ensure_ascii=False))
    return header


def read_provenance(path: Path) -> dict[str, Any] | None:
    """The facts inside a file that `write_dicom` wrote; None for any other DICOM file.

    Raises:
        UnreadableImage: it is no DICOM file, or damaged.
    """
    header = read_header(path)
    try:
        text = header.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[PROVENANCE].value
        return json.loads(text)
    except (KeyError, ValueError, TypeError):
        return None


def read_header(path: Path) -> "Dataset":
    """A DICOM file, its pixels not decoded yet; raises UnreadableImage where it is none."""
    from pydicom import dcmread

    try:
        return dcmread(path)
    except FileNotFoundError:
        raise UnreadableImage(path, "image file is missing") from None
    except Exception as error:  # what a parser trips over in damaged bytes has no common type
        raise UnreadableImage(path, "not a readable DICOM file") from error
