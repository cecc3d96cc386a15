"""Sparse histograms of what versions answer: confidences, and values of numeric outputs, in bins that suit any scale.

Each factor of two has 32 bins of equal width, so a bin is 1.6 to 3.1 % of its values wide, on both sides of 0; between
a half and 1, where most confidences are, that is 1/64. Bins reach from 2^-20, below which a value is 0, to 2^30; the
outermost hold everything beyond. They are the same in every worker and for every version, so merging is addition, and
their order is that of the values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from services.core.counts.sparse_counts import combined, grew

PER_OCTAVE: Final = 32
MIN_EXPONENT: Final = -20  # 2^-20, about 1e-6: everything nearer to 0 is in its bin
MAX_EXPONENT: Final = 30  # 2^30, about 1e9: everything further away is in the outermost bins
_PER_SIDE: Final = (MAX_EXPONENT - MIN_EXPONENT) * PER_OCTAVE
ZERO_BIN: Final = _PER_SIDE
BIN_COUNT: Final = 2 * _PER_SIDE + 1

# What is counted of an output; the name of a histogram is the kind, a colon and the output.
CONFIDENCE: Final = "confidence"  # of one with class labels: the score of the first class
MEAN: Final = "mean"  # of any other: the mean of a row, which of a single number is itself

_LEAST: Final = 2.0**MIN_EXPONENT
_PER_MANTISSA: Final = 2 * PER_OCTAVE  # a mantissa is a half at least
_ABOVE_ZERO: Final = ZERO_BIN + 1 - PER_OCTAVE - (MIN_EXPONENT + 1) * PER_OCTAVE
_BELOW_ZERO: Final = 2 * ZERO_BIN - _ABOVE_ZERO
_frexp = math.frexp


def bin_of(value: float) -> int:
    """Return the bin of a finite value."""
    if -_LEAST < value < _LEAST:
        return ZERO_BIN
    mantissa, exponent = _frexp(value)
    if mantissa > 0:
        place = _ABOVE_ZERO + exponent * PER_OCTAVE + int(mantissa * _PER_MANTISSA)
        return place if place < BIN_COUNT else BIN_COUNT - 1
    place = _BELOW_ZERO - exponent * PER_OCTAVE + int(mantissa * _PER_MANTISSA)
    return max(place, 0)


def middle_of(index: int) -> float:
    """Return the middle of a bin."""
    if index == ZERO_BIN:
        return 0.0
    octave, part = divmod(abs(index - ZERO_BIN) - 1, PER_OCTAVE)
    return math.copysign(2.0 ** (MIN_EXPONENT + octave) * (1.0 + (part + 0.5) / PER_OCTAVE), index - ZERO_BIN)


@dataclass(frozen=True, slots=True)
class ValueHistogram:
    """Counts of rows by bin.

    Attributes:
        counts: Rows by bin; bins without any are absent.
        squares: Sum over the answers of the squares of their numbers of rows: the rows of one answer may resemble each
            other, and this says how many draws of equal weight they are worth.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    squares: int = 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(self.counts.values())

    def __add__(self, other: ValueHistogram) -> ValueHistogram:
        return ValueHistogram(combined(self.counts, other.counts, 1), self.squares + other.squares)

    def __sub__(self, earlier: ValueHistogram) -> ValueHistogram:
        """Return what was added since ``earlier``, an older state of this histogram."""
        return ValueHistogram(combined(self.counts, earlier.counts, -1), self.squares - earlier.squares)

    def grew_from(self, earlier: ValueHistogram) -> bool:
        """Return whether the counts can have grown out of earlier ones."""
        return earlier.squares <= self.squares and grew(earlier.counts, self.counts)

    def quantile(self, q: float) -> float | None:
        """Return the middle of the bin with the q-quantile (nearest rank); None where there are no rows."""
        rank, seen, index = max(1, math.ceil(q * self.rows)), 0, None
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                break
        return None if index is None else middle_of(index)
