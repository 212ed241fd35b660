"""Radiographs in DICOM files: the right way round, in the right grey, or refused with a reason."""

import csv
import re
from functools import partial

import cv2
import gdcm
import numpy as np
import pydicom
import pytest
from dicom_files import compressed, file_of, picture, written
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi, apply_windowing

from cxr_ldm.data.pixels.dicom import load_dicom, read_dicom
from cxr_ldm.data.pixels.images import UnreadableImage, display, resize_square
from cxr_ldm.data.prepared.journal import IDENTICAL
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.manifest import Record
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.errors import UserError

# The pairs that occur in the 7,469 headers of the Indiana collection.
POLARITIES = [("MONOCHROME1", "INVERSE"), ("MONOCHROME1", None), ("MONOCHROME2", "IDENTITY"), ("MONOCHROME2", None)]


def shown(header, tmp_path, **options):
    return display(read_dicom(written(header, tmp_path / "image.dcm"), **options).image)


def distance(image, other):
    return np.abs(image.astype(int) - other.astype(int)).max()


@pytest.mark.parametrize("polarity", POLARITIES)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("window", ["none", "one", "three"])
@pytest.mark.parametrize("rescale", [{}, {"slope": 1.0, "intercept": 0.0}])
def test_every_combination_of_the_indiana_headers_shows_the_same_picture(tmp_path, polarity, bits, window, rescale):
    header = file_of(picture(), photometric=polarity[0], shape=polarity[1], bits=bits, window=window, **rescale)
    assert distance(shown(header, tmp_path), picture()) <= 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_grey_scale_shows_the_same_picture(tmp_path, data):
    bits = data.draw(st.integers(10, 16))
    signed = data.draw(st.booleans())
    span = data.draw(st.integers(600, (1 << bits) - 1))
    smallest = -(1 << (bits - 1)) if signed else 0
    low = data.draw(st.integers(smallest, smallest + (1 << bits) - 1 - span))
    photometric, shape = data.draw(st.sampled_from(POLARITIES))
    window = data.draw(st.sampled_from(["none", "one", "three"]))
    slope = data.draw(st.sampled_from([None, 1.0, 0.25, 2.5, -1.0]))
    intercept = data.draw(st.integers(-2000, 2000)) if slope else None
    header = file_of(
        picture(),
        photometric=photometric,
        shape=shape,
        bits=bits,
        signed=signed,
        low=low,
        span=span,
        window=window,
        slope=slope,
        intercept=intercept,
    )
    assert distance(shown(header, tmp_path), picture()) <= 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    centre=st.integers(-500, 4500),
    width=st.integers(2, 9000),
    function=st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    intercept=st.sampled_from([0, -300]),
)
def test_windows_are_those_of_pydicom(tmp_path, centre, width, function, intercept):
    header = file_of(picture(), window="none", slope=1.0, intercept=intercept)
    header.WindowCenter, header.WindowWidth = str(centre), str(width)
    if function:
        header.VOILUTFunction = function
    modality = header.pixel_array.astype(float) + intercept
    witness = apply_windowing(modality, header)
    low, high = intercept, 4095 + intercept  # pydicom shows between the ends of the rescaled stored range
    expected = np.rint(255 * (witness - low) / (high - low))
    assume(len(np.unique(expected)) >= 8)  # a window that shows next to nothing gives way to the range of the values
    assert distance(shown(header, tmp_path), expected) <= 1


def test_which_window_is_chosen_by_number_and_the_first_where_there_is_none(tmp_path):
    header = file_of(picture(), window="three")
    second = shown(header, tmp_path, voi=1)
    assert distance(second, picture()) > 20
    header.WindowCenter, header.WindowWidth = header.WindowCenter[1], header.WindowWidth[1]
    np.testing.assert_array_equal(shown(header, tmp_path), second)
    np.testing.assert_array_equal(shown(header, tmp_path, voi=7), second)
    header.WindowCenter = [header.WindowCenter, "1"]  # more centres than widths
    np.testing.assert_array_equal(shown(header, tmp_path), second)
    assert read_dicom(tmp_path / "image.dcm").voi == "window"


def test_percentiles_replace_a_window_where_asked_and_where_none_is_usable(tmp_path):
    header = file_of(picture(), window="one", low=1000, span=1500)
    header.WindowCenter, header.WindowWidth = "1300", "600"  # shows the dark part alone
    assert distance(shown(header, tmp_path), picture()) > 20
    assert distance(shown(header, tmp_path, voi="percentile"), picture()) <= 1
    header.WindowWidth = "0"
    radiograph = read_dicom(written(header, tmp_path / "image.dcm"))
    assert radiograph.voi == "percentile"
    assert distance(display(radiograph.image), picture()) <= 1


def lookup(first: int, data: np.ndarray, bits: int = 16) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(data), first, bits]
    item.add_new("LUTData", "US", data.astype(np.uint16).tolist())
    return item


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_voi_table_is_followed_and_comes_before_a_window(tmp_path, photometric):
    header = file_of(picture(), photometric=photometric, window="one")
    curve = np.rint(65535 * (np.arange(3000) / 2999) ** 2)
    header.VOILUTSequence = [lookup(500, curve), lookup(0, curve[::-1])]
    witness = apply_voi(header.pixel_array, header) / 65535
    expected = np.rint(255 * (1 - witness if photometric == "MONOCHROME1" else witness))
    assert distance(shown(header, tmp_path), expected) <= 1
    assert read_dicom(tmp_path / "image.dcm").voi == "table"


def test_a_modality_table_comes_before_the_window(tmp_path):
    header = file_of(picture(), window="none")
    header.ModalityLUTSequence = [lookup(0, np.rint(4095 * np.sqrt(np.arange(4096) / 4095)))]
    header.ModalityLUTSequence[0].ModalityLUTType = "US"
    header.WindowCenter, header.WindowWidth = "2048", "4096"
    expected = np.rint(255 * np.sqrt(header.pixel_array / 4095))
    assert distance(shown(header, tmp_path), expected) <= 1
    del header.WindowCenter, header.WindowWidth
    assert distance(shown(header, tmp_path), expected) <= 1


SYNTAXES = {
    "RLE": gdcm.TransferSyntax.RLELossless,
    "JPEG lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG 2000": gdcm.TransferSyntax.JPEG2000Lossless,
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (16, False), (12, True)])
def test_lossless_compressions_give_the_same_pixels(tmp_path, syntax, bits, signed):
    header = file_of(picture(), bits=bits, signed=signed, photometric="MONOCHROME1")
    plain = written(header, tmp_path / "image.dcm")
    packed = compressed(plain, SYNTAXES[syntax])
    np.testing.assert_array_equal(display(load_dicom(packed), 16), display(load_dicom(plain), 16))


def test_jpeg_baseline_is_close(tmp_path):
    packed = compressed(
        written(file_of(picture(), bits=8), tmp_path / "image.dcm"), gdcm.TransferSyntax.JPEGBaselineProcess1
    )
    assert np.abs(display(load_dicom(packed)).astype(int) - picture()).mean() < 3


@pytest.mark.parametrize("bits", [8, 12])
def test_jpeg_extended_is_as_gdcm_itself_reads_it(tmp_path, bits):
    """Process 2 and 4; in 12 bits no plugin of pydicom decodes it."""
    smooth = cv2.GaussianBlur(picture(), (9, 9), 3)
    plain = written(file_of(smooth, bits=bits), tmp_path / "image.dcm")
    packed = compressed(plain, gdcm.TransferSyntax.JPEGExtendedProcess2_4)
    assert pydicom.dcmread(packed).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.51"
    assert np.abs(display(load_dicom(packed)).astype(int) - smooth).mean() < 3


@pytest.mark.parametrize("modality", ["DR", "XR", "dx", "RG "])
def test_other_words_for_a_radiograph_are_known(tmp_path, modality):
    assert distance(shown(file_of(picture(), Modality=modality), tmp_path), picture()) <= 1


def test_a_file_without_a_modality_is_a_radiograph_by_its_sop_class_or_by_the_config(tmp_path):
    header = file_of(picture())
    del header.Modality
    assert distance(shown(header, tmp_path), picture()) <= 1
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    with pytest.raises(UnreadableImage, match=r"modality not stated; data\.reader\.modality=assume takes such a file"):
        shown(header, tmp_path)
    assert distance(shown(header, tmp_path, modality="assume"), picture()) <= 1
    header.Modality = "CT"  # what is stated is believed
    with pytest.raises(UnreadableImage, match=r"modality CT"):
        shown(header, tmp_path, modality="assume")
    with pytest.raises(UserError, match=r"data\.reader\.modality=guess must be stated or assume"):
        shown(header, tmp_path, modality="guess")


def test_bits_above_those_stored_are_dropped(tmp_path):
    header = file_of(picture(), bits=12)
    overlay = np.frombuffer(header.PixelData, np.uint16) | np.uint16(0x3000)
    header.PixelData = overlay.tobytes()
    assert distance(shown(header, tmp_path), picture()) <= 1


def test_an_image_stored_mirrored_or_upside_down_is_turned_and_says_so(tmp_path):
    for stored, stated, turned in (
        (picture(), ["L", "F"], ()),
        (picture()[:, ::-1], ["R", "F"], ("left-right",)),
        (picture()[::-1], ["L", "H"], ("upside-down",)),
        (picture()[::-1, ::-1], ["R", "H"], ("left-right", "upside-down")),
    ):
        radiograph = read_dicom(written(file_of(stored, PatientOrientation=stated), tmp_path / "image.dcm"))
        assert radiograph.turned == turned
        assert distance(display(radiograph.image), picture()) <= 1


# What a picture in standard display (rows to the patient's left, columns to the feet) becomes under each operation.
LYING = {
    ("F", "L"): lambda image: image.T,
    ("F", "R"): lambda image: np.rot90(image),
    ("H", "L"): lambda image: np.rot90(image, -1),
    ("H", "R"): lambda image: image[::-1, ::-1].T,
    ("FL", "LH"): lambda image: image.T,
    ("R", "H"): lambda image: np.rot90(image, 2),
}


@pytest.mark.parametrize("stated", LYING)
def test_a_lying_picture_is_set_upright(tmp_path, stated):
    stored = np.ascontiguousarray(LYING[stated](picture()))
    radiograph = read_dicom(written(file_of(stored, PatientOrientation=list(stated)), tmp_path / "image.dcm"))
    assert distance(display(radiograph.image), picture()) <= 1
    assert radiograph.view == "frontal"


@pytest.mark.parametrize(("stated", "stored"), [(["F", "A"], picture().T), (["H", "P"], np.rot90(picture(), -1))])
def test_a_lying_lateral_picture_is_set_upright(tmp_path, stated, stored):
    header = file_of(np.ascontiguousarray(stored), PatientOrientation=stated)
    radiograph = read_dicom(written(header, tmp_path / "image.dcm"))
    assert distance(display(radiograph.image), picture()) <= 1
    assert radiograph.view == "lateral"


@pytest.mark.parametrize("stated", [["L", "P"], ["H", "F"], ["L", "R"], ["X", "F"], ["F", ""], ["", "L"]])
def test_an_orientation_of_no_upright_picture_is_refused_by_name(tmp_path, stated):
    path = written(file_of(picture(), PatientOrientation=stated), tmp_path / "image.dcm")
    with pytest.raises(UnreadableImage, match=r"image\.dcm: patient orientation .* is that of no upright picture"):
        read_dicom(path)


def test_an_orientation_of_one_direction_is_followed(tmp_path):
    header = file_of(picture()[::-1], PatientOrientation=["", "H"])
    assert distance(shown(header, tmp_path), picture()) <= 1


@pytest.mark.parametrize(
    ("extra", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "AP", "PatientOrientation": ["A", "F"]}, "AP"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"ViewPosition": "LATERAL"}, "lateral"),
        ({"PatientOrientation": ["L", "F"]}, "frontal"),
        ({"PatientOrientation": ["P", "F"]}, "lateral"),
        ({}, None),
    ],
)
def test_the_view_is_that_of_the_header(tmp_path, extra, view):
    assert read_dicom(written(file_of(picture(), **extra), tmp_path / "image.dcm")).view == view


@pytest.mark.parametrize("window", ["one", "none"])
@pytest.mark.parametrize("bits", [8, 16])
def test_windowing_after_the_resize_is_within_one_level_of_windowing_before(tmp_path, window, bits):
    header = file_of(picture(400, 480), window=window, low=700, span=1200, photometric="MONOCHROME1")
    if window == "one":
        header.WindowCenter, header.WindowWidth = "1200", "500"  # cuts both ends of the picture
    image = load_dicom(written(header, tmp_path / "image.dcm"))
    before = cv2.resize(display(image, bits), (64, 53), interpolation=cv2.INTER_AREA)
    after = resize_square(image, 64, "pad", bits)
    assert not after[:5].any()
    assert not after[58:].any()
    assert distance(after[5:58], before) <= (1 if bits == 8 else 257)
    assert distance(resize_square(image, 64, "crop"), resize_square(display(image), 64, "crop")) <= 1


REFUSED = {
    "not a radiograph (modality CT)": {"Modality": "CT"},
    "not a radiograph (modality not stated; data.reader.modality=assume takes such a file)": {
        "Modality": None,
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",  # of secondary capture, which may be anything
    },
    "DICOM file has several frames": {"NumberOfFrames": 2},
    "DICOM file is in colour": {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0},
    "DICOM file is raw data, for processing and not for display": {"PresentationIntentType": "FOR PROCESSING"},
    "DICOM file does not store 8 to 16 bits": {"BitsStored": 7, "HighBit": 6},
    "DICOM file states an impossible size": {"Rows": 60000, "Columns": 60000},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_radiograph_is_refused_with_its_reason(tmp_path, reason):
    header = file_of(picture())
    for name, value in REFUSED[reason].items():
        setattr(header, name, value)
    with pytest.raises(UnreadableImage) as caught:
        read_dicom(written(header, tmp_path / "image.dcm"))
    assert caught.value.reason == reason


def test_files_without_pixels_cut_short_or_of_another_kind_are_refused(tmp_path):
    header = file_of(picture())
    whole = written(header, tmp_path / "whole.dcm").read_bytes()
    del header.PixelData
    written(header, tmp_path / "none.dcm")
    (tmp_path / "cut.dcm").write_bytes(whole[:-500])
    (tmp_path / "head.dcm").write_bytes(whole[:200])
    (tmp_path / "text.dcm").write_text("not DICOM at all, " * 40)
    (tmp_path / "empty.dcm").write_bytes(b"")
    reasons = {
        "none": "DICOM file has no pixel data",
        "cut": "DICOM file is truncated or damaged",
        "gone": "image file is missing",
    }
    for name, reason in reasons.items():
        with pytest.raises(UnreadableImage, match=reason):
            read_dicom(tmp_path / f"{name}.dcm")
    for name in ("head", "text", "empty"):
        with pytest.raises(
            UnreadableImage,
            match=r"not a DICOM file|truncated or damaged|not a radiograph",
        ):
            read_dicom(tmp_path / f"{name}.dcm")


def test_a_file_without_its_preamble_is_read(tmp_path):
    whole = written(file_of(picture()), tmp_path / "whole.dcm")
    bare = tmp_path / "bare.dcm"
    dataset = pydicom.dcmread(whole)
    pydicom.dcmwrite(bare, Dataset(dataset), implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert distance(display(load_dicom(bare)), picture()) <= 1


@pytest.mark.parametrize("voi", [-1, 1.5, "window", True])
def test_an_impossible_choice_of_window_is_refused(tmp_path, voi):
    with pytest.raises(UserError, match=r"data\.reader\.voi="):
        read_dicom(written(file_of(picture()), tmp_path / "image.dcm"), voi=voi)


def mutated(whole: bytes, random: np.random.Generator) -> bytes:
    """A few bytes changed, a piece cut out, or the end cut off."""
    data = bytearray(whole)
    kind = random.integers(3)
    if kind == 0:
        for _ in range(int(random.integers(1, 8))):
            data[random.integers(len(data) if random.random() < 0.3 else min(len(data), 900))] = random.integers(256)
    elif kind == 1:
        start = int(random.integers(len(data)))
        del data[start : start + int(random.integers(1, 40))]
    else:
        del data[int(random.integers(len(data))) :]
    return bytes(data)


class Folder:
    """Reader of the DICOM files of a folder."""

    def __init__(self, folder):
        self.folder = folder

    def settings(self):
        return {}

    def files(self):
        return sorted(self.folder.glob("*.dcm"))

    def records(self):
        for path in self.files():
            load = partial(load_dicom, path)
            yield Record(path.stem, "s", "p", None, "x", None, None, "test", load, isolate=True)


DOCUMENTED = re.compile(
    r"(Window|Rescale)\w+ '.*' is not (a number|finite)|"
    r"not a DICOM file|image is blank: one grey level|patient orientation ., . is that of no upright picture|"
    r"not a radiograph \(modality .*\)|image brings its decoder down|"
    r"DICOM file (is truncated or damaged|has no pixel data|has several frames|is in colour|is raw data, .*|"
    r"states an impossible size|does not state \w+|holds a picture of another size than its header states|"
    r"stores larger values than the \d+ bits that its header states|says neither that its values are signed .*|"
    r"does not store 8 to 16 bits|is damaged, or no installed decoder knows its compression)"
)


def survive(whole: bytes, folder, count: int, seed: int) -> tuple[int, int]:
    """Prepare `count` mutated files and a sound one: how many give a picture, and a documented reason."""
    random = np.random.default_rng(seed)
    raw = folder / "raw"
    raw.mkdir()
    for number in range(count):
        (raw / f"{number:05d}.dcm").write_bytes(mutated(whole, random))
    (raw / "sound.dcm").write_bytes(whole)
    splits = {"seed": 0, "val": 0.1, "test": 0.1}
    prepared = prepare(Folder(raw), folder / "out", Target(16), name="x", splits=splits)
    with open(folder / "out" / "rejected.csv", newline="") as file:
        rejected = {row["image_id"]: row["reason"] for row in csv.DictReader(file)}
    # damage that changes no pixel leaves the same picture, which is kept once
    again = [name for name, reason in rejected.items() if reason.startswith(IDENTICAL)]
    refused = [reason for name, reason in rejected.items() if name not in again]
    assert [reason for reason in refused if not DOCUMENTED.fullmatch(reason)] == []
    assert prepared.manifest["image_id"].iloc[-1] == "sound" or "sound" in again
    assert len(prepared) + len(rejected) == count + 1
    return len(prepared) + len(again), len(refused)


@pytest.fixture(params=["plain", "RLE", "JPEG lossless", "JPEG 2000"])
def sound_file(request, tmp_path):
    header = file_of(picture(), window="three", slope=1.0, intercept=0.0, photometric="MONOCHROME1")
    path = written(header, tmp_path / "whole.dcm")
    return (path if request.param == "plain" else compressed(path, SYNTAXES[request.param])).read_bytes()


def test_damaged_files_give_a_picture_or_the_documented_error(sound_file, tmp_path):
    read, refused = survive(sound_file, tmp_path, 80, seed=0)
    assert read > 5
    assert refused > 5


@pytest.mark.fuzz
def test_five_thousand_damaged_files_of_each_kind(sound_file, tmp_path):
    assert sum(survive(sound_file, tmp_path, 5000, seed=1)) == 5001
