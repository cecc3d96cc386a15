"""What a set of replicas tells whoever counts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

RETRY = "retry"
HEDGE = "hedge"
REFUSED = "refused"


class ReplicaEvents(Protocol):
    """Told of every attempt and every change; called on the event loop, so it must be quick and never raise."""

    def attempt(self, replica: str, model: str, version: int, outcome: str) -> None:
        """One attempt at one replica ended.

        Args:
            replica: HOST:PORT.
            model: The model that was asked.
            version: Its version.
            outcome: A value of ``Status.outcome``, ``cancelled``, or a kind of ``services.triton.faults``.
        """
        ...

    def again(self, replica: str, model: str, version: int, kind: str) -> None:
        """A second attempt begins at ``replica``: ``retry`` or ``hedge``; or the budget ``refused`` one."""
        ...

    def ejected(self, replica: str, model: str | None, version: int | None, reason: str) -> None:
        """A replica, or one version on it, gets no traffic from now on; ``reason`` is one of ``health.Reason``."""
        ...

    def readmitted(self, replica: str, model: str | None, version: int | None) -> None:
        """It gets traffic again."""
        ...


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """How one replica is doing.

    Attributes:
        replica: HOST:PORT.
        healthy: Whether it gets traffic.
        reason: Why it does not; empty when it does.
        in_flight: Requests that it has now.
        share: Its part of its fair share during a slow start, 0 to 1.
        ejected_versions: Model versions that get no traffic there although it is well itself, with the reason.
    """

    replica: str
    healthy: bool
    reason: str
    in_flight: int
    share: float
    ejected_versions: tuple[tuple[str, int, str], ...] = ()


class NoEvents:
    """Counts nothing."""

    def attempt(self, replica: str, model: str, version: int, outcome: str) -> None:
        """Ignore it."""

    def again(self, replica: str, model: str, version: int, kind: str) -> None:
        """Ignore it."""

    def ejected(self, replica: str, model: str | None, version: int | None, reason: str) -> None:
        """Ignore it."""

    def readmitted(self, replica: str, model: str | None, version: int | None) -> None:
        """Ignore it."""
