"""Which of several controllers decides.

Two things keep a controller that lost the lead from doing harm. It knows for how long nobody else can have been given
the lead (``Mandate.held``), and does nothing after. And every write to the store compares its epoch with the stored one
inside its transaction, so that one that was frozen between looking and writing is refused by the database.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from services.core.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Leader:
    """A controller that leads, or wants to.

    Attributes:
        instance: Unique to one process.
        http: HOST:PORT of its REST API, as other controllers reach it.
        grpc: HOST:PORT of its gRPC, as gateways reach it.
    """

    instance: str
    http: str
    grpc: str


@dataclass(frozen=True, slots=True)
class Lead:
    """Who was given the lead last.

    Attributes:
        epoch: Grows with every change of the lead; 0 before the first.
        leader: Who has it; None before the first.
    """

    epoch: int = 0
    leader: Leader | None = None


class NotLeading(Unavailable):
    """Another controller decides, or none does at the moment."""


class Election(Protocol):
    """How one controller of several comes to lead. Adapters: ``SoleElection``, ``PostgresElection``."""

    async def win(self) -> tuple[int, float]:
        """Wait until this controller leads; return its epoch and until when nobody else can, by the mandate's clock.

        Raises:
            ConfigurationError: It can never lead.
        """
        ...

    async def lose(self, extend: Callable[[float], None]) -> str:
        """Wait until this controller leads no longer, and return why.

        Args:
            extend: Told again and again until when nobody else can lead.
        """
        ...

    async def resign(self) -> None:
        """Let others lead at once."""
        ...


class Mandate:
    """Whether this process leads.

    Args:
        me: This process, as others reach it.
        clock: Monotonic clock, seconds.
        epoch: Epoch to begin with; None for none.
    """

    def __init__(self, me: Leader, clock: Callable[[], float], epoch: int | None = None) -> None:
        self.me = me
        self._clock = clock
        self._epoch = epoch
        self._until = math.inf
        self.why = "this controller has just started and does not lead yet"
        # The lead as it was last read from the store; may be this process itself.
        self.seen = Lead()
        self._ended = asyncio.Event()

    @property
    def epoch(self) -> int | None:
        """The epoch of the lead, or None without."""
        return self._epoch

    @property
    def held(self) -> bool:
        """Whether this process leads, and nobody else can."""
        return self._epoch is not None and self._clock() < self._until

    def grant(self, epoch: int, until: float) -> None:
        """Lead from now on."""
        self._epoch, self._until = epoch, until
        self._ended = asyncio.Event()

    def extend(self, until: float) -> None:
        """Lead for longer."""
        self._until = until

    def end(self, why: str) -> None:
        """Lead no longer."""
        self._epoch, self.why = None, why
        self._ended.set()

    async def ended(self) -> None:
        """Wait for the end of the present lead."""
        await self._ended.wait()

    def require(self) -> int:
        """Return the epoch.

        Raises:
            NotLeading: This process does not lead; says who does.
        """
        if self._epoch is None or not self.held:
            raise NotLeading(self.refusal())
        return self._epoch

    def refusal(self) -> str:
        """Say who leads, as far as is known."""
        leader = self.seen.leader
        if leader is None or leader.instance == self.me.instance:
            return f"no controller leads at the moment ({self.why}); try again in some seconds"
        return f"this controller follows {leader.instance}, which is at {leader.http} (gRPC {leader.grpc})"


def other_leader(mandate: Mandate) -> Leader | None:
    """Return the leader when it is another process, else None."""
    leader = mandate.seen.leader
    return None if leader is None or leader.instance == mandate.me.instance else leader
