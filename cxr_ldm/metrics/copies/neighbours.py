"""The nearest training images of a few pictures, for whoever looks at them."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.copies import memorisation

HELD_OUT = 200  # held-out images that a copy must be nearer than


@dataclass(frozen=True)
class References:
    """A collection as pictures are searched for in it, so that it is read once and not for every search.

    Attributes:
        rows: of the training images, int64 [M].
        training, held_out: their pixels and those of some test images, as small as they are compared, float16
            [M, 1, h, w] in [-1, 1].
        people: patient of each.
        size: side of the collection's images in pixels.
    """

    rows: np.ndarray
    training: Tensor
    held_out: Tensor
    people: memorisation.People
    size: int

    @classmethod
    def of(cls, prepared: Prepared) -> "References":
        """Read all training images."""
        training, test = prepared.rows("train"), prepared.rows("test")[:HELD_OUT]
        people = prepared.patients(training), prepared.patients(test)
        return cls(training, small(prepared, training), small(prepared, test), people, prepared.size)


def small(prepared: Prepared, rows: np.ndarray) -> Tensor:
    """Images of `rows` at SIDE pixels (means of areas), float16 [N, 1, h, w]."""
    side = min(memorisation.SIDE, prepared.size)
    parts = np.array_split(rows, max(1, len(rows) // memorisation.BATCH))
    return torch.cat([F.interpolate(prepared.pixels(part), size=(side, side), mode="area").half() for part in parts])


def neighbours(images: Tensor, references: References) -> tuple[memorisation.NearCopies, np.ndarray]:
    """Search the training images of a collection for what resembles `images` most.

    Args:
        images: pixels `[N,1,H,W]` in [-1, 1], of the collection's size.

    Returns:
        what `memorisation.search` finds, and the row of each training image that its `index` counts, int64.

    Raises:
        UserError: the sizes differ, or the collection has no test images to compare with.
    """
    if images.shape[-1] != references.size:
        raise UserError(f"images of {images.shape[-1]} pixels are compared with a collection of {references.size}.")
    training = references.training.split(memorisation.BATCH)
    return memorisation.search(images, references.held_out, training, references.people), references.rows
