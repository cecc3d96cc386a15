"""The samples that a version is warmed with before it gets traffic, and what it answered to them when it was built.

A server that gives other answers than these runs something else than what the gate let through.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from enginebuild.data import Dataset
from enginebuild.datatypes import Arrays
from enginebuild.recipe.recipe import Recipe
from enginebuild.targets.target import Model
from services.core.records.manifest import WarmupEntry

WARMUP_FILE = "warmup.npz"
INPUT, OUTPUT = "input/", "output/"
_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Warmup:
    """Samples for a warm-up.

    Attributes:
        inputs: By input, the samples.
        real: Whether they are held-out samples; otherwise one of zeros, which is a valid index, mask and pixel.
    """

    inputs: Arrays
    real: bool

    def save(self, model: Model, max_batch_size: int, folder: Path) -> WarmupEntry:
        """Write ``warmup.npz``: the inputs under ``input/NAME``, the model's answers under ``output/NAME``.

        Raises:
            BuildFailed: The runtime cannot run them.
        """
        outputs = model.run_all(self.inputs, max_batch_size)
        named = {INPUT: self.inputs, OUTPUT: outputs}
        arrays = {f"{kind}{name}": array for kind, group in named.items() for name, array in group.items()}
        np.savez(folder / WARMUP_FILE, **arrays)
        return WarmupEntry(WARMUP_FILE, len(next(iter(self.inputs.values()))), self.real)


def warmup_of(recipe: Recipe, data: Dataset) -> Warmup:
    """Return as many held-out samples as the recipe lets out, at most 4 MiB of them, from all over the data set."""
    row_bytes = sum(array.nbytes // len(array) for array in data.inputs.values())
    count = min(recipe.data.warmup_count, data.samples, max(1, _MOST_BYTES // max(1, row_bytes)))
    if count == 0:
        return Warmup({name: np.zeros_like(array[:1]) for name, array in data.inputs.items()}, real=False)
    rows = np.linspace(0, data.samples - 1, count).astype(np.int64)
    return Warmup({name: np.ascontiguousarray(array[rows]) for name, array in data.inputs.items()}, real=True)
