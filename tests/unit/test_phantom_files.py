"""The phantom's files: DICOM with the collection's variety of headers, reports, and the truth, byte for byte again."""

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from cxr_ldm import content
from cxr_ldm.data.phantom.files import image_name, read_truth, write_collection
from cxr_ldm.data.phantom.header import KINDS, MIRRORED, Header, Kind, dicom_bytes, draw_header, stored
from cxr_ldm.data.phantom.patient import first_study
from cxr_ldm.data.phantom.picture import draw
from cxr_ldm.data.phantom.reader import READ_AS, load_image, study_of, truth
from cxr_ldm.data.pixels.images import display
from cxr_ldm.data.readers.openi import OpenIReader
from cxr_ldm.errors import UserError

N, SIZE, SEED = 40, 48, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "out"
    write_collection(out, N, SIZE, SEED, workers=1)
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def displayed(data: pydicom.Dataset) -> np.ndarray:
    """Standard display by hand: the first window (PS3.3 C.11.2.1.2.1), the right way round, grey levels as float."""
    values = data.pixel_array.astype(float) * float(data.get("RescaleSlope", 1)) + float(
        data.get("RescaleIntercept", 0)
    )
    if "WindowCenter" in data:
        centre, width = (
            float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)
            for value in (data.WindowCenter, data.WindowWidth)
        )
        shown = (values - (centre - 0.5)) / (width - 1) + 0.5
    else:
        low, high = np.percentile(values, [0.5, 99.5])
        shown = (values - low) / (high - low)
    shown = 255 * np.clip(shown, 0, 1)
    if data.PhotometricInterpretation == "MONOCHROME1":
        shown = 255 - shown
    return shown[:, ::-1] if list(data.get("PatientOrientation", [])) == ["R", "F"] else shown


def written(kind: Kind, index: int, rle: bool = False) -> pydicom.Dataset:
    drawn = next(header for seed in range(10000) if (header := draw_header(seed, index)).kind == kind)
    header = dataclasses.replace(drawn, rle=rle)
    study = study_of(SEED, index)
    return pydicom.dcmread(io.BytesIO(dicom_bytes(draw(study, SIZE), study, header, "1", f"{SEED} {index}")))


@pytest.mark.parametrize(
    "kind", KINDS, ids=lambda kind: f"{kind.photometric}-{kind.lut_shape}-{kind.bits}-{kind.window}"
)
@pytest.mark.parametrize("rle", [False, True])
def test_every_kind_of_header_shows_the_drawn_picture(kind, rle):
    data = written(kind, 3, rle)
    picture = load_image(SEED, 3, SIZE).astype(float)
    shown = displayed(data)
    if kind.window is not None:
        assert np.abs(shown - picture).max() <= 1
    else:
        assert np.corrcoef(shown.ravel(), picture.ravel())[0, 1] > 0.99
        # Mirrored or inverted it would not agree.
        assert np.corrcoef(shown[:, ::-1].ravel(), picture.ravel())[0, 1] < 0.99
    assert (data.BitsAllocated, data.BitsStored, data.HighBit) == (16, kind.bits, kind.bits - 1)
    assert data.pixel_array.max() < 2**kind.bits
    assert data.get("PresentationLUTShape") == kind.lut_shape
    assert ("RescaleSlope" in data) == (kind.rescale is not None)
    assert ("ViewPosition" in data) == kind.names_view
    assert (data.file_meta.TransferSyntaxUID == RLELossless) == rle


def test_a_stored_value_is_the_window_function_solved():
    """By hand: 12 bits, centre 2048, width 4096: grey 0, 127.5 and 255 are 0, 2047.5 and 4095."""
    header = Header(Kind(1.0, "MONOCHROME2", None, 12, ("2048", "4096")), ((2048.0, 4096.0),), rle=False)
    assert stored(np.array([[0.0, 127.5, 255.0]]), header).tolist() == [[0, 2048, 4095]]


def test_the_variety_of_the_collection_appears():
    headers = [draw_header(0, index) for index in range(1500)]
    assert {header.kind for header in headers} == set(KINDS)
    pairs = {(header.kind.photometric, header.kind.lut_shape) for header in headers}
    assert pairs == {
        ("MONOCHROME1", "INVERSE"),
        ("MONOCHROME1", None),
        ("MONOCHROME2", "IDENTITY"),
        ("MONOCHROME2", None),
    }
    assert {header.kind.bits for header in headers} == {10, 12, 14, 15}
    assert {len(header.windows) for header in headers if header.kind.window} == {1, 3}
    widths = [header.windows[0][1] for header in headers if header.kind.window]
    assert (min(widths), max(widths)) == (1023, 32767)
    assert 0.3 < np.mean([header.kind.window is None for header in headers]) < 0.6
    assert 0 < np.mean([header.kind.orientation == MIRRORED for header in headers]) < 0.03
    assert 0.05 < np.mean([header.rle for header in headers]) < 0.12


def test_the_same_seed_gives_the_same_bytes_and_a_stopped_run_goes_on(folder, tmp_path):
    again = tmp_path / "again"
    write_collection(again, N, SIZE, SEED, workers=2)
    assert digests(again) == digests(folder)
    record = again / "run.json"
    record.write_text(json.dumps(content.sealed(json.loads(record.read_text()) | {"complete": False})))
    kept = next((again / "NLMCXR_dcm").rglob("*.dcm"))
    kept.write_bytes(b"kept")  # what is there under its final name is taken as it is
    for gone in ("ecgen-radiology/7.xml", f"truth/{image_name(SEED, 8)}.npz", "indiana_projections.csv"):
        (again / gone).unlink()
    write_collection(again, N, SIZE, SEED, workers=1)
    differing = {name for name, digest in digests(folder).items() if digests(again)[name] != digest}
    assert differing == {kept.relative_to(again).as_posix()}
    other = tmp_path / "other"
    write_collection(other, 1, SIZE, SEED + 1, workers=1)
    assert digests(other).keys() - digests(folder).keys()


def test_truth_lies_beside_and_is_that_of_the_study(folder):
    for uid in range(1, N + 1):
        facts, shapes = read_truth(folder, image_name(SEED, uid))
        parameters, expected = truth(SEED, first_study(uid - 1), SIZE)
        assert np.array_equal(shapes, expected)
        assert facts == {"image_id": image_name(SEED, uid), "size": SIZE, **parameters}
    with pytest.raises(UserError, match="CXR0"):
        read_truth(folder, "CXR0")


def test_the_reader_of_the_collection_reads_pictures_and_reports(folder):
    """The folder through `OpenIReader`, as the Indiana collection itself is read."""
    records = list(OpenIReader(folder, sections=["indication", "findings", "impression"]).records())
    assert [record.image_id for record in records] == [image_name(SEED, uid) for uid in range(1, N + 1)]
    for uid, record in enumerate(records, 1):
        index = first_study(uid - 1)
        study, windowed = study_of(SEED, index), draw_header(SEED, index).kind.window is not None
        picture, shown = load_image(SEED, index, SIZE).astype(float), display(record.load()).astype(float)
        if windowed:
            assert np.abs(shown - picture).max() <= 1
        assert np.corrcoef(shown.ravel(), picture.ravel())[0, 1] > 0.98
        assert record.view == "frontal"
        assert len(record.labels) == max(len(study.findings), 1)
        drawn = {(READ_AS[finding.name], finding.side) for finding in study.findings}
        read = {(each["name"], each["side"]) for each in record.findings if each["certainty"] == "present"}
        assert {pair for pair in read if pair[0] != "no finding"} == drawn
        words = {"female": ("woman", "female"), "male": ("man", "male")}[study.anatomy.sex]
        assert record.text.startswith(tuple(f"{study.anatomy.age}-year-old {word} with" for word in words))


def test_headers_tell_who_was_drawn_and_that_nobody_was(folder):
    views = set()
    for path in (folder / "NLMCXR_dcm").rglob("*.dcm"):
        data = pydicom.dcmread(path, stop_before_pixels=True)
        study = study_of(SEED, first_study(int(path.parent.name) - 1))
        assert data.PatientAge == f"{study.anatomy.age:03d}Y"
        assert data.PatientSex == study.anatomy.sex[0].upper()
        assert data.get("ViewPosition", study.position.view) == study.position.view
        assert "synthetic = true" in data.ImageComments
        views.add(data.get("ViewPosition"))
    assert views == {"PA", "AP", None}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0, 48, 0), "n=0"),
        ((3, 8, 0), "size=8"),
        ((3, 48, -1), "seed=-1"),
        (("x", 48, 0), "n=x"),
        ((3, 48, 0, 0), "workers=0"),
    ],
)
def test_bad_numbers_are_refused(arguments, word, tmp_path):
    with pytest.raises(UserError, match=word):
        write_collection(tmp_path / "out", *arguments)


def test_another_folder_is_never_overwritten(folder, tmp_path):
    with pytest.raises(UserError, match="other settings: seed .5 there, 6 here.; choose another out="):
        write_collection(folder, N, SIZE, SEED + 1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not ours"):
        write_collection(tmp_path, N, SIZE, SEED)
    with pytest.raises(UserError, match="is a file"):
        write_collection(tmp_path / "mine.txt", N, SIZE, SEED)


def test_the_command_writes_a_folder_and_refuses_in_one_sentence(command, tmp_path):
    out = tmp_path / "out"
    printed = command("-m", "cxr_ldm.data.phantom", f"out={out}", "n=3", "size=32", "workers=1").stdout
    assert f"3 studies of 32 x 32 in {out}" in printed
    assert len(list((out / "truth").glob("*.npz"))) == 3
    for arguments, word in (
        ([], "out is not set"),
        (["sise=3"], "did you mean 'size'"),
        ([f"out={out}", "n=0"], "n=0"),
    ):
        error = command("-m", "cxr_ldm.data.phantom", *arguments, code=2).stderr
        assert word in error
        assert error.count("\n") == 1
