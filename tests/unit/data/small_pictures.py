"""Pictures that tell themselves apart."""

import numpy as np


def picture(seed: int, height: int = 40, width: int = 32) -> np.ndarray:
    """uint8 [height, width] that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
