"""One worker's place in a gateway: its listening sockets stay while the workers in it come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from services.process.supervised import Supervised

_POLL_S = 0.05
_SUCCESSOR_TIMEOUT_S = 30.0


class Occupant(Protocol):
    """A worker under supervision, and how far its present process is."""

    @property
    def supervised(self) -> Supervised:
        """What keeps its process running."""
        ...

    def is_listening(self) -> bool:
        """Whether its present process takes requests."""
        ...

    def is_draining(self) -> bool:
        """Whether its present process is on its way out, for whatever reason."""
        ...

    def room_used(self) -> float:
        """Return the share of the room for counters that its present process has used, from 0 to 1."""
        ...


class WorkerSlot:
    """Keeps one worker serving, and replaces it without a gap: the successor listens before the old one drains.

    A worker that drains because somebody else asked it to gets a successor at once as well: a long request in its hands
    must not keep new connections waiting.

    Args:
        occupant: Makes a worker that uses this slot's sockets.
    """

    def __init__(self, occupant: Callable[[], Occupant]) -> None:
        self._new = occupant
        self._current: Occupant | None = None
        self._lives: asyncio.TaskGroup | None = None
        self._changing = asyncio.Lock()
        self._stopping = asyncio.Event()

    @property
    def room_used(self) -> float:
        """The share of the room for counters that the present worker has used, from 0 to 1."""
        return 0.0 if self._current is None else self._current.room_used()

    async def run(self) -> None:
        """Serve until ``stop``."""
        async with asyncio.TaskGroup() as self._lives:
            self._current = self._begin()
            while not await self._stopped_within(_POLL_S):
                if self._current.is_draining():
                    await self.replace()

    async def replace(self) -> None:
        """Start a successor, wait until it listens, then drain the present worker.

        The present worker stays when its successor does not come up.
        """
        async with self._changing:
            old = self._current
            if old is None or self._lives is None or self._stopping.is_set():
                return
            successor = self._begin()
            if await self._comes_up(successor):
                self._current = successor
                self._lives.create_task(old.supervised.stop())
            else:
                await successor.supervised.stop()

    async def stop(self) -> None:
        """Drain the worker; it is not started again."""
        self._stopping.set()
        async with self._changing:
            if self._current is not None:
                await self._current.supervised.stop()

    def _begin(self) -> Occupant:
        if self._lives is None:
            raise RuntimeError("a worker slot begins a worker only while it runs")
        occupant = self._new()
        self._lives.create_task(occupant.supervised.run())
        return occupant

    async def _comes_up(self, successor: Occupant) -> bool:
        try:
            async with asyncio.timeout(_SUCCESSOR_TIMEOUT_S):
                while not successor.is_listening():
                    if await self._stopped_within(_POLL_S):
                        return False
        except TimeoutError:
            return False
        return True

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True
