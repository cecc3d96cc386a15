"""What the requests of one slot of time showed of a model. Pure."""

from __future__ import annotations

import math

_FILLED = 0.9
_FILLED_IN_BATCHES = 0.5

# Logarithms of the requests in flight and of the answers per second.
Point = tuple[float, float]


class Slot:
    """What requests in one slot of time showed."""

    __slots__ = (
        "answers",
        "drops",
        "end",
        "in_flight",
        "latency_s",
        "length_s",
        "most_in_flight",
        "number",
        "pressed",
        "samples",
        "since",
    )

    def __init__(self, number: int, length_s: float, settling_s: float) -> None:
        self.number = number
        self.length_s = length_s
        self.end = (number + 1) * length_s
        self.since = number * length_s + settling_s
        self.answers = 0
        self.drops = 0
        self.samples = 0
        self.latency_s = 0.0
        self.in_flight = 0
        self.most_in_flight = 0
        self.pressed = 0

    @property
    def point(self) -> Point:
        """What the slot says of the model."""
        in_flight = self.in_flight / self.samples
        return math.log(in_flight), math.log(in_flight / (self.latency_s / self.samples))

    def filled(self, limit: float) -> bool:
        """Whether the limit, and not the demand, was what bounded the requests in flight.

        Where demand bounds them, more in flight comes with more answers as well, but for want of requests before. The
        second case is a full limit without a queue behind it: a batch leaves at once, and half of it is seen gone.
        """
        if self.in_flight >= self.samples * (limit - max(0.5, (1 - _FILLED) * limit)):
            return True
        return self.pressed >= self.samples and self.in_flight >= _FILLED_IN_BATCHES * limit * self.samples

    def bounded(self, slack: float) -> Point:
        """Return the point with a throughput of at most ``slack`` times what was counted.

        While a queue builds up, the requests that came back in the slot are those that waited least.
        """
        counted = max(1, self.answers) / self.length_s
        in_flight, throughput = self.point
        return in_flight, min(throughput, math.log(slack * counted))
