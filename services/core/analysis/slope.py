"""The slope of a series that a few outliers cannot move: Theil's and Sen's. Pure.

Source: P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63 (1968), 1379-1389. The
interval is exact for independent errors only; whoever uses it for others says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

# One-sided 0.05 % of a normal distribution.
_Z = 3.29


@dataclass(frozen=True, slots=True)
class Slope:
    """Estimate, and the ends of its interval, in units of y by units of x."""

    value: float
    lower: float
    upper: float


def slope(x: Sequence[float], y: Sequence[float]) -> Slope | None:
    """Return the median of the slopes of all pairs of points; None where no two differ in x.

    Args:
        x: Where the points are, ascending; equal ones make no pair.
        y: Their values, as many.
    """
    points = list(zip(x, y, strict=True))
    pairs = sorted((d - b) / (c - a) for (a, b), (c, d) in combinations(points, 2) if c > a)
    if not pairs:
        return None
    n = len(points)
    width = _Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    below = max(0, math.floor((len(pairs) - width) / 2))
    above = min(len(pairs) - 1, math.ceil((len(pairs) + width) / 2))
    return Slope(median(pairs), pairs[below], pairs[above])
