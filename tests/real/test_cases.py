"""The small inputs of ../shared/cases, each with its right value."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from cxr_ldm.commands.sample import read_prompts
from cxr_ldm.data.pixels.dicom import load_dicom, read_dicom
from cxr_ldm.data.pixels.images import UnreadableImage, display, read_grey
from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.nih import NIHReader
from cxr_ldm.data.readers.openi import OpenIReader
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.errors import UserError

pytestmark = pytest.mark.real


@pytest.fixture
def cases(shared) -> Path:
    folder = shared.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(255 * np.clip((values.astype(float) - low) / (float(high) - low), 0, 1))


def near(image: np.ndarray, expected: np.ndarray) -> bool:
    return image.shape == expected.shape and bool(np.abs(image.astype(float) - expected).max() <= 1)


def read(reader) -> list[Record | Rejected]:
    return list(reader.records())


def test_01_big_endian_values_are_those_of_pydicom(cases):
    header = pydicom.dcmread(cases / "01-big-endian" / "01_bigendian_u.dcm")
    witness = apply_voi_lut(apply_modality_lut(header.pixel_array, header), header)
    assert near(display(load_dicom(cases / "01-big-endian" / "01_bigendian_u.dcm")), scaled(witness, 0, 4095))
    path = cases / "01-big-endian" / "01_bigendian_nowin.dcm"
    stored = pydicom.dcmread(path).pixel_array
    assert near(display(load_dicom(path)), scaled(stored, *np.percentile(stored, [0.5, 99.5])))


def test_02_files_without_a_modality_are_read(cases):
    options = {"csv": "t.csv", "image": "file", "text": "text", "patient": "none"}
    records = read(TableReader(cases / "02-no-modality", modality="assume", **options))
    assert [display(record.load()).std() > 10 for record in records] == [True] * 3
    # their SOP class says it too
    assert [display(record.load()).std() > 10 for record in read(TableReader(cases / "02-no-modality", **options))]


def test_03_an_odd_exif_tag_does_not_stop_the_collection(cases):
    reader = TableReader(cases / "03-exif-crash", csv="t.csv", image="file", text="text", patient="none")
    assert [isinstance(Target(16).draw(record), tuple) for record in read(reader)] == [True, True]
    for name in ("1.jpg", "2.jpg"):
        with Image.open(cases / "03-exif-crash" / name) as file:
            orientation, size = file.getexif().get(0x0112, 1), file.size
        shape = read_grey(cases / "03-exif-crash" / name).shape
        assert shape == (size if orientation >= 5 else size[::-1])


def test_04_the_nih_list_of_2020_is_read_by_default(cases):
    records = read(NIHReader(cases / "04-nih-patient-sex"))
    assert [(record.sex, record.age) for record in records] == [("male", 20), ("female", 21), ("male", 22)]


def test_06_linked_folders_are_followed(cases, tmp_path):
    shutil.copytree(cases / "06-symlinked-folders", tmp_path / "raw")
    (tmp_path / "raw" / "root" / "classB").symlink_to("../elsewhere")
    options = {"files": "**/*.png", "pattern": "(?P<label>class.)", "text": "label", "patient": "none"}
    assert len(read(TableReader(tmp_path / "raw" / "root", **options))) == 8


def test_08_columns_of_one_class_each(cases):
    options = {"csv": "train.csv", "image": "Path", "text": "X-ray. {classes}", "patient": "none"}
    records = read(TableReader(cases / "08-onehot-labels", one_hot=["Cardiomegaly", "Edema"], **options))
    assert [record.labels for record in records] == [["Cardiomegaly"], [], ["Edema"], ["Cardiomegaly"]]
    assert records[1].text == "X-ray. Possible pulmonary edema. No cardiomegaly."
    with pytest.raises(UserError, match="data.reader.one_hot"):
        read(TableReader(cases / "08-onehot-labels", labels=["Cardiomegaly", "Edema"], **options | {"text": "Sex"}))


@pytest.mark.parametrize("image", ["{Image.Index}", "{Id:01d}.png"])
def test_09_templates_with_points_and_formats(cases, image):
    options = {"csv": "r.csv", "image": image, "text": "{Report.Text}", "patient": "none"}
    (record,) = read(TableReader(cases / "09-template-dots-and-formats", **options))
    assert (record.image_id, record.text) == ("0.png", "Clear lungs.")


def test_12_colour_of_16_bits_is_scaled_by_its_range(cases):
    grey = read_grey(cases / "12-rgb16-png" / "rgb16_12bit.png")
    colours = cv2.imread(str(cases / "12-rgb16-png" / "rgb16_12bit.png"), cv2.IMREAD_UNCHANGED)
    luma = colours @ np.array([0.114, 0.587, 0.299])
    assert near(grey, scaled(luma, luma.min(), luma.max()))


def test_13_padding_is_not_counted(cases):
    path = cases / "13-padding-value" / "06_padding_signed.dcm"
    stored = pydicom.dcmread(path).pixel_array
    chest = stored != -32768
    low, high = np.percentile(stored[chest], [0.5, 99.5])
    assert np.abs(display(load_dicom(path))[chest] - scaled(stored[chest], low, high)).max() <= 2
    assert len(np.unique(display(load_dicom(path))[chest])) > 200


def test_15_extensions_in_capitals_are_read(cases):
    results = read(OpenIReader(cases / "15-upper-case-extensions"))
    images = [item.image_id for item in results if isinstance(item, Record)]
    assert images == [f"CXR{number}_IM-0001-4001" for number in (1, 2, 3)]


def test_16_tables_without_data_and_commas(cases):
    folder = cases / "16-lut-items-empty-and-commas"
    path = folder / "05_emptylut_items.dcm"
    assert near(display(load_dicom(path)), scaled(pydicom.dcmread(path).pixel_array, 0, 4095))
    with pytest.raises(UnreadableImage, match=re.escape("07_comma.dcm: WindowCenter '20,5.0' is not a number")):
        load_dicom(folder / "07_comma.dcm")


def test_17_a_window_beside_the_values_gives_way_to_their_range(cases):
    radiograph = read_dicom(cases / "17-blank-pictures" / "09_window_off_white.dcm")
    assert radiograph.voi == "percentile"
    assert len(np.unique(display(radiograph.image))) > 200


def test_19_a_prompts_file_from_windows(cases):
    prompts = read_prompts(None, str(cases / "19-prompts-file-bom" / "prompts.txt"))
    assert prompts[:2] == ["Normal chest.", "Large right pleural effusion."]
    assert not any("\ufeff" in prompt for prompt in prompts)


def test_21_a_text_of_nan_is_no_text(cases):
    reader = TableReader(cases / "21-text-nan", csv="t.csv", image="file", text="text", patient="none")
    first, second = read(reader)
    assert (first, second.text) == (Rejected("0.png", "no text"), "Clear lungs.")
