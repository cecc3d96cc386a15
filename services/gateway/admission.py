"""How many requests a worker has in flight; one more is refused at once, which is honest and cheap."""

from __future__ import annotations

from collections.abc import Callable

from services.core.errors import Overloaded

RETRY_AFTER_S = 1.0


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

    def enter(self) -> None:
        """Let one request in; ``leave`` must follow.

        Raises:
            Overloaded: The limit is reached.
        """
        if self._in_flight >= self._limit:
            raise Overloaded(
                f"this gateway worker has {self._in_flight} requests in flight, its limit; try again after a second",
                RETRY_AFTER_S,
            )
        self._in_flight += 1
        self._publish(self._in_flight)

    def leave(self) -> None:
        """Let one request out."""
        self._in_flight -= 1
        self._publish(self._in_flight)
