"""What the data engine is measured against. Light imports alone, since worker processes start with them."""

from pathlib import Path

import cv2
import numpy as np


def decode_and_resize(path: Path, size: int) -> np.ndarray:
    """The least that any preparation of a DICOM file has to do."""
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    # as lean as it goes: by default pydicom copies every image twice
    pixels = pixel_array(dcmread(path), correct_unused_bits=False, view_only=True)
    scale = size / max(pixels.shape)
    shape = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    return cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)


def open_resize_equalise(path: Path, size: int) -> np.ndarray:
    """What a data set does to each image that prepares nothing."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(image)
