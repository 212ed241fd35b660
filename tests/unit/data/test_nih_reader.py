"""The NIH list becomes records with short reports."""

import numpy as np
import pytest
from PIL import Image
from small_pictures import picture

from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.readers.nih import NIHReader
from cxr_ldm.errors import UserError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    "00000001_000.png,Cardiomegaly|Emphysema|Effusion,0,1,58,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,No Finding,1,1,058Y,M,AP,2894,2729,0.143,0.143",
    "00000002_000.png,Pleural_Thickening,0,2,16,F,PA,2500,2048,0.171,0.171",
    "00000003_000.png,,0,3,81,F,PA,2500,2048,0.171,0.171",
]


def write(root, folders):
    (root / "Data_Entry_2017.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(root / folder / ROWS[number].split(",")[0])


@pytest.mark.parametrize("folders", [["images"] * 3, ["images_001/images", "images_002/images", "images_001/images"]])
def test_rows_become_records_wherever_the_images_lie(tmp_path, folders):
    write(tmp_path, folders)
    results = list(NIHReader(tmp_path).records())
    assert results.pop() == Rejected("00000003_000.png", "no labels")
    assert [record.text for record in results] == [
        "Chest X-ray, PA view, adult male. Cardiomegaly, emphysema and pleural effusion.",
        "Chest X-ray, AP view, adult male. No acute cardiopulmonary abnormality.",
        "Chest X-ray, PA view, adolescent female. Pleural thickening.",
    ]
    assert [record.labels for record in results][:2] == [["Cardiomegaly", "Emphysema", "Effusion"], ["No Finding"]]
    assert [record.patient_id for record in results] == ["1", "1", "2"]
    assert [record.sex for record in results] == ["male", "male", "female"]
    assert [record.age for record in results] == [58.0, 58.0, 16.0]
    names = [[found["name"] for found in record.findings] for record in results]
    assert names == [["cardiomegaly", "pleural effusion"], ["no finding"], ["pleural thickening"]]
    for number, record in enumerate(results):
        np.testing.assert_array_equal(record.load(), picture(number))
    assert len(NIHReader(tmp_path).files()) == 4


def test_missing_images_are_rejected_and_without_a_folder_still_counted(tmp_path):
    write(tmp_path, ["images"])
    assert [item.reason for item in NIHReader(tmp_path).records() if isinstance(item, Rejected)] == [
        "image file is missing",
        "image file is missing",
        "no labels",
    ]
    (tmp_path / "images" / "00000001_000.png").unlink()
    (tmp_path / "images").rmdir()
    assert sum(isinstance(item, Record) for item in NIHReader(tmp_path).records()) == 3


def test_a_list_of_something_else_is_refused(tmp_path):
    (tmp_path / "Data_Entry_2017.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has no column 'Image Index'; it has 'a', 'b'"):
        list(NIHReader(tmp_path).records())


def test_the_list_of_2020_is_read_where_that_of_2017_is_not_there(tmp_path):
    write(tmp_path, ["images"] * 3)
    records = [item for item in NIHReader(tmp_path).records() if isinstance(item, Record)]
    old = tmp_path / "Data_Entry_2017.csv"
    rows = [f"{line}," for line in old.read_text().replace("Patient Gender", "Patient Sex").splitlines()]
    later = tmp_path / "Data_Entry_2017_v2020.csv"
    later.write_text("\n".join(rows) + "\n")
    old.unlink()
    reader = NIHReader(tmp_path)
    again = [item for item in reader.records() if isinstance(item, Record)]
    assert [(item.image_id, item.text, item.sex, item.age) for item in again] == [
        (item.image_id, item.text, item.sex, item.age) for item in records
    ]
    assert reader.files()[0] == later
    assert reader.settings() == {"reader": "nih", "table": "Data_Entry_2017.csv"}
    later.write_text(later.read_text().replace("Patient Sex", "Sex"))
    with pytest.raises(UserError, match=r"v2020.csv has no column 'Patient Gender'; it has .*'Sex'"):
        list(reader.records())


def test_images_with_their_extension_in_capitals_are_found(tmp_path):
    write(tmp_path, ["images"] * 3)
    for path in (tmp_path / "images").iterdir():
        path.rename(path.with_suffix(".PNG"))
    reader = NIHReader(tmp_path)
    assert sum(isinstance(item, Record) for item in reader.records()) == 3
    assert len(reader.files()) == 4


def test_spaces_about_a_class_are_none_of_it_and_a_stroke_alone_is_no_class(tmp_path):
    write(tmp_path, ["images"])
    table = (tmp_path / "Data_Entry_2017.csv").read_text()
    for cell, labels in (("Effusion | Mass", ["Effusion", "Mass"]), ("|", None)):
        (tmp_path / "Data_Entry_2017.csv").write_text(table.replace("Cardiomegaly|Emphysema|Effusion", cell))
        first = next(NIHReader(tmp_path).records())
        if labels is None:
            assert first == Rejected("00000001_000.png", "no labels")
        else:
            assert (first.labels, first.text) == (
                labels,
                "Chest X-ray, PA view, adult male. Pleural effusion and lung mass.",
            )
