"""How many bytes of clients' requests a worker holds, over both edges: the bound that many small requests share."""

from __future__ import annotations

from services.core.errors import Overloaded


class BufferBudget:
    """Counts bytes that are held; used from one event loop.

    Whoever holds bytes of a request takes them here before, and gives back exactly what it took when they are let go.

    Args:
        limit_bytes: Most bytes at once.
    """

    __slots__ = ("_held_bytes", "_limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that are taken now."""
        return self._held_bytes

    @property
    def limit_bytes(self) -> int:
        """Most bytes at once."""
        return self._limit_bytes

    def take(self, count: int) -> bool:
        """Reserve ``count`` bytes; False, and nothing is reserved, where they are not left."""
        held = self._held_bytes + count
        if held > self._limit_bytes:
            return False
        self._held_bytes = held
        return True

    def give_back(self, count: int) -> None:
        """Release ``count`` bytes that were taken.

        Raises:
            ValueError: More is given back than was taken; the count would be wrong from here on.
        """
        if count > self._held_bytes:
            raise ValueError(f"{count} bytes are given back, and only {self._held_bytes} were taken")
        self._held_bytes -= count


class Hold:
    """What one request takes of a budget, given back in one go.

    Args:
        budget: The worker's.
    """

    __slots__ = ("_budget", "_count")

    def __init__(self, budget: BufferBudget) -> None:
        self._budget = budget
        self._count = 0

    def add(self, count: int) -> None:
        """Take ``count`` more bytes.

        Raises:
            Overloaded: They are not left.
        """
        if not self._budget.take(count):
            raise Overloaded(
                f"this gateway worker holds {self._budget.held_bytes} bytes of requests, and its limit is "
                f"{self._budget.limit_bytes}; try again shortly"
            )
        self._count += count

    def release(self) -> None:
        """Give everything back."""
        count, self._count = self._count, 0
        self._budget.give_back(count)
