"""Open-i in both layouts, on files written as they are published."""

import json
import tarfile

import numpy as np
import pytest
from dicom_files import file_of, written
from dicom_files import picture as grey_picture
from PIL import Image
from small_pictures import picture

from cxr_ldm.data.pixels.images import display
from cxr_ldm.data.prepared.making import dry_run, prepare, sift
from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.openi import OpenIReader
from cxr_ldm.errors import UserError

SPLITS = {"seed": 0, "val": 0.1, "test": 0.1}
REPORT = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR{uid}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText>
<AbstractText Label="INDICATION">Cough, pneumonia</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText>
<AbstractText Label="IMPRESSION">{impression}</AbstractText>
</Abstract></Article></MedlineCitation>
<MeSH><major>Pleural Effusion/left/small</major><major>Pleural Effusion/right</major><major>Cardiomegaly</major></MeSH>
{images}</eCitation>"""

SECTIONS = {
    1: ("The XXXX is  large.", "1. Effusion."),
    2: ("", "Normal chest x-XXXX."),
    10: ("Clear lungs.", "XXXX."),
    11: ("Clear lungs.", "Normal."),
}
# XML id, name in the Kaggle edition, projection
IMAGES = [
    (1, "CXR1_1_IM-0001-4001", "1_IM-0001-4001.dcm.png", "Frontal"),
    (1, "CXR1_1_IM-0001-3001", "1_IM-0001-3001.dcm.png", "Lateral"),
    (2, "CXR2_IM-0652-1001", "2_IM-0652-1001.dcm.png", "Frontal"),
    (10, "CXR10_IM-0002-1001-0002", "10_IM-0002-1001-0002.dcm.png", "Frontal"),
    (11, "CXR11_IM-0067-1001", "11_IM-0067-1001.dcm.png", "Frontal"),
]
REASONS = {
    "CXR1_IM-0001-3001": "lateral",
    "CXR2_IM-0652-1001": "report has no findings",
    "CXR10_IM-0002-1001-0002": "report has no impression",
}


def write_xml(root, images=True):
    (root / "ecgen-radiology").mkdir(parents=True)
    for uid, (findings, impression) in SECTIONS.items():
        names = [xml for number, xml, _, _ in IMAGES if number == uid]
        named = "".join(f'<parentImage id="{name}"><figureId>F1</figureId></parentImage>' for name in names)
        text = REPORT.format(uid=uid, findings=findings, impression=impression, images=named)
        (root / "ecgen-radiology" / f"{uid}.xml").write_text(text)
    if images:
        (root / "NLMCXR_png").mkdir()
        for number, (_, xml, _, _) in enumerate(IMAGES):
            Image.fromarray(picture(number)).convert("RGB").save(root / "NLMCXR_png" / f"{xml}.png")


def write_projections(root):
    rows = [f"{uid},{name},{projection}" for uid, _, name, projection in IMAGES]
    (root / "indiana_projections.csv").write_text("uid,filename,projection\n" + "\n".join(rows) + "\n")


def write_kaggle(root):
    (root / "images" / "images_normalized").mkdir(parents=True)
    write_projections(root)
    rows = [
        f'{uid},x,Pleural Effusion;Cardiomegaly,image,"Cough, pneumonia",None.,"{findings}","{impression}"'
        for uid, (findings, impression) in SECTIONS.items()
    ]
    header = "uid,MeSH,Problems,image,indication,comparison,findings,impression"
    (root / "indiana_reports.csv").write_text(header + "\n" + "\n".join(rows) + "\n")
    for number, (_, _, name, _) in enumerate(IMAGES):
        Image.fromarray(picture(number)).convert("RGB").save(root / "images" / "images_normalized" / name)


@pytest.fixture(params=["xml", "archive", "kaggle"])
def root(request, tmp_path):
    if request.param == "kaggle":
        write_kaggle(tmp_path)
        return tmp_path
    write_xml(tmp_path)
    write_projections(tmp_path)
    if request.param == "archive":
        with tarfile.open(tmp_path / "NLMCXR_reports.tgz", "w:gz") as archive:
            archive.add(tmp_path / "ecgen-radiology", "ecgen-radiology")
        for path in (tmp_path / "ecgen-radiology").iterdir():
            path.unlink()
        (tmp_path / "ecgen-radiology").rmdir()
    return tmp_path


def test_every_layout_gives_the_same_records(root):
    results = list(OpenIReader(root).records())
    first, last = (item for item in results if isinstance(item, Record))
    assert (first.image_id, first.study_id, first.patient_id) == ("CXR1_IM-0001-4001", "CXR1", "1")
    assert (first.text, first.view) == ("The is large. Effusion.", "frontal")
    assert first.labels == ["Pleural Effusion", "Cardiomegaly"]
    np.testing.assert_array_equal(first.load(), picture(0))
    np.testing.assert_array_equal(last.load(), picture(4))
    assert {item.image_id: item.reason for item in results if isinstance(item, Rejected)} == REASONS


def test_extensions_in_capitals_are_read_in_every_layout(root):
    expected = {item.image_id for item in OpenIReader(root).records() if isinstance(item, Record)}
    for path in [*root.glob("NLMCXR_png/*"), *root.glob("images/images_normalized/*")]:
        path.rename(path.with_suffix(".PNG"))
    table = root / "indiana_projections.csv"
    table.write_text(table.read_text().replace(".dcm.png", ".DCM.PNG"))
    records = [item for item in OpenIReader(root).records() if isinstance(item, Record)]
    assert {item.image_id for item in records} == expected
    np.testing.assert_array_equal(records[0].load(), picture(0))


def test_dicom_files_in_capitals_and_in_linked_folders_are_read(tmp_path):
    write_xml(tmp_path, images=False)
    elsewhere = tmp_path / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    (tmp_path / "NLMCXR_dcm").mkdir()
    (tmp_path / "NLMCXR_dcm" / "11").symlink_to(tmp_path / "elsewhere")
    header = file_of(grey_picture(), ViewPosition="PA")
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    del header.Modality
    written(header, elsewhere / "11_IM-0067-1001.DCM")
    (record,) = (item for item in OpenIReader(tmp_path, modality="assume").records() if isinstance(item, Record))
    assert (record.image_id, record.view, record.isolate) == ("CXR11_IM-0067-1001", "PA", True)
    np.testing.assert_allclose(display(record.load()).astype(int), grey_picture(), atol=1)
    assert OpenIReader(tmp_path, modality="assume").settings()["modality"] == "assume"
    assert "modality" not in OpenIReader(tmp_path).settings()


def test_a_dry_run_says_how_many_images_are_not_there(tmp_path):
    write_xml(tmp_path, images=False)
    write_projections(tmp_path)
    counts = dry_run(OpenIReader(tmp_path))
    assert (counts["accepted"], counts["without an image file"]) == (2, 2)
    folder = tmp_path / "NLMCXR_png"
    folder.mkdir()
    for number, (_, xml, _, _) in enumerate(IMAGES):
        Image.fromarray(picture(number)).save(folder / f"{xml}.png")
    assert "without an image file" not in dry_run(OpenIReader(tmp_path))


def test_sections_and_views_are_chosen_by_config(root):
    reader = OpenIReader(root, sections=["indication", "impression"], frontal_only=False)
    texts = {item.image_id: item.text for item in reader.records() if isinstance(item, Record)}
    assert texts["CXR2_IM-0652-1001"] == "Cough, pneumonia Normal chest x-ray."
    assert "CXR1_IM-0001-3001" in texts
    with pytest.raises(UserError, match="must be one or more of comparison, indication, findings, impression"):
        list(OpenIReader(root, sections=["history"]).records())


def test_a_view_that_nothing_says_is_not_guessed(tmp_path):
    write_xml(tmp_path)
    assert {item.reason for item in OpenIReader(tmp_path).records()} == {"view unknown"}
    kept = [item for item in OpenIReader(tmp_path, frontal_only=False).records() if isinstance(item, Record)]
    assert {record.view for record in kept} == {None}


def test_reports_count_without_any_image_folder(tmp_path):
    write_xml(tmp_path, images=False)
    write_projections(tmp_path)
    assert sum(isinstance(item, Record) for item in OpenIReader(tmp_path).records()) == 2


def test_a_missing_image_is_a_reason(tmp_path):
    write_xml(tmp_path)
    write_projections(tmp_path)
    (tmp_path / "NLMCXR_png" / "CXR11_IM-0067-1001.png").unlink()
    tried = f"{tmp_path}/NLMCXR_png/CXR11_IM-0067-1001.png"
    assert Rejected("CXR11_IM-0067-1001", "image file is missing", tried) in list(OpenIReader(tmp_path).records())


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><eCitation>&b;</eCitation>'

ENCODING = b'<?xml version="1.0" encoding="ptf-8"?><eCitation/>'


@pytest.mark.parametrize("content", [b"<eCitation><uId>", b"", BOMB, b"\x00\x01", ENCODING])
def test_a_bad_report_does_not_stop_the_rest(tmp_path, content):
    write_xml(tmp_path)
    write_projections(tmp_path)
    (tmp_path / "ecgen-radiology" / "11.xml").write_bytes(content)
    results = list(OpenIReader(tmp_path).records())
    assert Rejected("CXR11", "report is not readable XML") in results
    assert sum(isinstance(item, Record) for item in results) == 1


def test_what_is_no_open_i_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no Open-i reports"):
        list(OpenIReader(tmp_path).records())
    with pytest.raises(UserError, match="is not a folder"):
        list(OpenIReader(tmp_path / "gone").records())
    (tmp_path / "NLMCXR_reports.tgz").write_bytes(b"half an archive")
    with pytest.raises(UserError, match="is not a complete archive"):
        list(OpenIReader(tmp_path).records())


def test_the_steps_of_the_join_stand_in_the_dry_run_and_in_the_summary(root, tmp_path_factory):
    reader = OpenIReader(root)
    counts = dry_run(reader)
    removed = {"marks": 3, "numbers": 1, "stray punctuation": 1, "whitespace": 1, "words joined to marks": 0}
    steps = counts["steps"]
    assert steps.pop("removed") == removed
    assert steps == {
        "reports": 4,
        "images named": 5,
        "reports without findings": 1,
        "reports without impression": 0,
        "reports without an image": 0,
        "images frontal": 4,
        "images with findings and impression": 2,
        "reports of these images": 2,
    }
    folder = tmp_path_factory.mktemp("prepared") / "openi"
    prepared = prepare(reader, folder, Target(16), name="openi", splits={"seed": 0, "val": 0, "test": 0})
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == steps | {"removed": removed}
    assert [[found["name"] for found in row] for row in prepared.manifest["findings"]] == [
        ["pleural effusion"],
        ["lung opacity", "no finding"],
    ]


def test_findings_come_from_what_was_seen_not_from_what_was_asked(root):
    reader = OpenIReader(root, sections=["indication", "impression"])
    assert not any(
        found["name"] == "pneumonia" for item in reader.records() if isinstance(item, Record) for found in item.findings
    )


def write_dicom(root, views):
    """The images as DICOM files in folders by report; `views` says what each header states."""
    for (uid, _, kaggle, _), view in zip(IMAGES, views, strict=True):
        folder = root / "NLMCXR_dcm" / str(uid)
        folder.mkdir(parents=True, exist_ok=True)
        extra = {"ViewPosition": view} if view else {}
        image = file_of(grey_picture(), photometric="MONOCHROME1", window="three", **extra)
        written(image, folder / kaggle.removesuffix(".png"))


def test_dicom_folders_are_read_and_their_headers_tell_frontal_from_lateral(tmp_path):
    write_xml(tmp_path, images=False)
    write_dicom(tmp_path, ["PA", "LL", "PA", "AP", None])
    records, rejected = sift(OpenIReader(tmp_path))
    assert {record.image_id: record.view for record in records} == {"CXR1_IM-0001-4001": "PA"}
    assert {item.image_id: item.reason for item in rejected} == {**REASONS, "CXR11_IM-0067-1001": "view unknown"}
    image = display(records[0].load())
    assert np.abs(image.astype(int) - grey_picture()).max() <= 1
    write_projections(tmp_path)
    records, _ = sift(OpenIReader(tmp_path))
    assert {record.image_id for record in records} == {"CXR1_IM-0001-4001", "CXR11_IM-0067-1001"}


def test_a_damaged_dicom_file_is_rejected_with_its_reason(tmp_path):
    write_xml(tmp_path, images=False)
    write_projections(tmp_path)
    write_dicom(tmp_path, [None] * 5)
    path = tmp_path / "NLMCXR_dcm" / "11" / "11_IM-0067-1001.dcm"
    path.write_bytes(path.read_bytes()[:-100])
    prepared = prepare(OpenIReader(tmp_path), tmp_path / "out", Target(16), name="x", splits=SPLITS)
    summary = json.loads((prepared.folder / "summary.json").read_text())
    assert len(prepared) == 1
    assert summary["rejected"]["DICOM file is truncated or damaged"] == 1
