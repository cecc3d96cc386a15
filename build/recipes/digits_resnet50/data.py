"""Digits blown up to the size of photographs: 3x224x224."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HELD_OUT = 200
TRAINED_ON = 300
SPLIT_SEED = 0
CALIBRATION = 64
PIXEL_MAX = 16.0
SIDE = 224

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def split() -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Return (training, held-out) pairs of images [N, 3, 224, 224], 0 to 1, and labels [N]."""
    pixels, labels = load_digits(return_X_y=True)
    images, classes = (pixels / PIXEL_MAX).astype(np.float32).reshape(-1, 8, 8), labels.astype(np.int64)
    train, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, train_size=TRAINED_ON, stratify=labels, random_state=SPLIT_SEED
    )
    return (_upscaled(images[train]), classes[train]), (_upscaled(images[held_out]), classes[held_out])


def evaluation() -> tuple[dict[str, Images], Labels]:
    """Return the held-out images and their labels."""
    images, labels = split()[1]
    return {"image": images}, labels


def calibration() -> dict[str, Images]:
    """Return training images for INT8 ranges."""
    return {"image": split()[0][0][:CALIBRATION]}


def _upscaled(images: Images) -> Images:
    """Return images [N, 8, 8] as [N, 3, 224, 224]: each pixel a square, in three equal colours."""
    large = images.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)
    return np.ascontiguousarray(np.broadcast_to(large[:, None], (len(images), 3, SIDE, SIDE)))
