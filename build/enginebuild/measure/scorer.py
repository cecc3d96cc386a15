"""A metric of one version's outputs, for any choice of the samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enginebuild.datatypes import Array
from enginebuild.measure.intervals import Indices

Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scorer:
    """One metric of one version's outputs.

    Attributes:
        value: The metric over the samples with these indices.
        flags: Where the metric is a share: for each sample whether it counts.
        values: Where it comes from one number per sample: these, higher for worse where less is better.
    """

    value: Callable[[Indices], float]
    flags: Flags | None = None
    values: Values | None = None


def share(flags: Array) -> Scorer:
    """Return the scorer of a share of the samples."""
    each = np.asarray(flags, dtype=np.bool_)
    return Scorer(lambda chosen: float(each[chosen].mean()), flags=each)


def mean(values: Array) -> Scorer:
    """Return the scorer of a mean of one number per sample."""
    each = np.asarray(values, dtype=np.float64)
    return Scorer(lambda chosen: float(each[chosen].mean()), values=each)


def root_mean(squares: Array) -> Scorer:
    """Return the scorer of the root of a mean of one square per sample."""
    each = np.asarray(squares, dtype=np.float64)
    return Scorer(lambda chosen: float(np.sqrt(each[chosen].mean())), values=each)
