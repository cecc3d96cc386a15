"""The open-loop queue between a schedule and a fixed pool of connections. No clock and no threads: time is a parameter.

A connection that is free takes the next arrival before it is due and waits for its time. When all are busy, arrivals
that come due wait in a backlog in order; one that finds the backlog full is dropped and counted, as a full queue would
do. The backlog is filled whenever somebody takes from it, which is the only time it shrinks, so the counts are exactly
those of a queue that a separate process fills.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request that the schedule calls for.

    Attributes:
        index: Position in the schedule, from 0.
        due_s: Intended send time on the caller's clock, in seconds.
        overdue: Whether it came due before a connection was free for it.
    """

    index: int
    due_s: float
    overdue: bool = False


class Arrivals:
    """Hands out the arrivals of one schedule.

    Args:
        offsets: Ascending offsets in seconds from the start.
        max_backlog: Most arrivals that wait for a connection.
        on_drop: Called with each arrival that found the backlog full or was still in it at the end.
    """

    def __init__(self, offsets: Iterator[float], max_backlog: int, on_drop: Callable[[Arrival], None]) -> None:
        self._offsets = enumerate(offsets)
        self._max_backlog = max_backlog
        self._on_drop = on_drop
        self._backlog: deque[Arrival] = deque()
        self._start_s = 0.0
        self._next: Arrival | None = None
        self._end_s = math.inf

    @property
    def backlog(self) -> int:
        """Arrivals that were waiting for a connection when somebody last looked."""
        return len(self._backlog)

    def start(self, at_s: float) -> None:
        """Fix the time from which the offsets count."""
        self._start_s = at_s
        self._next = self._draw()

    def take(self, now_s: float) -> Arrival | None:
        """Return the arrival to send next, which may still be in the future, or None when there is none left."""
        self._fill(now_s)
        if self._backlog:
            return self._backlog.popleft()
        arrival, self._next = self._next, self._draw() if self._next else None
        return arrival

    def end(self, now_s: float) -> None:
        """End the schedule now: the backlog is still handed out, what is not yet due never happens."""
        if self._end_s == math.inf:
            self._fill(now_s)
            self._end_s, self._next = now_s, None

    def happens(self, arrival: Arrival) -> bool:
        """Return whether an arrival that was taken before it was due is still to be sent."""
        return arrival.due_s <= self._end_s

    def abandon(self) -> None:
        """Drop what still waits for a connection."""
        while self._backlog:
            self._on_drop(self._backlog.popleft())

    def _fill(self, now_s: float) -> None:
        while self._next is not None and self._next.due_s <= now_s:
            overdue = Arrival(self._next.index, self._next.due_s, overdue=True)
            if len(self._backlog) < self._max_backlog:
                self._backlog.append(overdue)
            else:
                self._on_drop(overdue)
            self._next = self._draw()

    def _draw(self) -> Arrival | None:
        drawn = next(self._offsets, None)
        return None if drawn is None else Arrival(drawn[0], self._start_s + drawn[1])
