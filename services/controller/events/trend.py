"""The course of one step in a bounded number of points: error share and p99 of both versions. Pure.

Kept in memory only: after a restart of the controller a trend begins anew, while the evidence does not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.core.counts.tally import Tally

_QUANTILE = 0.99
_MINUTE_S = 60.0
_RATE_POINTS = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """What one version answered in an interval.

    Attributes:
        requests: Requests.
        bad: Of these, failed or not finite.
        p99_s: Their p99, seconds; None without an answer.
    """

    requests: int
    bad: int
    p99_s: float | None

    @property
    def bad_share(self) -> float | None:
        """Share of bad answers, or None without a request."""
        return self.bad / self.requests if self.requests else None

    def joined(self, later: Sample) -> Sample:
        """Return both intervals as one; of two p99 the higher, so that a peak is never lost."""
        known = [each.p99_s for each in (self, later) if each.p99_s is not None]
        return Sample(self.requests + later.requests, self.bad + later.bad, max(known, default=None))


@dataclass(frozen=True, slots=True)
class Point:
    """An interval's end, seconds since the epoch, and what was answered in it."""

    at: float
    stable: Sample
    candidate: Sample


class Trend:
    """Takes in a step's evidence as it grows.

    Args:
        step: What is followed; evidence of another step begins a trend of its own.
        max_points: Bound on the points; where it is reached, neighbours become one.
    """

    def __init__(self, step: object, max_points: int = 120) -> None:
        self.step = step
        self._max_points = max_points
        self._spacing_s = 0.0
        self._last: tuple[Tally, Tally] | None = None
        self._points: list[Point] = []
        self._totals: deque[tuple[float, int, int]] = deque(maxlen=_RATE_POINTS)

    @property
    def points(self) -> tuple[Point, ...]:
        """The course, oldest first."""
        return tuple(self._points)

    def add(self, at: float, stable: Tally, candidate: Tally) -> None:
        """Take in the evidence of a moment, seconds since the epoch; what is too close to the last point waits."""
        if not self._totals or at - self._totals[-1][0] >= _MINUTE_S / _RATE_POINTS:
            self._totals.append((at, stable.requests, candidate.requests))
        if self._last is None:
            self._last = (stable, candidate)
            return
        if self._points and at - self._points[-1].at < self._spacing_s:
            return
        before, self._last = self._last, (stable, candidate)
        self._points.append(Point(at, _since(before[0], stable), _since(before[1], candidate)))
        if len(self._points) >= self._max_points:
            self._thin()

    def rates(self) -> tuple[float, float] | None:
        """Return requests per second of both over the last minute, or None before there are two looks."""
        newest = self._totals[-1] if self._totals else None
        since = next((each for each in self._totals if newest and newest[0] - each[0] <= _MINUTE_S), None)
        if newest is None or since is None or newest[0] <= since[0]:
            return None
        seconds = newest[0] - since[0]
        return (newest[1] - since[1]) / seconds, (newest[2] - since[2]) / seconds

    def _thin(self) -> None:
        pairs = zip(self._points[::2], self._points[1::2], strict=False)
        self._points = [
            Point(late.at, early.stable.joined(late.stable), early.candidate.joined(late.candidate))
            for early, late in pairs
        ]
        covered_s = self._points[-1].at - self._points[0].at
        self._spacing_s = covered_s / len(self._points)


def _since(before: Tally, now: Tally) -> Sample:
    grown = now.requests - before.requests
    return Sample(grown, now.bad - before.bad, (now.latency - before.latency).quantile(_QUANTILE))
