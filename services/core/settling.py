"""Whether a version that was just loaded has become as fast as it gets. Pure."""

from __future__ import annotations

from statistics import median

_WINDOW = 8
_CLOSE = 1.15


class Settling:
    """Latencies one after the other, until they fall no more.

    They have settled when the median of the last eight is within 15 % of that of the eight before: the first ones pay
    for memory, kernels and caches, and a median is not moved by a single hiccup.
    """

    def __init__(self) -> None:
        self._latencies: list[float] = []

    def observe(self, seconds: float) -> None:
        """Note the next latency."""
        self._latencies.append(seconds)

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self._latencies)

    @property
    def first_s(self) -> float:
        """The first of them; 0 before."""
        return self._latencies[0] if self._latencies else 0.0

    @property
    def last_s(self) -> float:
        """The median of the last eight; 0 before the first."""
        return median(self._latencies[-_WINDOW:]) if self._latencies else 0.0

    @property
    def settled(self) -> bool:
        """Whether they fall no more."""
        if len(self._latencies) < 2 * _WINDOW:
            return False
        before = median(self._latencies[-2 * _WINDOW : -_WINDOW])
        return self.last_s <= _CLOSE * before and before <= _CLOSE * self.last_s
