"""How many second attempts there may be, so that retries never become the load that keeps everything down. Pure."""

from __future__ import annotations


class RetryBudget:
    """A bucket that requests fill and second attempts empty, beside a small one that time fills.

    From the start until any time ``t``, at most ``share * requests + per_s * (t + 1)`` attempts are allowed, and at
    most ``burst + per_s`` at once.

    Args:
        share: What each request adds.
        per_s: What each second adds to the small bucket, which holds one second's worth.
        burst: Most that the requests' bucket holds.
        now: The present time, seconds.
    """

    __slots__ = ("_burst", "_floor", "_per_s", "_seen", "_share", "_tokens", "_updated", "requests")

    def __init__(self, share: float, per_s: float, burst: int, now: float) -> None:
        self._share = share
        self._per_s = per_s
        self._burst = burst
        self._tokens = 0.0
        self._floor = per_s
        self._seen = 0
        self._updated = now
        self.requests = 0
        """Requests so far. A request adds one here and nothing else: the rest is done when an attempt is wanted."""

    def take(self, now: float) -> bool:
        """Whether one more attempt may be made; it is then counted."""
        self._tokens = min(self._burst, self._tokens + self._share * (self.requests - self._seen))
        self._seen = self.requests
        self._floor = min(self._per_s, self._floor + self._per_s * max(0.0, now - self._updated))
        self._updated = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
        elif self._floor >= 1.0:
            self._floor -= 1.0
        else:
            return False
        return True
