"""How many requests a worker has in flight; one more is refused at once, which is honest and cheap."""

from __future__ import annotations

from collections.abc import Callable

from services.core.errors import Overloaded

RETRY_AFTER_S = 1.0


class Slot:
    """One request's place among those in flight."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Admission) -> None:
        self._owner = owner

    def leave(self, duration_s: float, outcome: str) -> None:
        """Give the place back.

        Args:
            duration_s: How long Triton took, seconds; 0 when it was not asked.
            outcome: The request's outcome (``Status.outcome``, ``cancelled`` or ``expired``), as far as it is known.
        """
        del duration_s, outcome
        self._owner.release()


class Admission:
    """A limit on requests in flight.

    Args:
        limit: Most requests at once.
        publish: Told the present number after every change.
    """

    def __init__(self, limit: int, publish: Callable[[int], None]) -> None:
        self._limit = limit
        self._publish = publish
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Requests that were let in and are not finished."""
        return self._in_flight

    def enter(self, model: str, version: int) -> Slot | None:
        """Let one request in at once, or return None when it has to wait."""
        del model, version
        if self._in_flight >= self._limit:
            return None
        self._in_flight += 1
        self._publish(self._in_flight)
        return Slot(self)

    async def wait(self, model: str, version: int, *, deadline: float, priority: int) -> Slot:
        """Wait for a place.

        Args:
            model: The model.
            version: The version that was chosen.
            deadline: When the request's time is over, on the pipeline's clock.
            priority: 1 is the highest, 0 the default.

        Raises:
            Overloaded: It will not be its turn in time, or too many wait already.
            DeadlineExceeded: Its time was over while it waited.
        """
        del model, version, deadline, priority
        raise Overloaded(
            f"this gateway worker has {self._in_flight} requests in flight, its limit; try again after a second",
            RETRY_AFTER_S,
        )

    def release(self) -> None:
        """Let one request out."""
        self._in_flight -= 1
        self._publish(self._in_flight)
