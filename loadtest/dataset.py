"""Real inputs with known answers, from an npz file such as the build stage publishes beside a version."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.errors import ConfigurationError

FILE_NAME = "evaluation.npz"
LABELS = "labels"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled inputs.

    Attributes:
        inputs: Arrays by name, all with the same number of items in the first dimension, at least one.
        labels: Class index per item, int64.
        path: Where they came from.
    """

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[np.int64]
    path: Path

    def batches(self, size: int) -> list[tuple[dict[str, NDArray[Any]], NDArray[np.int64]]]:
        """Return every item in batches of ``size``; the last one is filled up from the beginning."""
        count = len(self.labels)
        picks = [np.arange(start, start + size) % count for start in range(0, count, size)]
        return [({name: array[pick] for name, array in self.inputs.items()}, self.labels[pick]) for pick in picks]


def load_dataset(path: Path) -> Dataset:
    """Read an npz file: one array for each input, and ``labels``. Nothing in it is unpickled.

    Raises:
        ConfigurationError: It is missing, is no npz file, or inputs and labels do not belong together.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, NDArray[Any]] = {name: archive[name] for name in archive}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as an npz file ({error}); give one with --data") from error
    labels = arrays.pop(LABELS, None)
    if labels is None or not arrays:
        held = ", ".join(sorted([*arrays, *([LABELS] if labels is not None else [])])) or "nothing"
        raise ConfigurationError(f"{path}: holds {held}; expected an array for each input, and '{LABELS}'")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ConfigurationError(
            f"{path}: labels are {labels.dtype} {list(labels.shape)}; expected one class index for each item"
        )
    for name, array in arrays.items():
        if array.shape[:1] != labels.shape:
            raise ConfigurationError(f"{path}: '{name}' is {list(array.shape)}, but there are {len(labels)} labels")
    return Dataset(arrays, labels.astype(np.int64), path)


def find_dataset(repository: Path, model: str, version: int | None) -> Path:
    """Return the held-out data beside a published version, by default the newest that has some.

    Raises:
        ConfigurationError: There is none.
    """
    folder = repository / model
    versions = [version] if version is not None else sorted(_versions(folder), reverse=True)
    for number in versions:
        path = folder / str(number) / FILE_NAME
        if path.is_file():
            return path
    wanted = f"version {version}" if version is not None else "any version"
    raise ConfigurationError(
        f"no {FILE_NAME} beside {wanted} of {model} in {repository}; give held-out data with --data"
    )


def _versions(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal()]
