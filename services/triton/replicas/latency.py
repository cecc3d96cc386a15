"""How long a model version takes, lately: enough to tell slow from stuck. Pure."""

from __future__ import annotations

from bisect import bisect_left

_PER_OCTAVE = 4
_OCTAVES = range(-13, 8)  # 2^-13 s is 0.12 ms, 2^8 s over four minutes
_BOUNDS_S: tuple[float, ...] = tuple(
    2.0 ** (octave + step / _PER_OCTAVE) for octave in _OCTAVES for step in range(_PER_OCTAVE)
)
MIN_OBSERVATIONS = 20


class LatencySketch:
    """Counts of latencies in buckets 19 % wide, of the present and the last period.

    A quantile of it is never too low and at most 19 % too high, which is plenty for a bound that is several times that.
    """

    __slots__ = ("_last", "_now")

    def __init__(self) -> None:
        self._now = [0] * (len(_BOUNDS_S) + 1)
        self._last = list(self._now)

    def observe(self, seconds: float) -> None:
        """Add one latency."""
        self._now[bisect_left(_BOUNDS_S, seconds)] += 1

    def begin_period(self) -> None:
        """Forget the last period; the present one becomes the last."""
        self._last, self._now = self._now, [0] * len(self._now)

    def quantile(self, q: float) -> float | None:
        """Return an upper bound of the q-quantile in seconds; None while there are too few to tell."""
        counts = [last + now for last, now in zip(self._last, self._now, strict=True)]
        total = sum(counts)
        if total < MIN_OBSERVATIONS:
            return None
        rank, seen = q * total, 0
        for bound_s, count in zip(_BOUNDS_S, counts, strict=False):
            seen += count
            if seen >= rank:
                return bound_s
        return _BOUNDS_S[-1]
