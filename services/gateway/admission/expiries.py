"""When waiters have waited long enough: one timer for all of them."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from services.gateway.admission.gate import Waiter

_SLACK = 64


class Expiries:
    """Calls back for every waiter that still waits at its time.

    Args:
        clock: Seconds, monotonic.
        expired: Told of a waiter whose time has come, and the present time.
    """

    def __init__(self, clock: Callable[[], float], expired: Callable[[Waiter, float], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._heap: list[tuple[float, int, Waiter]] = []
        self._clean_at = _SLACK
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, when: float, waiter: Waiter) -> None:
        """Remember a waiter; who stops waiting earlier needs no call."""
        if len(self._heap) >= self._clean_at:
            self._heap = [entry for entry in self._heap if entry[2].waits]
            heapq.heapify(self._heap)
            self._clean_at = 2 * len(self._heap) + _SLACK
        heapq.heappush(self._heap, (when, waiter.urgency[2], waiter))
        if self._timer is None or when < self._timer_at:
            self._set(when)

    def close(self) -> None:
        """Forget everybody."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = asyncio.get_running_loop().call_later(max(0.0, when - self._clock()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._clock()
        heap = self._heap
        while heap and (heap[0][0] <= now or not heap[0][2].waits):
            waiter = heapq.heappop(heap)[2]
            if waiter.waits:
                self._expired(waiter, now)
        if heap:
            self._set(heap[0][0])
