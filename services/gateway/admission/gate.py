"""One model version's gate: its limit, who is in flight, who waits, and how fast they leave. No event loop."""

from __future__ import annotations

import asyncio
import math
from collections import Counter

from services.core.errors import OK
from services.core.limit import Limit
from services.gateway.admission.pace import Pace
from services.gateway.admission.queue import Urgency, WaitQueue
from services.gateway.admission.settings import AdmissionSettings
from services.gateway.admission.state import GateState, Refusal

_OK = OK.outcome
_MANY = 8
_MUCH = 0.25
_CALM_S = 1.0
_LEAST_RETRY_S = 0.1
_MOST_RETRY_S = 30.0
_UNKNOWN_RETRY_S = 1.0
_UNKNOWN_QUEUE = 64
# Multiples of the golden ratio, modulo 1, spread evenly: clients refused together do not come back together.
_GOLDEN = (math.sqrt(5) - 1) / 2


class Waiter:
    """One request that waits for its place.

    Attributes:
        gate: Where it waits.
        urgency: Its place in the order.
        since: When it came.
        deadline: When its time is over.
        place: Done when it is let in; an exception when it is refused.
        waits: Whether it is in the queue.
    """

    __slots__ = ("deadline", "gate", "place", "since", "urgency", "waits")

    def __init__(self, gate: Gate, urgency: Urgency, since: float, place: asyncio.Future[None]) -> None:
        self.gate = gate
        self.urgency = urgency
        self.since = since
        self.deadline = urgency[1]
        self.place = place
        self.waits = True


class Gate:
    """State and arithmetic of one version; ``Admission`` moves requests through it.

    Attributes:
        in_flight: Requests that were let in and have not left.
        lingering: Requests that left and that Triton still works on: nobody waits for them, but they are in its queue.
        waiting: Requests that wait.
        admitted: Requests let in so far.
        refused: Refusals so far, by reason.
        pace: How fast places become free.
    """

    __slots__ = (
        "_calm_from",
        "_counted_at",
        "_offered",
        "_retries",
        "_settings",
        "_short_since",
        "_turned_away",
        "admitted",
        "in_flight",
        "limit",
        "lingering",
        "model",
        "pace",
        "refused",
        "version",
        "waiting",
    )

    def __init__(self, model: str, version: int, limit: Limit, settings: AdmissionSettings) -> None:
        self.model = model
        self.version = version
        self.limit = limit
        self.in_flight = 0
        self.lingering = 0
        self.waiting: WaitQueue[Waiter] = WaitQueue()
        self.admitted = 0
        self.refused: Counter[Refusal] = Counter()
        self.pace = Pace(settings.stall_s)
        self._settings = settings
        self._calm_from = -math.inf
        self._short_since = -math.inf
        self._retries = 0
        self._counted_at = -math.inf
        self._offered = self._turned_away = 0.0

    @property
    def load(self) -> int:
        """Requests that Triton has."""
        return self.in_flight + self.lingering

    def learn(self, now: float, duration_s: float, outcome: str) -> None:
        """Note that a request left that had been in flight for so long."""
        self.pace.leave(now)
        if outcome == _OK and duration_s > 0:
            self.pace.answered(duration_s)

    def capacity(self, now: float) -> int:
        """Return how many may wait: as many as get their turn within the delay that is accepted now."""
        most = self._settings.max_queued
        rate = self.pace.rate_per_s(now, self.load)
        if math.isinf(rate):
            return min(most, _UNKNOWN_QUEUE)
        latency_s = self.pace.latency_s
        if now < self._calm_from:
            return min(most, max(1, round(rate * max(self._settings.queue_delay_s, latency_s / 4))))
        burst = round(rate * max(self._settings.burst_delay_s, 2 * latency_s))
        return min(most, max(self._settings.burst_requests, burst))

    def longest_wait_s(self) -> float:
        """Return after which wait even a waiter that was accepted is refused, seconds."""
        return max(self._settings.longest_wait_s, 2 * self.pace.latency_s)

    def wait_s(self, rank: int, now: float) -> float:
        """Return how long a waiter behind ``rank`` others is likely to wait, seconds."""
        return (rank + 1) / self.pace.rate_per_s(now, self.load)

    def ample_s(self, now: float) -> float:
        """Return how long a request takes at Triton that is not lucky, seconds."""
        return self.pace.ample_s(now, self.load)

    def offer(self, now: float) -> None:
        """Count a request that could not be let in at once."""
        kept = math.exp((self._counted_at - now) / _CALM_S)
        self._counted_at = now
        self._offered = self._offered * kept + 1
        self._turned_away *= kept

    def turn_away(self, now: float) -> None:
        """Count a request that was refused when it came; so many of them are no burst but an overload."""
        self._turned_away += 1
        if self._turned_away < _MANY or self._turned_away < _MUCH * self._offered:
            return
        if now >= self._calm_from:
            self._short_since = now
        self._calm_from = now + _CALM_S

    def excess(self, now: float) -> int:
        """Return how many waiters are too many: what a burst brought, when it turns out to be no burst."""
        if now >= self._calm_from or now - self._short_since < self._settings.queue_delay_s:
            return 0
        return len(self.waiting) - self.capacity(now)

    def hopeless(self, waiter: Waiter, now: float) -> bool:
        """Whether a waiter would only die in Triton: less is left than half of what a request takes."""
        return waiter.deadline - now < self.pace.latency_s / 2

    def retry_after_s(self, now: float) -> float:
        """Return when trying again makes sense: when who waits is served, the later the more are turned away."""
        rate = self.pace.rate_per_s(now, self.load)
        if math.isinf(rate):
            return _UNKNOWN_RETRY_S
        pressure = self._offered / max(1.0, self._offered - self._turned_away)
        self._retries += 1
        spread = 1.0 + self._retries * _GOLDEN % 1.0
        wait_s = (len(self.waiting) + 1) / rate * max(1.0, pressure) * spread
        return round(max(_LEAST_RETRY_S, min(_MOST_RETRY_S, wait_s)), 3)

    def state(self) -> GateState:
        """Return what the gate is like now."""
        return GateState(
            self.model,
            self.version,
            self.limit.value,
            self.limit.reason,
            self.load,
            len(self.waiting),
            self.admitted,
            dict(self.refused),
        )
