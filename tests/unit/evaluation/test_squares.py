"""Squares of pictures, of which an extractor loses no detail."""

import numpy as np
import torch

from cxr_ldm.evaluation.upscaler import DETAIL, squares


def test_squares_are_cut_at_every_place_that_there_is_and_of_a_row_at_the_same_one():
    side = DETAIL + 1
    numbered = torch.arange(side * side, dtype=torch.float32).reshape(1, 1, side, side).expand(40, -1, -1, -1)
    cut = squares(numbered, np.arange(40))
    assert cut.shape == (40, 1, DETAIL, DETAIL)
    assert set(cut[:, 0, 0, 0].tolist()) == {0.0, 1.0, float(side), side + 1.0}
    assert torch.equal(squares(numbered[:5], np.arange(5)), cut[:5])
