"""A clock that goes only when it is told to."""

from __future__ import annotations


class FakeClock:
    """Returns the same time until ``advance`` or ``set``."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now
        self._set_by = 0.0

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        """Return the time of a clock beside it that nobody sets."""
        return self.now - self._set_by

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def set(self, seconds: float) -> None:
        """Move the hands, forward or back, without time passing."""
        self.now += seconds
        self._set_by += seconds
