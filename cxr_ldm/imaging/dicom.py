"""Synthetic images as DICOM: Secondary Capture files that no system can take for a patient's radiograph.

Why Secondary Capture (PS3.3 A.8.1) and not Digital X-Ray: a DX object states how a patient was exposed, by which device
and with what dose, and worklists, dose registries and CAD act on that. Nothing was exposed here. Secondary Capture says
only that there are pixels from outside the modality, and its Conversion Type has a value for these: SYN, synthetic.
Multi-frame Grayscale Byte SC would be right for a stack; here each image has a prompt and a seed of its own.

Why 8 bits: the decoder was trained on 8-bit grey, the PNG beside it has them, and both must hold the same pixels. The
window is written so that every viewer shows them as they are; without one, some stretch what they find.

Synthetic Data (0008,001C) of SOP Common says YES: for systems that know it, the one place to look. Older ones pass
over it. Conversion Type SYN, Image Type DERIVED, the descriptions and the name of the patient who does not exist say
the same to every reader. dciodvfy of 2022, which our tests ask, is older than the attribute and calls it unknown;
they except that one line. Left out as untrue: Quality Control Image (0028,0300), which means a phantom or a test of a
device.

Why not highdicom's SCImage: it writes Conversion Type DI, as of a device, demands an orientation that nobody states of
a lateral, takes the machine's clock for the time of capture, and would have to be imported before any DICOM is written.
What is left to take from it is less than what would be written over; a test holds its header beside ours.

Our own reader (`cxr_ldm.data.pixels.dicom`) refuses these files, since their modality is OT: a training set must not
fill with generated images unseen.
"""

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import cxr_ldm
from cxr_ldm.artifacts import write_json
from cxr_ldm.data.pixels.images import UnreadableImage
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.grids import to_uint8

if TYPE_CHECKING:
    from pydicom import Dataset

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PRIVATE_GROUP, PRIVATE_CREATOR, PROVENANCE = 0x0011, "CXR_LDM", 0x01
NAME, NOTICE = "SYNTHETIC^CXR_LDM", "Synthetic image, for research and teaching. Not for diagnosis."
LONGEST_COMMENT = 10240  # of an LT: characters by the standard, bytes for the validator
MODEL = "text-to-chest-X-ray latent diffusion"
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


def write_dicom(path: Path, pixels: Tensor | np.ndarray, facts: Mapping[str, Any], study: Study, number: int) -> None:
    """Write `dicom_bytes` to a file, and a JSON of the facts beside it."""
    path.write_bytes(dicom_bytes(pixels, facts, study, number))
    write_json(path.with_suffix(".json"), dict(facts))


def dicom_bytes(pixels: Tensor | np.ndarray, facts: Mapping[str, Any], study: Study, number: int) -> bytes:
    """One image as a DICOM file, uncompressed, 8 bits, MONOCHROME2: the same grey levels as the PNG.

    Args:
        pixels: `[1,H,W]` or `[H,W]` in [-1, 1], in standard display.
        facts: provenance, see `cxr_ldm.imaging.provenance`; its `patient` gives view, age and sex where stated. All
            images of a study are of one patient, so these are to be the same.
        study: of the batch.
        number: of the image in it, from 1.

    Raises:
        UserError: pixels of another shape, or with a NaN.
    """
    picture = torch.as_tensor(pixels)
    picture = picture[0] if picture.ndim == 3 and len(picture) == 1 else picture
    if picture.ndim != 2 or picture.numel() == 0 or not torch.isfinite(picture).all():
        raise UserError(f"DICOM: pixels of shape {tuple(picture.shape)} must be [1, H, W] or [H, W], without NaN.")
    buffer = BytesIO()
    dataset(to_uint8(picture), facts, study, number).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dataset(levels: np.ndarray, facts: Mapping[str, Any], study: Study, number: int) -> "Dataset":
    """The header by modules (PS3.3 A.8.1.3), the pixels, uint8 `[H,W]`, and the facts in a private block."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    header.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SpecificCharacterSet = "ISO_IR 192"  # UTF-8, before any text
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID
    patient = facts.get("patient") or {}
    for module in (
        patient_module(patient, study, "edit" in facts),
        study_and_series(study, "edit" in facts),
        equipment(),
        {"SyntheticData": "YES"},  # SOP Common (C.12.1)
        image_module(facts, patient, study, number),
        pixel_module(levels),
    ):
        for keyword, value in module.items():
            setattr(header, keyword, value)
    header.ContributingEquipmentSequence = [contribution(facts, study)]
    content = levels.tobytes()
    header.add_new(0x7FE00010, "OB", content + b"\0" * (len(content) % 2))
    block = header.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(PROVENANCE, "UT", json.dumps(dict(facts), ensure_ascii=False))
    return header


def patient_module(patient: Mapping[str, Any], study: Study, edited: bool = False) -> dict[str, Any]:
    """Patient (C.7.1.1) and Patient Study (C.7.2.2): nobody, of the age and sex that were asked for."""
    values = {
        "PatientName": NAME,
        "PatientID": study.identifier,
        "PatientBirthDate": "",
        "PatientSex": SEXES.get(str(patient.get("sex")), ""),
        "PatientComments": NOTICE,
    }
    if not edited:  # whether the pixels of another image tell who it was, nobody looked
        values |= {
            "PatientIdentityRemoved": "YES",
            "DeidentificationMethod": "Generated from text; no patient was imaged",
        }
    age = patient.get("age")
    if age is not None:
        values["PatientAge"] = f"{round(age):03d}Y" if age >= 2 else f"{round(12 * age):03d}M"
    return values


def study_and_series(study: Study, edited: bool = False) -> dict[str, Any]:
    """General Study (C.7.2.1) and General Series (C.7.3.1)."""
    return {
        "StudyInstanceUID": study.study_uid,
        "StudyDate": study.made.strftime("%Y%m%d"),
        "StudyTime": study.made.strftime("%H%M%S"),
        "TimezoneOffsetFromUTC": "+0000",
        "ReferringPhysicianName": "",
        "StudyID": study.identifier[-8:],
        "AccessionNumber": "",
        "StudyDescription": "Synthetic chest radiographs",
        "SeriesInstanceUID": study.series_uid,
        "SeriesNumber": "1",
        "SeriesDescription": "Synthetic, drawn anew from an image" if edited else "Synthetic, generated from text",
        "Modality": "OT",
        "BodyPartExamined": "CHEST",
    }


def equipment() -> dict[str, Any]:
    """General Equipment (C.7.5.1) and SC Equipment (C.8.6.1)."""
    return {
        "Manufacturer": "cxr_ldm",
        "ManufacturerModelName": MODEL,
        "SoftwareVersions": cxr_ldm.__version__,
        "ConversionType": "SYN",
    }


def contribution(facts: Mapping[str, Any], study: Study) -> "Dataset":
    """Item of Contributing Equipment (C.12.1): the model, known by the SHA-256 of its weights."""
    from pydicom import Dataset

    purpose, item = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109102", "DCM"
    purpose.CodeMeaning = "Processing Equipment"
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer = "cxr_ldm"
    item.ManufacturerModelName = MODEL
    item.SoftwareVersions = cxr_ldm.__version__
    item.DeviceSerialNumber = str(facts.get("bundle_sha256", ""))[:64]
    item.ContributionDateTime = study.made.strftime("%Y%m%d%H%M%S+0000")
    item.ContributionDescription = f"Drew the image from {'another and ' if 'edit' in facts else ''}a text"
    return item


def image_module(facts: Mapping[str, Any], patient: Mapping[str, Any], study: Study, number: int) -> dict[str, Any]:
    """General Image (C.7.6.1), SC Image (C.8.6.2) and VOI LUT (C.11.2)."""
    date, time = study.made.strftime("%Y%m%d"), study.made.strftime("%H%M%S")
    frontal = patient.get("view") != "lateral"
    chain = ", ".join(step["step"] for step in (facts.get("enhance") or {}).get("steps", []))
    way = "Drawn anew from another image and a text" if "edit" in facts else "Generated from text"
    how = f"{way} by a latent diffusion model (cxr_ldm {cxr_ldm.__version__})"
    values = {
        "InstanceNumber": str(number),
        # the patient's left is at the right of the image; to which side a lateral looks, nobody states
        "PatientOrientation": ["L", "F"] if frontal else "",
        "ImageType": ["DERIVED", "SECONDARY"],
        "DerivationDescription": f"{how}, enhanced by {chain}" if chain else how,
        "ContentDate": date,
        "ContentTime": time,
        "DateOfSecondaryCapture": date,
        "TimeOfSecondaryCapture": time,
        "ImageComments": comment(f"{NOTICE} Prompt: {facts.get('prompt', '')}"),
        "LossyImageCompression": "00",
        # 0 to 255 are black to white (C.11.2.1.2.1: center - 0.5 ± (width - 1) / 2)
        "WindowCenter": "128",
        "WindowWidth": "256",
    }
    if "edit" not in facts:
        values |= {"BurnedInAnnotation": "NO", "RecognizableVisualFeatures": "NO"}
    if patient.get("view") in ("PA", "AP"):
        values["ViewPosition"] = patient["view"]
    return values


def pixel_module(levels: np.ndarray) -> dict[str, Any]:
    """Image Pixel (C.7.6.3) without the pixels."""
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": levels.shape[0],
        "Columns": levels.shape[1],
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }


def comment(text: str) -> str:
    """A text as an LT may hold it (PS3.5 6.2): a blank for each control character, and no more than 10,240 bytes.

    >>> comment("a\\x07b\\nc")
    'a b\\nc'
    """
    shown = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
    return shown.encode()[:LONGEST_COMMENT].decode(errors="ignore")


def read_provenance(path: Path) -> dict[str, Any] | None:
    """The facts inside a file that `write_dicom` wrote; None for any other DICOM file.

    Raises:
        UnreadableImage: it is no DICOM file, or damaged.
    """
    return provenance_of(read_header(path))


def provenance_of(header: "Dataset") -> dict[str, Any] | None:
    """The facts in a header's private block; None where there is none of ours."""
    try:
        facts = json.loads(header.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[PROVENANCE].value)
    except (KeyError, ValueError, TypeError):
        return None
    return facts if isinstance(facts, dict) else None


def read_header(path: Path) -> "Dataset":
    """A DICOM file, its pixels not decoded yet; raises UnreadableImage where it is none."""
    from pydicom import dcmread

    try:
        return dcmread(path)
    except FileNotFoundError:
        raise UnreadableImage(path, "image file is missing") from None
    except Exception as error:  # what a parser trips over in damaged bytes has no common type
        raise UnreadableImage(path, "not a readable DICOM file") from error
