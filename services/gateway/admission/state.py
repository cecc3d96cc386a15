"""What admission tells about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Refusal(StrEnum):
    """Why a request was not let in."""

    FULL = "full"  # too many wait already
    DISPLACED = "displaced"  # it waited, and a more urgent one took its place
    SHED = "shed"  # it waited in a burst that turned out to be an overload
    TOO_LATE = "too_late"  # its turn would come, or came, too late for its deadline
    EXPIRED = "expired"  # its deadline passed while it waited
    WAITED = "waited"  # it waited as long as any request may
    ENDING = "ending"  # the worker ends


class RefusalHook(Protocol):
    """Told of every refusal, once."""

    def __call__(self, model: str, version: int, reason: Refusal, /) -> None:
        """One request of this version was refused."""
        ...


@dataclass(frozen=True, slots=True)
class GateState:
    """One model version's gate in one worker.

    Attributes:
        model: The model.
        version: The version.
        limit: Most requests in flight now.
        limit_reason: Why the limit last moved, for a person.
        in_flight: Requests that were let in and have not left.
        queued: Requests that wait.
        admitted: Requests let in since the gate is there.
        refused: Requests refused since then, by reason.
    """

    model: str
    version: int
    limit: int
    limit_reason: str
    in_flight: int
    queued: int
    admitted: int
    refused: Mapping[Refusal, int]
