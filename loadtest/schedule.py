"""When requests are due: offsets in seconds from the start, decided before the first answer.

A Poisson process is what many independent clients look like together; a constant one spaces requests evenly. The same
seed gives the same offsets.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from enum import StrEnum


class Process(StrEnum):
    """How arrivals are spread over time."""

    POISSON = "poisson"
    CONSTANT = "constant"


def offsets(process: Process, rate_per_s: float, seed: int, duration_s: float | None = None) -> Iterator[float]:
    """Yield ascending offsets in seconds, below ``duration_s`` or without end.

    Args:
        process: Poisson or constant.
        rate_per_s: Mean arrivals per second, above 0.
        seed: Start of the random numbers; a constant process takes its phase from it, so that two do not beat together.
        duration_s: Where the schedule ends; None for never.
    """
    endless = _poisson(rate_per_s, seed) if process is Process.POISSON else _constant(rate_per_s, seed)
    return endless if duration_s is None else itertools.takewhile(lambda offset: offset < duration_s, endless)


def _poisson(rate_per_s: float, seed: int) -> Iterator[float]:
    gaps = random.Random(seed)  # noqa: S311 - a reproducible schedule, not a secret
    due = 0.0
    while True:
        due += gaps.expovariate(rate_per_s)
        yield due


def _constant(rate_per_s: float, seed: int) -> Iterator[float]:
    phase = random.Random(seed).random()  # noqa: S311 - a reproducible schedule, not a secret
    # Multiplied, not added up: a sum of rounded gaps would drift.
    return ((index + phase) / rate_per_s for index in itertools.count())
