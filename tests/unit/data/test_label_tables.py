"""Tables with a column for each class, in the layouts of CheXpert and MIMIC-CXR-JPG."""

import gzip
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from small_pictures import picture

from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.readers.one_hot import sentences
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.errors import UserError

CONF = Path(__file__).resolve().parents[3] / "conf"
CLASSES = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def save(root: Path, name: str, number: int) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number)).save(root / name)


def read(kind: str, root: Path) -> list[Record | Rejected]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose(f"data/{kind}", overrides=[f"data.root={root}"])
    return list(instantiate(OmegaConf.create({"data": composed.data}).data.reader).records())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lines = ["Path,Sex,Cardiomegaly,Edema", "0.png,Male,1.0,", "1.png,Male,0.0,-1.0", "2.png,Male,,1.0", "3.png,Male,,"]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    for number in range(4):
        save(tmp_path, f"{number}.png", number)
    return tmp_path


ONE_HOT = {
    "csv": "train.csv",
    "image": "Path",
    "text": "Chest X-ray. {classes}",
    "patient": "none",
    "one_hot": ["Cardiomegaly", "Edema"],
}


def test_present_absent_uncertain_and_unknown_are_told_apart(root):
    records = list(TableReader(root, **ONE_HOT).records())
    assert [record.labels for record in records] == [["Cardiomegaly"], [], ["Edema"], None]
    assert [record.text for record in records] == [
        "Chest X-ray. Cardiomegaly.",
        "Chest X-ray. Possible pulmonary edema. No cardiomegaly.",
        "Chest X-ray. Pulmonary edema.",
        "Chest X-ray.",
    ]
    certainties = [{found["name"]: found["certainty"] for found in record.findings} for record in records]
    assert certainties[1] == {"edema": "uncertain", "cardiomegaly": "absent"}
    assert certainties[3] == {}


def test_a_table_with_reports_of_its_own_keeps_what_the_columns_say_among_the_findings(root):
    record = list(TableReader(root, **(ONE_HOT | {"text": "A picture of a {Sex}."})).records())[1]
    assert record.text == "A picture of a Male."
    assert {found["name"]: found["certainty"] for found in record.findings} == {
        "edema": "uncertain",
        "cardiomegaly": "absent",
    }


def test_such_a_column_is_no_list_of_classes(root):
    options = ONE_HOT | {"one_hot": [], "text": "Sex", "labels": ["Edema"]}
    with pytest.raises(
        UserError, match=r"names the column 'Edema', whose cells are -1.0, 1.0 and no classes; give .*one_"
    ):
        list(TableReader(root, **options).records())


def test_a_cell_that_says_something_else_rejects_its_row(root):
    (root / "train.csv").write_text("Path,Cardiomegaly,Edema\n0.png,large,\n1.png,2,\n2.png,True,no\n")
    results = list(TableReader(root, **ONE_HOT).records())
    assert [item.reason for item in results[:2]] == [
        "Cardiomegaly is 'large', and not 1, 0, -1 or nothing",
        "Cardiomegaly is '2', and not 1, 0, -1 or nothing",
    ]
    assert results[2].text == "Chest X-ray. Cardiomegaly. No pulmonary edema."


def test_the_usual_options_leave_the_settings_as_they_were(root, table_options):
    new = ("one_hot", "beside", "parts", "modality", "elsewhere")
    settings = TableReader(root, elsewhere=["b/{file}.png"], **table_options).settings()
    assert not set(new) & set(settings)
    assert TableReader(root, **ONE_HOT).settings()["one_hot"] == ["Cardiomegaly", "Edema"]
    assert TableReader(root, **(table_options | {"patient": "none"})).settings()["patient"] is None


@pytest.mark.parametrize("state", ["present", "absent", "uncertain"])
def test_our_findings_read_the_sentences_as_they_were_meant(state):
    known = sorted(
        set(CLASSES.split(",")) - {"No Finding", "Lung Lesion", "Pleural Other"}
    )  # ours names neither of these
    findings = read_findings(sentences(dict.fromkeys(CLASSES.split(",")[1:], state)))
    findings = [found for found in findings if found["name"] != "no finding"]  # what the absence of all amounts to
    assert {found["certainty"] for found in findings} == {state}
    assert len({found["name"] for found in findings}) == len(known)


@pytest.mark.parametrize("prefix", ["CheXpert-v1.0-small/", "CheXpert-v1.0/", ""])
def test_chexpert_is_read_by_its_config(tmp_path, prefix):
    header = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{CLASSES}"
    rows = [
        "patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
        "patient00002/study2/view1_frontal.jpg,Male,87,Frontal,PA,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
        "patient00002/study2/view2_lateral.jpg,Male,87,Lateral,,,,-1.0,1.0,,0,,,,,,,,",
        "patient00003/study1/view1_frontal.jpg,Male,50,Frontal,LL,1.0,,,,,,,,,,,,,",
    ]
    (tmp_path / "train.csv").write_text("\n".join([header, *(f"{prefix}train/{row}" for row in rows)]) + "\n")
    for number, row in enumerate(rows):
        save(tmp_path, f"train/{row.split(',')[0]}", number)
    first, second, third, fourth = read("chexpert", tmp_path)
    assert first.text == (
        "Chest X-ray, AP view, adult female. No acute cardiopulmonary abnormality. Support devices. No pneumothorax."
    )
    assert (first.labels, first.view, first.age, first.sex) == (["No Finding", "Support Devices"], "AP", 68.0, "female")
    assert (second.patient_id, second.study_id) == ("patient00002", "patient00002/study2")
    assert second.study_id == third.study_id != first.study_id
    assert second.labels == ["Lung Opacity", "Fracture"]
    assert "Possible cardiomegaly. Possible pulmonary edema." in second.text
    assert third.view == "lateral"
    assert third.text.startswith("Chest X-ray, lateral view, adult male.")
    assert fourth.reason == "AP/PA is 'LL'"  # a frontal picture by its other column


@pytest.mark.parametrize("packed", [True, False])
def test_mimic_is_read_by_its_config(tmp_path, packed):
    metadata = (
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns\n"
        "02aa,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544\n"
        "174f,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544\n"
        "e084,11000033,53911762,CHEST (PORTABLE AP),,2705,2539\n"
        "68b5,11000033,53911763,CHEST (PORTABLE AP),AP,2705,2539\n"
    )
    columns = sorted(CLASSES.split(","))
    cells = {"Cardiomegaly": "1.0", "Edema": "-1.0", "Pneumothorax": "0.0"}
    labels = (
        f"subject_id,study_id,{','.join(columns)}\n10000032,50414267,{','.join(cells.get(c, '') for c in columns)}\n"
    )
    for name, text in (("metadata", metadata), ("chexpert", labels)):
        path = tmp_path / f"mimic-cxr-2.0.0-{name}.csv"
        if packed:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text)
    for number, name in enumerate(["10/p10000032/s50414267/02aa", "10/p10000032/s50414267/174f"]):
        save(tmp_path, f"files/p{name}.jpg", number)
    save(tmp_path, "files/p11/p11000033/s53911763/68b5.jpg", 3)
    first, second, third, fourth = read("mimic", tmp_path)
    assert first.text == "Chest X-ray, PA view. Cardiomegaly. Possible pulmonary edema. No pneumothorax."
    assert (first.patient_id, first.study_id, first.labels) == ("10000032", "50414267", ["Cardiomegaly"])
    assert second.view == "lateral"
    assert third.reason == "no ViewPosition"
    assert (fourth.labels, fourth.text) == (None, "Chest X-ray, AP view.")


def test_a_packed_table_that_is_cut_short_is_refused(tmp_path):
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(b"file,note\n" * 50)[:-10])
    with pytest.raises(UserError, match=r"list.csv.gz is not a complete file of gzip"):
        list(TableReader(tmp_path, text="note", csv="list.csv.gz", image="file").records())


@pytest.mark.parametrize("place", ["images/{}.jpg", "png/{}.png"])
def test_hannover_is_read_as_published_and_as_repackaged(tmp_path, place):
    lines = ["patient_id,image_id,sex,age,projection", "p1,aa,f,61,pa", "p1,bb,f,61,ap", "p2,cc,m,,ap", "p3,dd,m,50,ap"]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    for number, name in enumerate(["aa", "bb", "cc"]):
        save(tmp_path, place.format(name), number)
    results = read("hannover", tmp_path)
    assert [item.image_id for item in results] == [f"images/{name}.jpg" for name in ("aa", "bb", "cc", "dd")]
    assert results[0].load().shape == picture(0).shape
    assert results[3] == Rejected(
        "images/dd.jpg", "image file is missing", f"{tmp_path}/images/dd.jpg or {tmp_path}/png/dd.png"
    )
