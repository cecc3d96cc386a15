"""How fast a model version gives places back, and how long a request takes there. No clock, no event loop."""

from __future__ import annotations

import math

_SMOOTH = 0.1
_DEVIATIONS = 2.0
# The prior counts for as many departures as these; what was counted is halved when it is older than the window.
_PRIOR = 4
_WINDOW_S = 1.0


class Pace:
    """Estimates of one version.

    Little's law says what latency there was at which load, so in a sudden rush it promises too much: the latency is
    that of calmer times. While requests wait, departures themselves tell the rate, as soon as there are some.

    Args:
        stall_s: Silence until which a version counts as one whose replica is about to be given up, seconds.

    Attributes:
        latency_s: Mean time of answers at Triton, seconds; 0 while there was none.
    """

    __slots__ = ("_busy_since", "_departed", "_deviation_s", "_left_at", "_stall_s", "latency_s")

    def __init__(self, stall_s: float) -> None:
        self.latency_s = 0.0
        self._deviation_s = 0.0
        self._stall_s = stall_s
        self._left_at = -math.inf
        self._busy_since = math.inf
        self._departed = 0.0

    def wake(self, now: float) -> None:
        """Note that the first request of an idle version goes in: that none left before says nothing."""
        self._left_at = now

    def full(self, now: float) -> None:
        """Note that requests begin to wait: from now on every place is taken."""
        self._busy_since = now
        self._departed = 0.0

    def leave(self, now: float) -> None:
        """Note that a request left."""
        self._left_at = now
        if now < self._busy_since:
            return
        self._departed += 1
        if now - self._busy_since > _WINDOW_S:
            self._busy_since += (now - self._busy_since) / 2
            self._departed /= 2

    def answered(self, duration_s: float) -> None:
        """Note how long an answer took at Triton."""
        if self.latency_s:
            self._deviation_s += (abs(duration_s - self.latency_s) - self._deviation_s) * _SMOOTH
            self.latency_s += (duration_s - self.latency_s) * _SMOOTH
        else:
            self.latency_s = duration_s

    def rate_per_s(self, now: float, load: int) -> float:
        """Return how fast ``load`` places become free; infinite while nothing is known.

        A version that is silent for longer than a replica takes to be given up counts as slower with every moment.
        """
        if not self.latency_s:
            return math.inf
        silent_s = now - self._left_at
        if silent_s > max(self._stall_s, self.latency_s):
            return max(1, load) / silent_s
        promised = max(1, load) / self.latency_s
        counted_s = self._left_at - self._busy_since
        if counted_s <= 0:
            return promised
        return (_PRIOR + self._departed) / (_PRIOR / promised + counted_s)

    def ample_s(self, now: float, load: int) -> float:
        """Return how long a request takes that is not lucky, seconds: what TCP waits for an answer, less cautiously."""
        return max(self.latency_s + _DEVIATIONS * self._deviation_s, load / self.rate_per_s(now, load))
