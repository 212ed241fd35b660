"""Small changes of training images that a patient and an exposure could also have made. Never a mirror image."""

import os
from typing import Any

import numpy as np

from cxr_ldm.errors import UserError


class Augment:
    """Random rotation, shift, scale and intensity by Albumentations, as a function of (seed, position) alone.

    What leaves the image is lost; what enters it is black, as beyond the detector.

    Args:
        rotation: largest angle either way, degrees; at most 15.
        shift: largest shift either way along each axis, as a share of the side; at most 0.2.
        scale: largest change of size either way, as a share; at most 0.3.
        intensity: largest change of brightness and of contrast either way, as a share; at most 0.5.
        seed: of the random numbers.

    Raises:
        UserError: a value is negative, or larger than a radiograph bears.
    """

    def __init__(self, rotation: float, shift: float, scale: float, intensity: float, seed: int):
        limits = {
            "rotation": (rotation, 15),
            "shift": (shift, 0.2),
            "scale": (scale, 0.3),
            "intensity": (intensity, 0.5),
        }
        for name, (value, largest) in limits.items():
            if not 0 <= value <= largest:
                raise UserError(f"training.vae.augment.{name}={value} must lie between 0 and {largest}.")
        self.seed = seed
        self.transform = _compose(rotation, shift, scale, intensity)

    def __call__(self, images: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Changed copies.

        Args:
            images: uint8 or uint16 [B, H, W].
            positions: int64 [B], of the images in the stream of training images; decide what is drawn.
        """
        return np.stack([self._one(image, int(position)) for image, position in zip(images, positions, strict=True)])

    def _one(self, image: np.ndarray, position: int) -> np.ndarray:
        self.transform.set_random_seed(int(np.random.default_rng([self.seed, position]).integers(2**31)))
        largest = np.iinfo(image.dtype).max
        # 8 and 16 bits alike go through float32 in 0–1, which is what the intensity transform means by a share
        changed = self.transform(image=(image / np.float32(largest)).astype(np.float32)[..., None])["image"]
        return np.rint(np.clip(changed[..., 0], 0, 1) * largest).astype(image.dtype)


def _compose(rotation: float, shift: float, scale: float, intensity: float) -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version
    import albumentations
    import cv2

    return albumentations.Compose(
        [
            albumentations.Affine(
                scale=(1 - scale, 1 + scale),
                translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
                rotate=(-rotation, rotation),
                interpolation=cv2.INTER_LINEAR,
                border_mode=cv2.BORDER_CONSTANT,
                fill=0,
                p=1.0,
            ),
            albumentations.RandomBrightnessContrast(intensity, intensity, ensure_safe_range=True, p=1.0),
        ]
    )
