"""What a table says of its files: stretched, lying, flagged, incomplete; and several readers as one."""

import csv

import cv2
import numpy as np
import pytest

from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.joined import JoinedReader
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.errors import UserError

HEADER = ["file", "uid", "findings", "impression", "rows", "cols", "flag", "Problems"]


def disc(rows: int, cols: int) -> np.ndarray:
    """A picture of this shape with a round disc in its middle, and a bright bar at its left edge."""
    y, x = np.mgrid[:rows, :cols]
    image = np.where((y - rows / 2) ** 2 + (x - cols / 2) ** 2 < (min(rows, cols) / 4) ** 2, 200, 20).astype(np.uint8)
    image[:, : cols // 10] = 120
    return image


@pytest.fixture
def root(tmp_path):
    """Six files of 64 × 64 pixels that were stretched from other shapes."""
    shapes = {"tall": (130, 100), "wide": (71, 100), "lying": (100, 130), "flagged": (100, 100), "torn": (100, 100)}
    rows = []
    for name, shape in shapes.items():
        picture = disc(*shape)
        picture[0, 0] = len(rows)  # no two are identical
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA))
        flag = "upside-down" if name == "flagged" else ""
        rows.append([f"{name}.png", name, "1. Clear  lungs XXXX.", "Normal.", *shape, flag, "normal;Lung"])
    rows[4][4] = "NaN"
    cv2.imwrite(str(tmp_path / "silent.png"), disc(80, 64)[:64])
    rows.append(["silent.png", "silent", "N/A", "Normal.", 64, 64, "", "None"])
    with open(tmp_path / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return tmp_path


def reader(root, **options) -> TableReader:
    usual = {"csv": "table.csv", "image": "file", "text": "{findings} {impression}", "patient": "uid", "cleaned": True}
    usual |= {"needed": ["findings", "impression"], "left_out": {"flag": ["upside-down"]}, "labels": ["Problems"]}
    return TableReader(root, **usual | {"separator": ";", "stretched": ["rows", "cols"]} | options)


def loaded(root, **options) -> dict[str, np.ndarray]:
    return {r.patient_id: r.load() for r in reader(root, **options).records() if isinstance(r, Record)}


def roundness(image: np.ndarray) -> float:
    """Height over width of the disc."""
    y, x = np.nonzero(image > 160)
    return float((y.max() - y.min() + 1) / (x.max() - x.min() + 1))


def test_a_stretched_picture_gets_its_shape_back(root):
    images = loaded(root)
    assert images["tall"].shape == (83, 64)
    assert images["wide"].shape == (64, 90)
    for name in ("tall", "wide", "lying"):
        assert roundness(images[name]) == pytest.approx(1.0, abs=0.06)


def test_a_lying_picture_is_set_upright_clockwise(root):
    images = loaded(root, turns={"lying.png": 90})
    upright = images["lying"]
    assert upright.shape == (83, 64)
    assert upright[:6].mean() == pytest.approx(120, abs=3)  # the bar of the left edge is at the top
    assert np.array_equal(loaded(root, turns={"lying.png": 180})["lying"], loaded(root)["lying"][::-1, ::-1])
    assert np.array_equal(loaded(root, turns={"lying.png": 270})["lying"], upright[::-1, ::-1])


def test_flagged_incomplete_and_shapeless_images_are_rejected_by_name(root):
    rejected = {r.image_id: r.reason for r in reader(root).records() if isinstance(r, Rejected)}
    assert rejected == {
        "flagged.png": "flag is 'upside-down'",
        "torn.png": "shape before it was stretched is unknown",
        "silent.png": "no findings",
    }


def test_texts_are_cleaned_and_classes_parted(root):
    first = next(iter(reader(root).records()))
    assert (first.text, first.labels) == ("Clear lungs. Normal.", ["normal", "Lung"])


@pytest.mark.parametrize(
    "mark",
    [
        "nan",
        "NaN",
        "None",
        "N/A",
        "n/a",
        "<NA>",
        "NULL",
        "-",
        ".",
        "?",
        "[]",
        "{}",
        "\u200b",
        "_x000D_",
        "<p></p>&nbsp;",
    ],
)
def test_a_mark_of_a_missing_value_is_no_text(tmp_path, mark):
    (tmp_path / "t.csv").write_text(f"file,note\na.png,{mark}\n", encoding="utf-8")
    (item,) = TableReader(tmp_path, csv="t.csv", image="file", text="note").records()
    assert item == Rejected("a.png", "no text")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"turns": {"a.png": 45}}, "90, 180 or 270"), ({"stretched": ["rows"]}, "must be two columns")],
)
def test_impossible_shapes_are_refused(root, options, words):
    with pytest.raises(UserError, match=words):
        reader(root, **options)


def test_settings_of_a_table_without_them_are_what_they_were(tmp_path):
    settings = TableReader(tmp_path, csv="t.csv", image="file", text="note").settings()
    assert not settings.keys() & {"separator", "cleaned", "needed", "left_out", "stretched", "turns"}
    assert reader(tmp_path).settings()["stretched"] == ["rows", "cols"]


def joined(root, **options) -> JoinedReader:
    return JoinedReader({"a": reader(root), "b": reader(root, left_out={})}, **options)


def test_readers_may_share_their_people_and_weigh_their_images(root, tmp_path):
    apart = [r for r in joined(root).records() if isinstance(r, Record)]
    assert len({r.patient_id for r in apart}) == len(apart) == 7
    shared = joined(root, patients={"b": "a"}, weights={"b": 0.5})
    records = [r for r in shared.records() if isinstance(r, Record)]
    assert {r.patient_id for r in records} == {"a/tall", "a/wide", "a/lying", "a/flagged"}
    assert {r.image_id.split("/")[0]: r.weight for r in records} == {"a": 1.0, "b": 0.5}
    splits = {"seed": 0, "val": 0.0, "test": 0.0}
    prepared = prepare(shared, tmp_path / "out", Target(16), name="joined", splits=splits)
    assert len(prepared) == 4  # the same files again are identical images
    assert sorted(prepared.draw_weights(prepared.rows("train"))) == [0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patients": {"c": "a"}}, "patients names 'c'"),
        ({"weights": {"c": 1}}, "weights names 'c'"),
        ({"weights": {"a": 0}}, "above 0"),
    ],
)
def test_readers_that_are_not_there_are_refused(root, options, words):
    with pytest.raises(UserError, match=words):
        joined(root, **options)
