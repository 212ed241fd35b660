"""Stored values of DICOM files as they occur: byte order, padding, odd numbers, empty tables, blank pictures."""

import numpy as np
import pydicom
import pytest
from dicom_files import file_of, picture, written
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian

from cxr_ldm.data.dicom import load_dicom, read_dicom
from cxr_ldm.data.images import display


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
