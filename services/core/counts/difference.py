"""Sparse histograms of differences between two answers, on logarithmic buckets that are the same everywhere.

Buckets are 2^(1/4) wide and reach from 2^-40, below which a difference is none, to 2^24. A quantile is told as an upper
bound that is at most 19 % too high; merging is addition, as of latency histograms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.counts.sparse_counts import combined, grew

PER_OCTAVE = 4
MIN_EXPONENT = -40  # 2^-40, about 9e-13: everything smaller, an exact 0 among it, is in bucket 0
MAX_EXPONENT = 24
BUCKET_COUNT = (MAX_EXPONENT - MIN_EXPONENT) * PER_OCTAVE + 2

_OFFSET = -MIN_EXPONENT * PER_OCTAVE + 1
_LEAST = 2.0**MIN_EXPONENT


def bucket_of(difference: float) -> int:
    """Return the bucket of a difference of 0 or more, infinity included: the smallest with no lower upper bound."""
    if difference <= _LEAST:
        return 0
    if math.isinf(difference):
        return BUCKET_COUNT - 1
    index = math.ceil(math.log2(difference) * PER_OCTAVE) + _OFFSET - 1
    return min(index, BUCKET_COUNT - 1)


def upper_bound(index: int) -> float:
    """Return the inclusive upper bound of a bucket; infinity for the last."""
    if index >= BUCKET_COUNT - 1:
        return math.inf
    return float(2.0 ** (index / PER_OCTAVE + MIN_EXPONENT))


@dataclass(frozen=True, slots=True)
class DifferenceHistogram:
    """Counts of differences by bucket.

    Attributes:
        counts: Observations by bucket index; buckets without any are absent.
    """

    counts: Mapping[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of observations."""
        return sum(self.counts.values())

    def __add__(self, other: DifferenceHistogram) -> DifferenceHistogram:
        return DifferenceHistogram(combined(self.counts, other.counts, 1))

    def __sub__(self, earlier: DifferenceHistogram) -> DifferenceHistogram:
        """Return what was added since ``earlier``, an older state of this histogram."""
        return DifferenceHistogram(combined(self.counts, earlier.counts, -1))

    def grew_from(self, earlier: DifferenceHistogram) -> bool:
        """Return whether the counts can have grown out of earlier ones."""
        return grew(earlier.counts, self.counts)

    def quantile(self, q: float) -> float | None:
        """Return the upper bound of the bucket with the q-quantile (nearest rank); 0 for the lowest bucket.

        None where there is no observation.
        """
        total = self.total
        if not total:
            return None
        rank, seen, index = max(1, math.ceil(q * total)), 0, 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                break
        return upper_bound(index) if index else 0.0
