"""The nearest training images of a few pictures, for whoever looks at them."""

import numpy as np
from torch import Tensor

from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.metrics.copies import memorisation

HELD_OUT = 200  # held-out images that a copy must be nearer than


def neighbours(images: Tensor, prepared: Prepared) -> tuple[memorisation.NearCopies, np.ndarray]:
    """Search the training images of a collection for what resembles `images` most.

    Args:
        images: pixels `[N,1,H,W]` in [-1, 1], of the collection's size.

    Returns:
        what `memorisation.search` finds, and the row of each training image that its `index` counts, int64.

    Raises:
        UserError: the sizes differ, or the collection has no test images to compare with.
    """
    training, test = prepared.rows("train"), prepared.rows("test")[:HELD_OUT]
    parts = np.array_split(training, max(1, len(training) // memorisation.BATCH))
    people = prepared.patients(training), prepared.patients(test)
    found = memorisation.search(images, prepared.pixels(test), (prepared.pixels(part) for part in parts), people)
    return found, training
