"""Digits as two inputs: the scanned image, and a table of what can be measured on it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HELD_OUT = 450
SPLIT_SEED = 0
CALIBRATION = 256

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Inputs = dict[str, Floats]


def split() -> tuple[tuple[Inputs, Labels], tuple[Inputs, Labels]]:
    """Return (training, held-out) pairs of inputs, images [N, 1, 8, 8] and tables [N, 7], and labels [N]."""
    pixels, labels = load_digits(return_X_y=True)
    images, classes = pixels.astype(np.float32).reshape(-1, 8, 8), labels.astype(np.int64)
    inputs = {"image": images[:, None], "table": measured(images)}
    train, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=SPLIT_SEED
    )
    return ({name: array[train] for name, array in inputs.items()}, classes[train]), (
        {name: array[held_out] for name, array in inputs.items()},
        classes[held_out],
    )


def measured(images: Floats) -> Floats:
    """Return the table of images [N, 8, 8]: ink, centre (row, column), spread (row, column), slant, symmetry."""
    ink = images.sum(axis=(1, 2))
    rows, columns = np.mgrid[0:8, 0:8].astype(np.float32)

    def mean(values: Floats) -> Floats:
        return np.asarray((images * values).sum(axis=(1, 2)) / ink, dtype=np.float32)

    row, column = mean(rows), mean(columns)
    off_row, off_column = rows - row[:, None, None], columns - column[:, None, None]
    spreads = [mean(off_row**2), mean(off_column**2), mean(off_row * off_column)]
    symmetry = 1 - np.abs(images - images[:, :, ::-1]).sum(axis=(1, 2)) / (2 * ink)
    return np.stack([ink, row, column, *spreads, symmetry], axis=1).astype(np.float32)


def evaluation() -> tuple[Inputs, Labels]:
    """Return the held-out inputs and their labels."""
    return split()[1]


def calibration() -> Inputs:
    """Return training inputs for INT8 ranges."""
    return {name: array[:CALIBRATION] for name, array in split()[0][0].items()}
