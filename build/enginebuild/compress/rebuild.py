"""A compressed network made again, to see whether the same comes out, and if not, what differs and by how much."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from enginebuild.datatypes import Array
from services.core.records.compression_record import NetworkRebuildEntry


def rebuild(first: Path, builds: int, make: Callable[[Path], None]) -> NetworkRebuildEntry:
    """Make a network again and compare.

    Args:
        first: The ONNX model of the network as it was made first.
        builds: How often it is made in all, the first time included.
        make: Makes it anew and writes its ONNX model.

    Raises:
        BuildFailed: It cannot be made again.
    """
    wanted, identical = first.read_bytes(), 0
    differing: dict[str, float | None] = {}
    for number in range(2, builds + 1):
        again = first.with_name(f"{first.stem}-{number}.onnx")
        make(again)
        if again.read_bytes() == wanted:
            identical += 1
        else:
            for name, apart in _differences(_weights(first), _weights(again)).items():
                differing[name] = _most([apart, differing.get(name, 0.0)])
        again.unlink()
    return NetworkRebuildEntry(builds, identical, tuple(differing), _most([0.0, *differing.values()]))


def _most(apart: Iterable[float | None]) -> float | None:
    """Return the largest; None where one of them is no number."""
    known = list(apart)
    numbers = [one for one in known if one is not None]
    return max(numbers) if len(numbers) == len(known) else None


def _weights(path: Path) -> dict[str, Array]:
    model: Any = onnx.load(str(path))
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _differences(one: dict[str, Array], other: dict[str, Array]) -> dict[str, float | None]:
    """Return how far each tensor that differs is off, in its own unit; None where there is no such number."""
    found: dict[str, float | None] = {}
    for name in [*one, *(name for name in other if name not in one)]:
        here, there = one.get(name), other.get(name)
        if here is None or there is None or here.shape != there.shape:
            found[name] = None
        elif not np.array_equal(here, there):
            found[name] = float(np.abs(here.astype(np.float64) - there.astype(np.float64)).max())
    return found
