"""Training transforms: small, repeatable, and never a mirror image."""

import numpy as np
import pytest

from cxr_ldm.data.batches.transforms import Augment
from cxr_ldm.errors import UserError

SMALL = {"rotation": 5, "shift": 0.04, "scale": 0.05, "intensity": 0.1}


def marked() -> np.ndarray:
    """A bright square in the upper left quarter: it tells every mirror image from a small change."""
    image = np.full((64, 64), 60, dtype=np.uint8)
    image[12:24, 12:24] = 220
    return image


def test_the_mark_stays_in_its_quarter_whatever_is_drawn():
    images = np.stack([marked()] * 200)
    changed = Augment(**SMALL, seed=0)(images, np.arange(200)).astype(float)
    rows, columns = np.mgrid[:64, :64]
    weight = changed > 150
    assert (weight.sum((1, 2)) > 80).all()
    for axis in (rows, columns):
        place = (axis * weight).sum((1, 2)) / weight.sum((1, 2))
        assert place.min() > 10
        assert place.max() < 27
        assert place.std() > 0.5  # and it does move


def test_what_is_drawn_depends_on_seed_and_position_alone():
    images = np.stack([marked()] * 3)
    augment = Augment(**SMALL, seed=0)
    first = augment(images, np.array([7, 8, 9]))
    np.testing.assert_array_equal(augment(images[:1], np.array([9]))[0], first[2])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(Augment(**SMALL, seed=1)(images, np.array([7, 8, 9])), first)


def test_zero_changes_nothing_in_8_and_16_bits():
    nothing = Augment(0, 0, 0, 0, seed=0)
    for image in (marked(), marked().astype(np.uint16) * 257):
        np.testing.assert_array_equal(nothing(image[None], np.array([3]))[0], image)


@pytest.mark.parametrize("name", SMALL)
def test_values_beyond_what_a_radiograph_bears_are_refused(name):
    for value in (-0.1, 40):
        with pytest.raises(UserError, match=rf"training\.vae\.augment\.{name}="):
            Augment(**{**SMALL, name: value}, seed=0)
