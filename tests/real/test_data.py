"""The readers on the real collections of ../shared/data."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from cxr_ldm.data.pixels.dicom import read_dicom
from cxr_ldm.data.pixels.images import UnreadableImage, display
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.making import dry_run, prepare, sift
from cxr_ldm.data.prepared.manifest import Record
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.openi import OpenIReader
from cxr_ldm.data.readers.table import TableReader

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY.parent / "shared" / "data"
ROOTS = {"real": DATA, "nih": DATA / "nih_cxr", "openi": DATA / "iu_xray"}
ROOTS |= {kind: DATA / f"{kind}_cxr" for kind in ("kermany", "covid", "hannover")}

# What Open-i publishes, and what its Kaggle edition leaves of it.
JOIN = {
    "reports": 3955,
    "images named": 7470,
    "reports without findings": 530,
    "reports without impression": 34,
    "reports without an image": 104,
    "images frontal": 3818,
    "images with findings and impression": 3301,
    "reports of these images": 3193,
}
KAGGLE = {
    "reports": 3851,
    "images named": 7466,
    "reports without findings": 514,
    "reports without impression": 31,
    "reports without an image": 0,
}

pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here")]


def data_config(kind: str, *overrides: str):
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        composed = compose(f"data/{kind}", overrides=[f"data.root={ROOTS[kind]}", *overrides])
    return OmegaConf.create({"data": composed.data}).data


def prepared_from(config, folder: Path) -> Prepared:
    return prepare(
        instantiate(config.reader),
        folder,
        Target(config.size, config.fit),
        name=config.kind,
        kind=config.kind,
        splits=config.splits,
        limit=config.limit,
    )


@pytest.mark.parametrize(("layout", "listed"), [("csv", 7466), ("xml", 7470 + 104)])
def test_open_i_gives_the_3301_images_of_3193_reports(layout, listed):
    """Frontal, with findings and impression; all but two of the image files are not here."""
    reader = OpenIReader(ROOTS["openi"], layout=layout)
    counts = dry_run(reader)
    assert counts["listed"] == listed
    assert counts["rejected"]["lateral"] == 3648
    assert counts["accepted"] + counts["rejected"]["image file is missing"] == 3301
    assert {key: counts["steps"][key] for key in JOIN} == JOIN | ({} if layout == "xml" else KAGGLE)
    assert counts["steps"]["removed"]["marks"] > 3000 < 3 * counts["steps"]["removed"]["numbers"]


@pytest.fixture(scope="module")
def reports_alone(tmp_path_factory):
    """Readers of both editions of Open-i without an image folder, which read it once."""
    folder = tmp_path_factory.mktemp("reports")
    for path in ROOTS["openi"].iterdir():
        if path.is_file():
            (folder / path.name).symlink_to(path)
    readers = {layout: OpenIReader(folder, layout=layout) for layout in ("csv", "xml")}
    for reader in readers.values():
        reader.records = list(reader.records()).copy
    return readers


@pytest.mark.parametrize("layout", ["csv", "xml"])
def test_open_i_counts_reports_without_an_image_folder(reports_alone, layout):
    counts = dry_run(reports_alone[layout])
    assert (counts["accepted"], counts["studies"], counts["patients"]) == (3301, 3193, 3193)


def test_both_editions_of_open_i_say_the_same(reports_alone):
    published, kaggle = (
        {record.image_id: record for record in sift(reports_alone[layout])[0]} for layout in ("xml", "csv")
    )
    assert published.keys() == kaggle.keys()
    assert not any("XX" in record.text for record in published.values())
    different = [key for key in kaggle if published[key].text != kaggle[key].text]
    assert different == []
    different = [key for key in kaggle if set(published[key].labels) != set(kaggle[key].labels)]
    assert different == []


def test_the_open_i_images_that_are_here(tmp_path):
    prepared = prepared_from(data_config("openi"), tmp_path / "openi")
    assert list(prepared.manifest["image_id"]) == ["CXR25_IM-1024-2001", "CXR54_IM-2145-1001"]
    assert prepared.texts(np.array([1]))[0].endswith("No acute cardiopulmonary abnormality.")
    # The padded image is wider than high: bars above and below, the patient between them.
    assert prepared.images[1][:30].max() == 0 < prepared.images[1][60:200].min(axis=1).max()


def test_adults_and_children_as_one_set_without_a_shared_patient(tmp_path):
    """Defect 9b on the real files: Kermany's own folders would put 725 patients into two splits."""
    prepared = prepared_from(data_config("real", "data.size=16"), tmp_path / "real")
    manifest = prepared.manifest
    assert manifest["source"].value_counts().to_dict() == {"kermany": 5824, "nih": 856}
    assert manifest.groupby("patient_id")["split"].nunique().max() == 1
    assert manifest["patient_id"].nunique() == 580 + 3117  # one child is known by a copy of another image alone
    published = manifest[manifest["source"] == "kermany"]["image_id"].str.split("/").str[1]
    assert (published.groupby(manifest["patient_id"]).nunique() > 1).sum() == 720  # 725 with the identical images
    children = manifest[manifest["source"] == "kermany"]["text"].value_counts().to_dict()
    assert children == {
        "Frontal chest X-ray of a child. Bacterial pneumonia.": 2760,
        "Frontal chest X-ray of a child. Viral pneumonia.": 1485,
        "Frontal chest X-ray of a child. Normal, clear lungs.": 1579,
    }


def test_nih_texts_say_what_the_labels_say():
    records = [item for item in instantiate(data_config("nih").reader).records() if isinstance(item, Record)]
    assert len(records) == 856
    normal = [record for record in records if record.labels == ["No Finding"]]
    assert len(normal) == 430 == sum("No acute cardiopulmonary abnormality." in record.text for record in records)
    effusions = [record for record in records if "Effusion" in record.labels]
    assert len(effusions) == 78 == sum("pleural effusion" in record.text.lower() for record in records)
    assert {record.view for record in records} == {"AP", "PA"}
    present = [{f["name"] for f in record.findings if f["certainty"] == "present"} for record in records]
    assert sum("no finding" in names for names in present) == 430
    assert sum("pleural effusion" in names for names in present) == 78


@pytest.mark.parametrize(
    ("folder", "options", "images"),
    [
        (
            "covid_cxr",
            ["csv=metadata.csv", 'image="images/{filename}"', "text=clinical_notes", "patient=patientid", "view=view"],
            387,
        ),
        (
            "hannover_cxr",
            [
                "csv=data.csv",
                'image="images/{image_id}.jpg"',
                'text="Chest X-ray, {projection} view, COVID-19 patient."',
                "values={projection:{ap:AP,pa:PA}}",
                "patient=patient_id",
                "view=projection",
            ],
            243,
        ),
    ],
)
def test_other_collections_need_no_code_of_their_own(folder, options, images):
    ROOTS["table"] = DATA / folder
    config = data_config("table", *(f"++data.reader.{option}" for option in options))
    counts = dry_run(instantiate(config.reader))
    assert counts["listed"] == images
    assert counts["accepted"] > 0.5 * images, counts


@pytest.mark.parametrize(
    ("kind", "images", "patients"), [("kermany", 5856, 3118), ("covid", 387, 231), ("hannover", 243, 71)]
)
def test_published_sets_are_read_by_their_config_alone(kind, images, patients):
    reader = instantiate(data_config(kind).reader)
    assert isinstance(reader, TableReader)
    counts = dry_run(reader)
    assert (counts["listed"], counts["accepted"], counts["patients"]) == (images, images, patients)
    texts = [item.text for item in reader.records() if isinstance(item, Record)]
    assert all(text.startswith(("Chest X-ray", "Frontal chest X-ray")) for text in texts)
    assert not any("todo" in text or "  " in text for text in texts)


def test_the_dicom_files_that_are_here():
    """One says that it is a CT; the others are 8-bit radiographs, one of them compressed."""
    for name in ("test1", "test2", "cr_jpeg_baseline"):
        radiograph = read_dicom(DATA / "dicom" / f"{name}.dcm")
        image = display(radiograph.image)
        assert image.shape == (1024, 1024)
        assert image.std() > 30
        # the lungs, between the centre and the edge, are darker than the mediastinum
        assert image[400:600, 480:540].mean() > image[400:600, 250:350].mean()
    with pytest.raises(UnreadableImage, match=r"not a radiograph \(modality CT\)"):
        read_dicom(DATA / "dicom" / "test5.dcm")
