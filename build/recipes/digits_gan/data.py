"""Noise to make digits of, and real digits to compare them with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

NOISE = 32
HELD_OUT = 450
SPLIT_SEED = 0
CALIBRATION = 256
PIXEL_MAX = 16.0

Floats = npt.NDArray[np.float32]


def split() -> tuple[Floats, Floats]:
    """Return real digits to train on and held-out ones, [N, 1, 8, 8], 0 to 1."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / PIXEL_MAX).astype(np.float32).reshape(-1, 1, 8, 8)
    train, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=SPLIT_SEED
    )
    return images[train], images[held_out]


def evaluation() -> tuple[dict[str, Floats], Floats]:
    """Return noise, and as many real digits: the labels of a generator."""
    real = split()[1]
    return {"noise": _noise(len(real), 1)}, real


def calibration() -> dict[str, Floats]:
    """Return other noise for INT8 ranges."""
    return {"noise": _noise(CALIBRATION, 2)}


def _noise(count: int, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal((count, NOISE), dtype=np.float32)
