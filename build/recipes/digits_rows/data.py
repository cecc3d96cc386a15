"""scikit-learn's 1,797 scanned digits, split once and for all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HELD_OUT = 450
SPLIT_SEED = 0
CALIBRATION = 256

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def split() -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Return (training, held-out) pairs of images [N, 1, 8, 8], raw pixel values 0 to 16, and labels [N]."""
    pixels, labels = load_digits(return_X_y=True)
    images, classes = pixels.astype(np.float32).reshape(-1, 1, 8, 8), labels.astype(np.int64)
    train, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=SPLIT_SEED
    )
    return (images[train], classes[train]), (images[held_out], classes[held_out])


def evaluation() -> tuple[dict[str, Images], Labels]:
    """Return the held-out images and their labels."""
    images, labels = split()[1]
    return {"image": images}, labels


def calibration() -> dict[str, Images]:
    """Return training images for INT8 ranges."""
    return {"image": split()[0][0][:CALIBRATION]}
