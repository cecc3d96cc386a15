"""What became of one attempt at one Triton, more finely than a client needs to know. Pure.

Each is a ``PenstockError`` of the one tree, so whoever does not care sees ``Unavailable`` or what else it is. Whoever
has several replicas needs to know whether anything was sent, whether the replica may be at fault, and whether another
one might do better.
"""

from __future__ import annotations

from services.core.errors import DeadlineExceeded, Overloaded, Unavailable, UpstreamFailure


class NotSent(Unavailable):
    """No connection could be made: nothing was sent."""


class AllBusy(Overloaded):
    """Every connection of ours is in use: nothing was sent, and the replica is not to blame."""


class Broken(Unavailable):
    """The connection ended after the request was sent and before its answer was complete.

    Attributes:
        stale: Whether it had been used before and not a byte of an answer came: perhaps an idle server hung up.
    """

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


class GivenUp(Unavailable):
    """The attempt was given up because its replica hangs."""


class NoAnswer(DeadlineExceeded):
    """No answer in the time that the attempt had."""


class NotLoaded(Unavailable):
    """The replica does not have the model version, or not yet, or no longer."""


class ModelProcessDied(Unavailable):
    """The process that runs a Python-based model is gone; Triton itself is well and calls itself ready."""


class Nonsense(UpstreamFailure):
    """The answer is not HTTP, contradicts itself or is not what was asked for."""
