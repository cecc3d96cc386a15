"""Who waits, most urgent first. No clock, no event loop."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

Urgency = tuple[int, float, int]
"""Priority (1 is the highest), deadline, and order of arrival, which no two waiters share."""


class Urgent(Protocol):
    """Something that waits."""

    @property
    def urgency(self) -> Urgency:
        """Its place in the order, which never changes."""
        ...


Waiting = TypeVar("Waiting", bound=Urgent)


def _urgency(waiter: Urgent) -> Urgency:
    return waiter.urgency


class WaitQueue(Generic[Waiting]):
    """Waiters by priority, then earliest deadline first, then first come.

    A sorted list: with at most some thousand waiters, moving their pointers costs less than any tree in Python.
    """

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiters)

    def rank(self, urgency: Urgency) -> int:
        """Return how many waiters are more urgent."""
        return bisect_left(self._waiters, urgency, key=_urgency)

    def add(self, waiter: Waiting) -> None:
        """Let one wait."""
        insort(self._waiters, waiter, key=_urgency)

    def pop(self) -> Waiting:
        """Take the most urgent one."""
        return self._waiters.pop(0)

    @property
    def least(self) -> Waiting:
        """The least urgent one, which goes on waiting."""
        return self._waiters[-1]

    def remove(self, waiter: Waiting) -> None:
        """Take one that waits, wherever it stands."""
        position = self.rank(waiter.urgency)
        if position == len(self._waiters) or self._waiters[position] is not waiter:
            raise ValueError(f"{waiter!r} does not wait here")
        del self._waiters[position]
