"""What a table seems to mean, by the names of its columns."""

import pytest

from cxr_ldm.data.readers.proposal import columns, proposal
from cxr_ldm.errors import UserError


def proposed(names):
    rows = [{"file": f"{number}.png", "note": "Left effusion."} | dict.fromkeys(names, "x") for number in range(2)]
    return columns(["file", "note", *names], rows, ["0.png", "1.png"])


@pytest.mark.parametrize(
    ("names", "patient"),
    [
        (["Patient Age", "Patient ID"], "Patient ID"),
        (["patient_name", "patient_id"], "patient_id"),
        (["PatientName", "PatientID"], "PatientID"),
        (["personnel", "anon_patient_number"], "anon_patient_number"),
        (["subject", "mrn"], "mrn"),
        (["patient_name"], "patient_name"),
        (["patientid"], "patientid"),
        (["uid"], "uid"),
        (["personnel", "Patient Age", "patient_history", "uid_of_series"], None),
    ],
)
def test_the_patient_is_a_number_before_a_name_and_no_other_word(names, patient):
    assert proposed(names).get("patient") == patient


@pytest.mark.parametrize(
    ("names", "key", "column"),
    [
        (["reviewer", "review", "overview"], "view", None),
        (["reviewer", "ViewPosition"], "view", "ViewPosition"),
        (["average_age", "page"], "age", None),
        (["PatientAge"], "age", "PatientAge"),
        (["Patient Gender"], "sex", "Patient Gender"),
    ],
)
def test_a_word_within_another_is_none(names, key, column):
    assert proposed(names).get(key) == column


def test_pictures_that_cannot_be_read_are_not_proposed(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    (tmp_path / "t.csv").write_text("file,note\na.tif,Left effusion.\n")
    with pytest.raises(UserError, match="names one of the 0 PNG, JPEG or DICOM files below it"):
        proposal(tmp_path)
