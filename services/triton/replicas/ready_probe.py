"""Asks replicas whether they are ready, again and again, and ejects and readmits them by what they say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from services.core.errors import PenstockError
from services.triton.faults import NotSent
from services.triton.replicas.health import Reason
from services.triton.replicas.replica import Replica
from services.triton.replicas.roster import Roster
from services.triton.replicas.settings import ReplicaSettings

# Answers that did not come, in a row, until a replica without traffic counts as gone.
_MISSES = 2
_JITTER = 0.1


class ReadyProbe:
    """Readiness of every replica.

    Args:
        roster: Who there is.
        settings: How often, and how long an answer may take.
        clock: Seconds, monotonic.
        stalls: Counts how often this process was held up; what was missed meanwhile says nothing.
    """

    def __init__(
        self, roster: Roster, settings: ReplicaSettings, clock: Callable[[], float], stalls: Callable[[], int]
    ) -> None:
        self._roster = roster
        self._settings = settings
        self._clock = clock
        self._stalls = stalls
        self._next: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def ask_due(self) -> None:
        """Ask every replica whose time has come."""
        now = self._clock()
        replicas = self._roster.replicas
        for gone in self._next.keys() - replicas.keys():
            del self._next[gone]
        for name, replica in replicas.items():
            if now >= self._next.get(name, 0.0):
                self.ask(replica)

    def ask(self, replica: Replica) -> None:
        """Ask one replica now, unless it is being asked."""
        name = replica.name
        if name not in self._asking:
            jitter = random.uniform(1.0 - _JITTER, 1.0 + _JITTER)  # noqa: S311 - no secret
            self._next[name] = self._clock() + self._settings.ready_interval_s * jitter
            self._asking[name] = asyncio.create_task(self._look(replica), name=f"readiness of {name}")

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, replica: Replica) -> None:
        stalls = self._stalls()
        try:
            ready = await replica.upstream.says_ready(self._settings.ready_timeout_s)
        except PenstockError as error:
            if self._stalls() == stalls:
                self._missed(replica, error)
        else:
            self._answered(replica, ready=ready)
        finally:
            del self._asking[replica.name]

    def _missed(self, replica: Replica, error: PenstockError) -> None:
        replica.misses += 1
        refused = isinstance(error, NotSent)
        if refused or replica.misses >= _MISSES:
            self._roster.eject(replica, Reason.CONNECT if refused else Reason.TIMEOUT, error.message)
        else:
            self._next[replica.name] = 0.0

    def _answered(self, replica: Replica, *, ready: bool) -> None:
        now = self._clock()
        replica.misses = 0
        replica.heard_at = replica.waiting_since = now
        if not ready:
            self._roster.eject(replica, Reason.NOT_READY)
        elif replica.health.due(now, needed=self._roster.few_are_well()):
            self._roster.readmit(replica)
