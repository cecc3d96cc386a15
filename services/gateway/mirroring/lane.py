"""Copies from one version to one other: those that wait, and how many are under way. No clock, no event loop."""

from __future__ import annotations

from collections import deque

from services.gateway.metrics.mirror_series import MirrorSeries
from services.gateway.mirroring.copy import Copy

# A version that lets so many copies in a row run out of their time may work on none of them any more, and Triton would
# keep each that it is sent.
_SILENT_AFTER = 4
_FIRST_REST_S = 1.0
_MOST_REST_S = 60.0


class Lane:
    """The copies of the requests that one version of a model answered, for one version.

    Args:
        model: Model name.
        answered: The version that answers clients.
        mirrored: The version that gets the copies; the same one for the noise floor.
        series: Where they are counted.
        max_in_flight: Most copies that Triton has at once.

    Attributes:
        queue: Copies that wait, oldest first; whoever appends bounds it.
        in_flight: Copies that Triton has.
    """

    __slots__ = ("_max_in_flight", "_rest_until", "_timeouts", "answered", "in_flight", "mirrored", "model", "queue",
                 "series")  # fmt: skip

    def __init__(self, model: str, answered: int, mirrored: int, series: MirrorSeries, max_in_flight: int) -> None:
        self.model = model
        self.answered = answered
        self.mirrored = mirrored
        self.series = series
        self.queue: deque[Copy] = deque()
        self.in_flight = 0
        # An instance that computes a copy does not compute a client's request: of the floor's there is one at a time.
        self._max_in_flight = 1 if answered == mirrored else max_in_flight
        self._timeouts = 0
        self._rest_until = 0.0

    @property
    def key(self) -> tuple[str, int, int]:
        """Model and both versions."""
        return self.model, self.answered, self.mirrored

    @property
    def is_floor(self) -> bool:
        """Whether the copies go to the version that answers clients."""
        return self.answered == self.mirrored

    @property
    def has_place(self) -> bool:
        """Whether one more may be sent, as far as the copies themselves are concerned."""
        return self.in_flight < (1 if self._timeouts >= _SILENT_AFTER else self._max_in_flight)

    def rests(self, now: float) -> bool:
        """Whether nothing is sent for a while, because the version is silent."""
        return now < self._rest_until

    def heard(self) -> None:
        """The version said something."""
        self._timeouts = 0

    def timed_out(self, now: float) -> None:
        """A copy ran out of its time; after several in a row each rest is twice as long as the one before."""
        self._timeouts += 1
        if self._timeouts >= _SILENT_AFTER:
            doublings = min(self._timeouts - _SILENT_AFTER, 10)
            self._rest_until = now + min(_MOST_REST_S, _FIRST_REST_S * 2.0**doublings)
