"""scikit-learn's 569 breast tumours (UCI, Wolberg et al., 1995), split once and for all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

HELD_OUT = 189
SPLIT_SEED = 0  # which sample is held out never depends on the seed of the training

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def split() -> tuple[tuple[Features, Labels], tuple[Features, Labels]]:
    """Return (training, held-out) pairs of 30 measurements [N, 30] and labels [N]: 0 benign, 1 malignant."""
    features, labels = load_breast_cancer(return_X_y=True)
    malignant = (labels == 0).astype(np.int64)  # scikit-learn counts the other way round
    train, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, stratify=malignant, random_state=SPLIT_SEED
    )
    values = features.astype(np.float32)
    return (values[train], malignant[train]), (values[held_out], malignant[held_out])


def evaluation() -> tuple[dict[str, Features], Labels]:
    """Return the held-out measurements and their labels."""
    features, labels = split()[1]
    return {"features": features}, labels


def calibration() -> dict[str, Features]:
    """Return training measurements for INT8 ranges."""
    return {"features": split()[0][0]}
