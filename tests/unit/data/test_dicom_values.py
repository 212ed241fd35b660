"""Stored values of DICOM files as they occur: byte order, padding, odd numbers, empty tables, blank pictures."""

import numpy as np
import pydicom
import pytest
from dicom_files import file_of, picture, written
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian

from cxr_ldm.data.pixels.dicom import load_dicom, read_dicom
from cxr_ldm.data.pixels.dicom_tone import levels
from cxr_ldm.data.pixels.images import UnreadableImage, Window, display


def shown(header: Dataset, tmp_path, **options) -> np.ndarray:
    return display(read_dicom(written(header, tmp_path / "image.dcm"), **options).image)


def distance(image: np.ndarray, other: np.ndarray) -> int:
    return np.abs(image.astype(int) - other.astype(int)).max()


def big_endian(header: Dataset, path):
    """The file once more with its values in the other byte order; 8-bit values lie in words (OW), so they swap too."""
    header.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    header.PixelData = np.frombuffer(header.PixelData, "<u2").astype(">u2").tobytes()
    header["PixelData"].VR = "OW"
    pydicom.dcmwrite(path, header, implicit_vr=False, little_endian=False, enforce_file_format=True)
    return path


@pytest.mark.parametrize("window", ["none", "one"])
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (16, False), (12, True), (16, True)])
def test_big_endian_values_are_those_of_little_endian(tmp_path, window, bits, signed):
    little = load_dicom(written(file_of(picture(), bits=bits, signed=signed, window=window), tmp_path / "little.dcm"))
    path = big_endian(file_of(picture(), bits=bits, signed=signed, window=window), tmp_path / "big.dcm")
    big = load_dicom(path)
    np.testing.assert_array_equal(display(big, 16), display(little, 16))
    assert big.values.dtype.isnative
    if window == "one" and not signed:
        header = pydicom.dcmread(path)
        witness = apply_voi_lut(apply_modality_lut(header.pixel_array, header), header)
        assert distance(display(big), np.rint(255 * witness / ((1 << bits) - 1))) <= 1


def test_a_big_endian_file_without_its_preamble_is_read(tmp_path):
    whole = big_endian(file_of(picture()), tmp_path / "big.dcm")
    bare = tmp_path / "bare.dcm"
    dataset = Dataset(pydicom.dcmread(whole))
    pydicom.dcmwrite(bare, dataset, implicit_vr=False, little_endian=False, enforce_file_format=False)
    assert distance(display(load_dicom(bare)), picture()) <= 1


def collimated(signed: bool = False, **options) -> Dataset:
    """A picture in the middle of an image whose margins, three tenths of it, hold the padding value."""
    header = file_of(picture(), signed=signed, window="none", bits=16, low=500, span=600, **options)
    stored = np.full((40, 68), -32768 if signed else 0, "<i2" if signed else "<u2")
    stored[:, 10:-10] = header.pixel_array
    header.Columns, header.PixelData = 68, stored.tobytes()
    header.add_new("PixelPaddingValue", "SS" if signed else "US", int(stored[0, 0]))
    return header


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("voi", [0, "percentile"])
def test_padding_is_not_counted_in_the_range(tmp_path, photometric, signed, voi):
    header = collimated(signed, photometric=photometric)
    assert distance(shown(header, tmp_path, voi=voi)[:, 10:-10], picture()) <= 1
    header["PixelPaddingValue"].VR = "US" if signed else "SS"  # read from a file of implicit types, it may be either
    header["PixelPaddingValue"].value = 32768 if signed else 0
    assert distance(shown(header, tmp_path, voi=voi)[:, 10:-10], picture()) <= 1
    if signed:
        assert read_dicom(tmp_path / "image.dcm").voi == "percentile"


def test_a_range_of_padding_is_not_counted(tmp_path):
    header = collimated()
    values = header.pixel_array.copy()
    values[:, :10] = np.arange(10) * 30
    header.PixelData, header.PixelPaddingValue = values.tobytes(), 270
    header.add_new("PixelPaddingRangeLimit", "US", 0)
    assert distance(shown(header, tmp_path)[:, 10:-10], picture()) <= 1


def test_padding_is_not_counted_behind_a_modality_table(tmp_path):
    header = collimated()
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [2000, 0, 16], "US"
    table.add_new("LUTData", "US", (30 * np.arange(2000)).tolist())
    header.ModalityLUTSequence = [table]
    assert distance(shown(header, tmp_path)[:, 10:-10], picture()) <= 1


@pytest.mark.parametrize(("centre", "width"), [("10", "20"), ("30000", "20"), ("1500", "1")])
def test_a_window_beside_the_values_gives_way_to_their_range(tmp_path, centre, width):
    header = file_of(picture(), bits=16, low=2000, span=1500)
    header.WindowCenter, header.WindowWidth = centre, width
    assert distance(shown(header, tmp_path), picture()) <= 1
    assert read_dicom(tmp_path / "image.dcm").voi == "percentile"


def test_a_table_that_shows_all_values_alike_gives_way_to_their_range(tmp_path):
    header = file_of(picture(), low=2000, span=1500)
    table = Dataset()
    table.LUTDescriptor = [500, 0, 16]  # ends before the first value
    table.add_new("LUTData", "US", (100 * np.arange(500)).tolist())
    header.VOILUTSequence = [table]
    assert distance(shown(header, tmp_path), picture()) <= 1


@pytest.mark.parametrize("window", ["none", "one"])
@pytest.mark.parametrize("padded", [False, True])
def test_a_picture_of_one_grey_level_is_rejected_as_blank(tmp_path, window, padded):
    header = file_of(np.full((40, 48), 100, np.uint8), window=window)
    if padded:
        values = header.pixel_array.copy()
        values[:, :10] = 0
        header.PixelData, header.PixelPaddingValue = values.tobytes(), 0
    with pytest.raises(UnreadableImage, match="image is blank: one grey level"):
        shown(header, tmp_path)


def test_a_picture_with_few_other_pixels_is_shown_by_all_its_values(tmp_path):
    image = np.zeros((40, 48), np.uint8)
    image[0, :3] = 255
    assert distance(shown(file_of(image, window="none"), tmp_path), image) == 0


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("explained", [False, True])
def test_a_lookup_table_without_data_is_as_none(tmp_path, name, explained):
    header = file_of(picture())
    item = Dataset()
    if explained:
        item.LUTExplanation = "removed"
    setattr(header, name, [item])
    assert distance(shown(header, tmp_path), picture()) <= 1
    assert read_dicom(tmp_path / "image.dcm").voi == "window"


def with_text(header: Dataset, path, **texts: str):
    """The file with decimals as they are given, which pydicom would not write."""
    for name, text in texts.items():
        header.add_new(name, "LO", text)
    written(header, path)
    data = path.read_bytes()
    for name in texts:
        tag = pydicom.tag.Tag(name)
        key = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
        data = data.replace(key + b"LO", key + b"DS")
    path.write_bytes(data)
    return path


def test_decimals_with_a_comma_are_read(tmp_path):
    plain = file_of(picture(), window="three", slope=0.5, intercept=2.5)
    plain.WindowCenter, plain.WindowWidth = ["1000.5", "20"], ["1500.25", "30"]
    expected = shown(plain, tmp_path)
    texts = {
        "WindowCenter": "1000,5\\20",
        "WindowWidth": "1500,25\\30",
        "RescaleSlope": "0,5",
        "RescaleIntercept": "2,5",
    }
    path = with_text(file_of(picture(), window="none"), tmp_path / "comma.dcm", **texts)
    np.testing.assert_array_equal(display(read_dicom(path).image), expected)


@pytest.mark.parametrize("text", ["20,5.0", "1,000,5", "wide"])
def test_a_decimal_that_is_no_number_is_named(tmp_path, text):
    path = with_text(file_of(picture(), window="none"), tmp_path / "image.dcm", WindowCenter=text, WindowWidth="400")
    with pytest.raises(UnreadableImage, match=rf"image\.dcm: WindowCenter '{text}' is not a number"):
        read_dicom(path)


def test_a_large_picture_is_blank_only_where_every_pixel_is_alike():
    """A few pixels are looked at first, which may miss what is elsewhere."""
    values, tone = np.full((1200, 1100), 7, np.uint16), Window(0, 100)
    assert levels(tone, values, None) == 1
    values[3, 5] = 90
    assert levels(tone, values, None) == 2
    values[:] = np.arange(1100)
    assert levels(tone, values, None) >= 8
    assert levels(Window(2000, 3000), values, None) == 1
    assert levels(Window(0, np.inf), values, None) == 0
