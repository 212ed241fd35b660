"""What is searched in a collection that was read once is what a search of all its pixels finds."""

import numpy as np
import pytest
import torch

from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.copies import memorisation
from cxr_ldm.metrics.copies.neighbours import References, neighbours


def test_a_collection_that_was_read_once_gives_what_all_its_pixels_give(tmp_path):
    reader, splits = PhantomReader(60, 64, 0), {"seed": 0, "val": 0.2, "test": 0.3}
    prepared = prepare(reader, tmp_path / "a", Target(64), name="a", splits=splits)
    rows, test = prepared.rows("train"), prepared.rows("test")
    images = torch.cat([prepared.pixels(rows[3:5]), prepared.pixels(prepared.rows("val")[:2])])
    references = References.of(prepared)
    found, numbered = neighbours(images, references)
    people = prepared.patients(rows), prepared.patients(test)
    whole = memorisation.search(images, prepared.pixels(test), [prepared.pixels(rows)], people)
    np.testing.assert_array_equal(numbered[found.index], rows[whole.index])
    torch.testing.assert_close(found.correlation, whole.correlation, atol=1e-4, rtol=0)
    assert numbered[found.index[:2]].tolist() == rows[3:5].tolist()
    assert found.copied.tolist() == [True, True, False, False]
    with pytest.raises(UserError, match="images of 32 pixels are compared with a collection of 64"):
        neighbours(images[..., ::2, ::2], references)
