"""Headers that say something else than the pixels: refused by name, or read for what the pixels are."""

import io

import gdcm
import numpy as np
import pydicom
import pytest
from dicom_files import compressed, file_of, picture, written
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from cxr_ldm.data.pixels.dicom import read_dicom
from cxr_ldm.data.pixels.dicom_pixels import coded_shape
from cxr_ldm.data.pixels.images import UnreadableImage, display

ANOTHER_SIZE = "holds a picture of another size than its header states"
SYNTAXES = ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless")


def shown(header, tmp_path, **options):
    return display(read_dicom(written(header, tmp_path / "image.dcm"), **options).image)


def distance(image, other):
    return np.abs(image.astype(int) - other.astype(int)).max()


def refused(header, tmp_path, reason):
    with pytest.raises(UnreadableImage, match=reason):
        read_dicom(written(header, tmp_path / "image.dcm"))


def coded(image, kind="JPEG", **options):
    """A codestream by Pillow."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def encapsulated(code, syntax, shape, **extra):
    header = file_of(picture(*shape), bits=8, window="none", **extra)
    header.file_meta.TransferSyntaxUID = syntax
    header.PixelData = encapsulate([code])
    header["PixelData"].VR = "OB"
    return header


@pytest.mark.parametrize("change", [{"Rows": 20}, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}])
def test_more_pixels_than_the_header_states(tmp_path, change):
    header = file_of(picture())
    for name, value in change.items():
        setattr(header, name, value)
    refused(header, tmp_path, ANOTHER_SIZE)


def test_frames_that_the_header_does_not_state(tmp_path):
    header = file_of(picture())
    header.PixelData = header.PixelData * 2
    refused(header, tmp_path, ANOTHER_SIZE)


def test_a_codestream_of_another_size_or_in_colour(tmp_path):
    image = picture(40, 48)
    sound = encapsulated(coded(image, quality=95), JPEGBaseline8Bit, (40, 48))
    assert distance(shown(sound, tmp_path), image) < 40
    refused(encapsulated(coded(image), JPEGBaseline8Bit, (48, 40)), tmp_path, ANOTHER_SIZE)
    lossless = {"no_jp2": True, "irreversible": False}
    twice = coded(image, "JPEG2000", **lossless)
    assert distance(shown(encapsulated(twice, JPEG2000Lossless, (40, 48)), tmp_path), image) <= 1
    refused(encapsulated(twice, JPEG2000Lossless, (48, 40)), tmp_path, ANOTHER_SIZE)
    colours = np.dstack([image, image // 2, image // 3])
    refused(encapsulated(coded(colours), JPEGBaseline8Bit, (40, 48)), tmp_path, "in colour")
    # a decoder would end the whole process
    refused(encapsulated(coded(colours, "JPEG2000", **lossless), JPEG2000Lossless, (40, 48)), tmp_path, "in colour")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_shape_of_gdcms_codestreams_is_read(tmp_path, syntax):
    path = compressed(written(file_of(picture(40, 48)), tmp_path / "image.dcm"), getattr(gdcm.TransferSyntax, syntax))
    header = pydicom.dcmread(path)
    code = next(pydicom.encaps.generate_frames(header.PixelData, number_of_frames=1))
    assert coded_shape(code) == (40, 48, 1)
    assert coded_shape(code[:9]) is None
    assert coded_shape(b"") is None


@pytest.mark.parametrize("vr", ["LO", "SH", "LT", "CS", "ST", "UT", "IS"])
def test_a_window_of_another_type_is_the_same_number(tmp_path, vr):
    header = file_of(picture(), window="none")
    expected = file_of(picture(), WindowCenter="2000", WindowWidth="3000", window="none")
    header.add_new("WindowCenter", vr, "2000")
    header.add_new("WindowWidth", vr, "3000")
    expected = shown(expected, tmp_path)
    np.testing.assert_array_equal(shown(header, tmp_path), expected)
    assert len(np.unique(expected)) > 100


def test_a_codestream_knows_nothing_of_the_high_bit(tmp_path):
    stored = np.rint(picture() / 255.0 * 4095).astype(np.uint16)
    header = file_of(picture())
    header.file_meta.TransferSyntaxUID = JPEG2000Lossless
    header.PixelData = encapsulate([coded(stored, "JPEG2000", no_jp2=True, irreversible=False)])
    header["PixelData"].VR = "OB"
    header.HighBit = 15
    assert distance(shown(header, tmp_path), picture()) <= 1
    native = file_of(picture())
    native.HighBit = 15  # the values are at the lower end all the same
    assert distance(shown(native, tmp_path), picture()) <= 1
    native.PixelData = (np.frombuffer(native.PixelData, np.uint16) << 4).tobytes()
    assert distance(shown(native, tmp_path), picture()) <= 1


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e400"])
@pytest.mark.parametrize("name", ["RescaleIntercept", "RescaleSlope", "WindowCenter"])
def test_a_number_of_the_grey_scale_that_is_not_finite_is_named(tmp_path, name, text):
    header = file_of(picture(), slope=1.0, intercept=0.0)
    header.add_new(name, "LO", text)
    refused(header, tmp_path, f"{name} '{text}' is not finite")


def test_numbers_beyond_all_measure_give_way_to_the_range(tmp_path):
    for slope, centre in (("1e-300", "2000"), ("1", "1e308")):
        header = file_of(picture(), window="none", slope=1.0, intercept=0.0)
        header.RescaleSlope, header.WindowCenter, header.WindowWidth = slope, centre, "4000"
        radiograph = read_dicom(written(header, tmp_path / "image.dcm"))
        assert radiograph.voi == "percentile"
        assert distance(display(radiograph.image), picture()) <= 1


def test_a_window_that_shows_next_to_nothing_gives_way_to_the_range(tmp_path):
    for centre, width in (("-20000", "40010"), ("0", "9000000")):
        header = file_of(picture(), window="none", WindowCenter=centre, WindowWidth=width)
        radiograph = read_dicom(written(header, tmp_path / "image.dcm"))
        assert radiograph.voi == "percentile"
        assert distance(display(radiograph.image), picture()) <= 1
    two = np.where(picture() > 128, 255, 0).astype(np.uint8)  # a picture of two levels is no worse by its range
    header = file_of(two, window="one")
    assert read_dicom(written(header, tmp_path / "image.dcm")).voi == "window"


@pytest.mark.parametrize("function", ["LINEAR", "SIGMOID"])
def test_a_slope_or_an_intercept_alone_counts_under_every_function(tmp_path, function):
    for given, other in (("RescaleSlope", "RescaleIntercept"), ("RescaleIntercept", "RescaleSlope")):
        both = file_of(picture(), window="none", WindowCenter="3000", WindowWidth="3000", VOILUTFunction=function)
        both.RescaleSlope, both.RescaleIntercept = ("2", "0") if given == "RescaleSlope" else ("1", "900")
        expected = shown(both, tmp_path)
        delattr(both, other)
        np.testing.assert_array_equal(shown(both, tmp_path), expected)


def test_values_beyond_the_stated_bits_are_named_unless_an_overlay_lies_there(tmp_path):
    header = file_of(picture())
    header.BitsStored, header.HighBit = 10, 9
    refused(header, tmp_path, "stores larger values than the 10 bits that its header states")
    marked = file_of(picture())
    values = np.frombuffer(marked.PixelData, np.uint16).reshape(40, 48).copy()
    values[10:30, 5:40] |= 0x1000
    marked.PixelData = values.tobytes()
    marked.add_new(0x60000102, "US", 12)
    assert distance(shown(marked, tmp_path), picture()) <= 1


@pytest.mark.parametrize("name", ["BitsStored", "SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation"])
def test_what_is_missing_is_named(tmp_path, name):
    header = file_of(picture())
    delattr(header, name)
    refused(header, tmp_path, f"does not state {name}")


def test_words_count_however_they_are_written(tmp_path):
    header = file_of(picture(), photometric="MONOCHROME1", window="none", VOILUTFunction="SIGMOID")
    header.WindowCenter, header.WindowWidth = "2000", "3000"
    expected = shown(header, tmp_path)
    header.PhotometricInterpretation, header.VOILUTFunction = "monochrome1 ", "sigmoid"
    np.testing.assert_array_equal(shown(header, tmp_path), expected)
    header.PresentationIntentType = "for processing"
    refused(header, tmp_path, "raw data")
    del header.PresentationIntentType
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1.1"
    refused(header, tmp_path, "raw data")


def test_pixels_that_are_not_square_are_refused(tmp_path):
    refused(file_of(picture(), PixelSpacing=["0.1", "0.2"]), tmp_path, "are not square")
    refused(file_of(picture(), PixelAspectRatio=["2", "1"]), tmp_path, "are not square")
    assert distance(shown(file_of(picture(), PixelSpacing=["0.143", "0.143"]), tmp_path), picture()) <= 1
