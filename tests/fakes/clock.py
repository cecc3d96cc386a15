"""A clock that goes only when it is told to."""

from __future__ import annotations


class FakeClock:
    """Returns the same time until ``advance``."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
