"""The time that clients are held to: it stands still while this process does."""

from __future__ import annotations

from collections.abc import Callable


class ClientClock:
    """A clock that no machine which was busy elsewhere makes a client pay for.

    Whoever looks after the timeouts calls ``look`` once a period. When a look comes much later than that, the process
    was stopped or starved, and so, for all that the server knows, were its clients' bytes: that time does not count.

    Args:
        time: The clock behind it, in seconds.
        period_s: Time between two looks.
    """

    __slots__ = ("_longest_s", "_looked_at", "_lost_s", "_time")

    def __init__(self, time: Callable[[], float], period_s: float) -> None:
        self._time = time
        self._longest_s = 2 * period_s
        self._lost_s = 0.0
        self._looked_at = time()

    def now(self) -> float:
        """Return the time in seconds. After a standstill it runs ahead until the next look."""
        return self._time() - self._lost_s

    def look(self) -> float:
        """Return the time for a look at every client, without that in which nobody looked."""
        now = self._time()
        self._lost_s += max(0.0, now - self._looked_at - self._longest_s)
        self._looked_at = now
        return now - self._lost_s
