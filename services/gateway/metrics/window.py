"""What was counted in the last minute: the difference between the sums now and those of a minute ago."""

from __future__ import annotations

from collections import deque

from services.gateway.metrics.merged import Merged, difference

WINDOW_S = 60.0
PERIOD_S = 5.0


class Window:
    """Keeps old states of the sums.

    Args:
        length_s: How far back the window reaches; with the period, up to ``PERIOD_S`` further.
    """

    def __init__(self, length_s: float = WINDOW_S) -> None:
        self._length_s = length_s
        self._states: deque[tuple[float, Merged]] = deque()

    def remember(self, now_s: float, state: Merged) -> None:
        """Keep a state; those that no window will begin with are dropped."""
        self._states.append((now_s, state))
        while len(self._states) > 1 and self._states[1][0] <= now_s - self._length_s:
            self._states.popleft()

    def since(self, now_s: float, state: Merged) -> Merged:
        """Return what came between the beginning of the window and ``state``; all of it while the window is young."""
        begin: Merged = {}
        for at_s, earlier in self._states:
            if at_s > now_s - self._length_s:
                break
            begin = earlier
        return difference(state, begin)
