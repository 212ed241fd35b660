"""Other programs on our DICOM files: dicom-validator by highdicom's tables of the standard, and highdicom itself."""

import json
from functools import cache
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import torch
from dicom_validator.validator.dicom_info import DicomInfo
from dicom_validator.validator.error_handler import ValidationResultHandlerBase
from dicom_validator.validator.iod_validator import IODValidator
from highdicom.sc import SCImage
from pydicom.datadict import DicomDictionary, tag_for_keyword
from pydicom.tag import Tag

from cxr_ldm.imaging.dicom import SECONDARY_CAPTURE, Study, write_dicom
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.imaging.provenance import provenance

TABLES = Path(highdicom.__file__).parent / "_standard"
IOD = "secondary-capture-image"
# of projection radiographs, and not of the object: a standard extended SOP class may hold it (PS3.4 B.4.1)
EXTENDED = {("General", "ViewPosition")}
FACTS = provenance(prompt="Mass.", seed=0, steps=20, guidance=1.0, sampler="ddim", bundle_sha256="ab" * 32)


def text(tag):
    """A tag as dicom-validator's tables have it."""
    return f"({tag.group:04X},{tag.element:04X})"


def placed(attributes):
    """Attributes of a module as a tree: those of an item below "items" of their sequence."""
    tree = {}
    for each in sorted(attributes, key=lambda entry: len(entry["path"])):
        level = tree
        for sequence in each["path"]:
            level = level[text(Tag(tag_for_keyword(sequence)))].setdefault("items", {})
        tag = tag_for_keyword(each["keyword"])
        if tag is not None:
            level[text(Tag(tag))] = {"name": each["keyword"], "type": each["type"]}
    return tree


@cache
def standard():
    """PS3.3 of Secondary Capture, whose tables dicom-validator would fetch from the publisher."""
    modules = json.loads((TABLES / "iod_module_map.json").read_text())[IOD]
    attributes = json.loads((TABLES / "module_attribute_map.json").read_text())
    found = {each["key"]: placed(attributes[each["key"]]) for each in modules}
    uses = {each["key"]: {"ref": each["key"], "use": each["usage"]} for each in modules}
    iods = {SECONDARY_CAPTURE: {"title": IOD, "modules": uses, "group_macros": {}}}
    words = {text(Tag(tag)): {"name": row[2], "vr": row[0], "vm": row[1]} for tag, row in DicomDictionary.items()}
    return DicomInfo(words, iods, found)


def errors_of(header):
    """What dicom-validator finds wrong, as module and attribute."""
    result = IODValidator(header, standard(), error_handler=ValidationResultHandlerBase()).validate()
    found = {(module, int(each.tag)) for module, errors in result.module_errors.items() for each in errors}
    return {(module, pydicom.datadict.keyword_for_tag(tag)) for module, tag in found}


@pytest.fixture
def header(tmp_path):
    image = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    facts = {**FACTS, "patient": {"age": 7, "sex": "female", "view": "AP"}}
    write_dicom(tmp_path / "a.dcm", image, facts, Study.new(), 1)
    return pydicom.dcmread(tmp_path / "a.dcm"), image


def test_dicom_validator_finds_nothing_wrong(header):
    assert errors_of(header[0]) == EXTENDED
    del header[0].ViewPosition
    assert errors_of(header[0]) == set()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("ConversionType", None), ("Modality", None), ("StudyInstanceUID", ""), ("PatientAge", "7"), ("KVP", "80")],
)
def test_dicom_validator_is_listened_to(header, keyword, value, monkeypatch):
    """What is missing, empty, ill-formed, or of an object that says how somebody was exposed."""
    wrong = header[0]
    if value is None:
        delattr(wrong, keyword)
    else:
        monkeypatch.setattr(pydicom.config.settings, "_writing_validation_mode", pydicom.config.IGNORE)
        setattr(wrong, keyword, value)
    assert keyword in {name for _, name in errors_of(wrong)}


def test_highdicom_reads_the_same_levels(header):
    file, image = header
    frame = highdicom.Image.from_dataset(file).get_frame(1, dtype=np.uint8, apply_voi_transform=False)
    assert np.array_equal(frame, to_uint8(image[0]))


def test_highdicom_writes_what_would_be_untrue_here(header):
    """Why its SCImage does not take the place of our writer; where this fails, look at it again."""
    file, image = header
    shared = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
    uids = dict(zip(shared, (file.StudyInstanceUID, file.SeriesInstanceUID, pydicom.uid.generate_uid()), strict=True))
    rest = {"photometric_interpretation": "MONOCHROME2", "bits_allocated": 8, "coordinate_system": "PATIENT"}
    rest |= {"series_number": 1, "instance_number": 1, "manufacturer": "cxr_ldm"}
    theirs = SCImage(to_uint8(image[0]), **uids, **rest, patient_orientation=("L", "F"))
    assert theirs.pixel_array.tobytes() == file.pixel_array.tobytes()
    assert (theirs.ConversionType, file.ConversionType) == ("DI", "SYN")
    with pytest.raises(TypeError, match="orientation is required"):
        SCImage(to_uint8(image[0]), **uids, **rest)  # a lateral, of which nobody says to which side it looks
    ours = {element.keyword for element in file if element.keyword}
    assert {"SyntheticData", "WindowCenter", "DerivationDescription", "ImageComments"} <= ours - {
        element.keyword for element in theirs
    }
