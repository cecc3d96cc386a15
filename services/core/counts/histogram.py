"""Mergeable latency histograms, from which quantiles are right.

Buckets are 2^(1/32) wide, so a quantile is off by at most 1.1 % whatever the distribution. Boundaries are the same in
every worker and at every time: merging is addition, and any coarser set of boundaries whose resolution divides 32 is
exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

PER_OCTAVE = 32
MIN_EXPONENT = -20  # 2^-20 s, just under 1 microsecond: everything shorter is in bucket 0
MAX_EXPONENT = 7  # 2^7 s = 128 s: everything longer is in the last bucket
BUCKET_COUNT = (MAX_EXPONENT - MIN_EXPONENT) * PER_OCTAVE + 2

_OFFSET = -MIN_EXPONENT * PER_OCTAVE + 1
_MIN_S = 2.0**MIN_EXPONENT
_log2 = math.log2


def bucket_index(seconds: float) -> int:
    """Return the bucket of a duration in seconds: the smallest whose upper bound is not below it."""
    if seconds <= _MIN_S:
        return 0
    index = math.ceil(_log2(seconds) * PER_OCTAVE) + _OFFSET - 1
    return index if index < BUCKET_COUNT else BUCKET_COUNT - 1


def upper_bound_s(index: int) -> float:
    """Return the inclusive upper bound of a bucket in seconds; infinity for the last."""
    if index >= BUCKET_COUNT - 1:
        return math.inf
    return float(2.0 ** (index / PER_OCTAVE + MIN_EXPONENT))


def _middle_s(index: int) -> float:
    if index == 0:
        return _MIN_S
    if index >= BUCKET_COUNT - 1:
        return 2.0**MAX_EXPONENT
    return float(2.0 ** ((index - 0.5) / PER_OCTAVE + MIN_EXPONENT))


class LatencyHistogram:
    """Counts of durations by bucket, with their sum in seconds."""

    __slots__ = ("counts", "sum_s")

    def __init__(self, counts: Mapping[int, int] | None = None, sum_s: float = 0.0) -> None:
        self.counts: dict[int, int] = {i: n for i, n in (counts or {}).items() if n}
        self.sum_s = sum_s

    @classmethod
    def from_dense(cls, counts: Sequence[int], sum_s: float) -> LatencyHistogram:
        """Build from one count per bucket."""
        return cls({i: n for i, n in enumerate(counts) if n}, sum_s)

    @property
    def total(self) -> int:
        """Number of observations."""
        return sum(self.counts.values())

    def observe(self, seconds: float, count: int = 1) -> None:
        """Add observations of one duration."""
        index = bucket_index(seconds)
        self.counts[index] = self.counts.get(index, 0) + count
        self.sum_s += seconds * count

    def __add__(self, other: LatencyHistogram) -> LatencyHistogram:
        merged = dict(self.counts)
        for index, count in other.counts.items():
            merged[index] = merged.get(index, 0) + count
        return LatencyHistogram(merged, self.sum_s + other.sum_s)

    def __sub__(self, earlier: LatencyHistogram) -> LatencyHistogram:
        """Return what was added since ``earlier``, which must be an older state of this histogram."""
        delta = dict(self.counts)
        for index, count in earlier.counts.items():
            left = delta.get(index, 0) - count
            if left < 0:
                raise ValueError(f"bucket {index} shrank by {-left}: the histograms are not two states of one")
            delta[index] = left
        return LatencyHistogram(delta, self.sum_s - earlier.sum_s)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LatencyHistogram) and self.counts == other.counts and self.sum_s == other.sum_s

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"LatencyHistogram(total={self.total}, sum_s={self.sum_s:.6g})"

    def at_rank(self, rank: int) -> float:
        """Return the duration in seconds of the rank-th smallest observation, counted from 1 (bucket midpoint)."""
        seen = 0
        index = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                break
        return _middle_s(index)

    def quantile(self, q: float) -> float | None:
        """Return the q-quantile in seconds (nearest rank), or None where there is no observation."""
        total = self.total
        if not total:
            return None
        return self.at_rank(max(1, math.ceil(q * total)))

    def cumulative(self, per_octave: int) -> list[tuple[float, int]]:
        """Return (upper bound in seconds, observations at or below it), ``per_octave`` bounds to a factor of two.

        Raises:
            ValueError: ``per_octave`` does not divide the native resolution, so the counts would not be exact.
        """
        if PER_OCTAVE % per_octave:
            raise ValueError(f"{per_octave} buckets per octave do not divide {PER_OCTAVE}")
        stride = PER_OCTAVE // per_octave
        rows: list[tuple[float, int]] = []
        seen = 0
        for index in range(BUCKET_COUNT - 1):
            seen += self.counts.get(index, 0)
            if index % stride == 0:
                rows.append((upper_bound_s(index), seen))
        rows.append((math.inf, seen + self.counts.get(BUCKET_COUNT - 1, 0)))
        return rows
