"""Grids and provenance."""

import numpy as np
import torch
from PIL import Image

from cxr_ldm.imaging.grids import grid
from cxr_ldm.imaging.provenance import provenance, read_png, save_png

FACTS = provenance(prompt="Läsion, (left)", seed=3, steps=20, guidance=2.0, sampler="ddim", bundle_sha256="ab" * 32)


def test_a_png_says_what_it_is_inside_and_beside(tmp_path):
    save_png(tmp_path / "a.png", torch.linspace(-1, 1, 64).view(1, 8, 8), FACTS)
    assert read_png(tmp_path / "a.png") == FACTS
    assert FACTS["synthetic"] is True
    assert (tmp_path / "a.json").exists()
    grey = np.asarray(Image.open(tmp_path / "a.png"))
    assert (grey.min(), grey.max()) == (0, 255)
    assert (np.diff(grey.ravel().astype(int)) >= 0).all()  # nothing wraps


def test_a_grid_keeps_left_left_and_the_order_of_reading():
    pixels = -torch.ones(3, 1, 16, 16)
    pixels[0, :, :, :8] = 1.0  # bright on the left
    sheet = np.asarray(grid(pixels, columns=2, captions=["a", "b", "c"], cell=16))
    assert sheet[8, 2] > 200
    assert sheet[8, 13] < 60
    assert (sheet[2:14, 22:34] < 60).all()


def test_a_grid_of_large_images_stays_a_picture():
    assert grid(torch.zeros(2, 1, 1024, 1024), columns=2).size == (2 * 516, 516)
