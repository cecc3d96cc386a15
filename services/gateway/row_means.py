"""The mean of each row of a numeric output: one number that stands for it in a distribution. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.gateway.spread import spread_step

# Of a longer row no more are looked at, so that the cost does not grow with it.
_MOST_ELEMENTS = 1024


def mean_of(values: Sequence[float], total: float) -> float:
    """Return the mean of finite values whose sum is known; the sum alone may be beyond what a float holds."""
    size = len(values)
    return total / size if math.isfinite(total) else sum(value / size for value in values)


def means_of(values: npt.NDArray[Any], rows: int) -> list[float]:
    """Return the mean of each row of finite values, whose number is a multiple of ``rows``."""
    table = values.reshape(rows, -1)
    table = table[:, :: spread_step(table.shape[1], _MOST_ELEMENTS)].astype(np.float64)
    # Each is divided before they are added: the sum alone may be beyond what a float holds.
    means: list[float] = (table / table.shape[1]).sum(axis=1).tolist()
    return means
