"""scikit-learn's 569 breast tumours (UCI, Wolberg et al., 1995): benign ones are normal, malignant ones are not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer

TRAINED_ON = 240  # benign samples; the other 117 and all malignant ones are held out
SPLIT_SEED = 0

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def split() -> tuple[Features, tuple[Features, Labels]]:
    """Return normal samples to train on [N, 30], and held-out (samples, labels): 1 for an anomaly."""
    features, labels = load_breast_cancer(return_X_y=True)
    values, anomalous = features.astype(np.float32), (labels == 0).astype(np.int64)
    normal = np.random.default_rng(SPLIT_SEED).permutation(np.flatnonzero(anomalous == 0))
    held_out = np.sort(np.concatenate([normal[TRAINED_ON:], np.flatnonzero(anomalous)]))
    return values[normal[:TRAINED_ON]], (values[held_out], anomalous[held_out])


def evaluation() -> tuple[dict[str, Features], Labels]:
    """Return the held-out samples and which of them are anomalies."""
    features, labels = split()[1]
    return {"features": features}, labels


def calibration() -> dict[str, Features]:
    """Return training samples for INT8 ranges."""
    return {"features": split()[0]}
