"""Kills a controller at the n-th of its writes and loads: before the operation, or after it took effect."""

from __future__ import annotations

import asyncio

from services.controller.store import RouteBook, Store
from services.core.audit import AuditRecord
from services.core.history import HistoryEntry
from services.core.rollout import Rollout
from services.core.route import Route
from services.triton.model_server import NOTHING, ModelServer


class Killed(BaseException):
    """The process is gone; nothing that it had in memory exists any more."""


class KillSwitch:
    """Counts operations and trips at one of them.

    Args:
        at: Number of the operation, from 1; 0 never trips.
        after: Whether the operation still takes effect.
    """

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self.at = at
        self.after = after
        self.operations = 0
        self.tripped = asyncio.Event()

    def hit(self, *, after: bool) -> bool:
        """Return whether the process dies now; called before and after every operation."""
        if not after:
            self.operations += 1
        if self.operations == self.at and after == self.after and not self.tripped.is_set():
            self.tripped.set()
            return True
        return False


class KillingStore:
    """A store behind which the process may die at every write."""

    def __init__(self, store: Store, switch: KillSwitch) -> None:
        self._store = store
        self._switch = switch
        self.book = store.book
        self.get = store.get
        self.find = store.find
        self.history = store.history
        self.audit = store.audit
        self.done_by = store.done_by
        self.lead = store.lead

    async def put_route(self, route: Route, expected_generation: int, record: AuditRecord) -> RouteBook:
        self._die(after=False)
        book = await self._store.put_route(route, expected_generation, record)
        self._die(after=True)
        return book

    async def create(self, rollout: Rollout, entry: HistoryEntry, record: AuditRecord) -> Rollout:
        self._die(after=False)
        created = await self._store.create(rollout, entry, record)
        self._die(after=True)
        return created

    async def save(
        self, rollout: Rollout, entry: HistoryEntry | None = None, record: AuditRecord | None = None
    ) -> Rollout:
        self._die(after=False)
        saved = await self._store.save(rollout, entry, record)
        self._die(after=True)
        return saved

    async def note(self, record: AuditRecord) -> None:
        self._die(after=False)
        await self._store.note(record)
        self._die(after=True)

    def _die(self, *, after: bool) -> None:
        if self._switch.hit(after=after):
            raise Killed


class KillingModelServer:
    """A model server behind which the process may die at every load: the call then never returns."""

    def __init__(self, server: ModelServer, switch: KillSwitch) -> None:
        self._server = server
        self._switch = switch
        self.loaded = server.loaded
        self.unload = server.unload
        self.ready = server.ready

    async def load(self, model: str, versions: frozenset[int], tolerated: frozenset[int] = NOTHING) -> None:
        await self._die(after=False)
        await self._server.load(model, versions, tolerated)
        await self._die(after=True)

    async def _die(self, *, after: bool) -> None:
        if self._switch.hit(after=after):
            await asyncio.Event().wait()
