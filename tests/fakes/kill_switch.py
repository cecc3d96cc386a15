"""Kills a controller at the n-th of its calls to the store or to Triton: before the call, or after it took effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from services.controller.election.leadership import Lead
from services.controller.storage.store import AuditPage, AuditQuery, Due, DueQuery, Pruned, RouteBook, Store
from services.controller.webhooks.delivery import Delivery, Undelivered
from services.core.inventory import Inventory
from services.core.rollouts.audit import AuditRecord
from services.core.rollouts.feedback import Feedback, Taken
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout import Rollout
from services.core.route import Route
from services.triton.model_server import NOTHING, ModelServer

Result = TypeVar("Result")


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
    """A store behind which the process may die at every call, reading or writing."""

    def __init__(self, store: Store, switch: KillSwitch) -> None:
        self._store = store
        self._switch = switch

    async def book(self) -> RouteBook:
        return await self._call(self._store.book)

    async def add_outcomes(
        self, rollout_id: str, outcomes: Sequence[tuple[Feedback, float]]
    ) -> tuple[list[Taken], dict[int, Totals]]:
        return await self._call(self._store.add_outcomes, rollout_id, outcomes)

    async def outcome_totals(self) -> dict[str, dict[int, Totals]]:
        return await self._call(self._store.outcome_totals)

    async def put_route(self, route: Route, expected_generation: int, record: AuditRecord) -> RouteBook:
        return await self._call(self._store.put_route, route, expected_generation, record)

    async def create(self, rollout: Rollout, entry: HistoryEntry, record: AuditRecord) -> Rollout:
        return await self._call(self._store.create, rollout, entry, record)

    async def save(
        self, rollout: Rollout, entry: HistoryEntry | None = None, record: AuditRecord | None = None
    ) -> Rollout:
        return await self._call(self._store.save, rollout, entry, record)

    async def get(self, rollout_id: str) -> Rollout:
        return await self._call(self._store.get, rollout_id)

    async def find(self, model: str | None = None, *, active: bool = False, limit: int = 100) -> list[Rollout]:
        return await self._call(lambda: self._store.find(model, active=active, limit=limit))

    async def history(self, rollout_id: str) -> list[HistoryEntry]:
        return await self._call(self._store.history, rollout_id)

    async def note(self, record: AuditRecord) -> None:
        await self._call(self._store.note, record)

    async def audit(self, query: AuditQuery) -> AuditPage:
        return await self._call(self._store.audit, query)

    async def prune(self, older_than: float, after: int, limit: int, record: Callable[[int], AuditRecord]) -> Pruned:
        return await self._call(self._store.prune, older_than, after, limit, record)

    async def done_by(self, request_id: str) -> AuditRecord | None:
        return await self._call(self._store.done_by, request_id)

    async def due(self, query: DueQuery) -> Due:
        return await self._call(self._store.due, query)

    async def delivered(self, delivery: Delivery) -> None:
        await self._call(self._store.delivered, delivery)

    async def put_off(self, delivery: Delivery) -> None:
        await self._call(self._store.put_off, delivery)

    async def undelivered(self, rollout_id: str) -> list[Undelivered]:
        return await self._call(self._store.undelivered, rollout_id)

    async def lead(self) -> Lead:
        return await self._call(self._store.lead)

    async def _call(self, call: Callable[..., Awaitable[Result]], *arguments: Any) -> Result:
        self._die(after=False)
        result = await call(*arguments)
        self._die(after=True)
        return result

    def _die(self, *, after: bool) -> None:
        if self._switch.hit(after=after):
            raise Killed


class KillingModelServer:
    """A model server behind which the process may die at every call: a load then never returns."""

    def __init__(self, server: ModelServer, switch: KillSwitch) -> None:
        self._server = server
        self._switch = switch
        self.unload = server.unload
        self.ready = server.ready

    async def loaded(self) -> Inventory:
        # Asked by the tick itself, which dies with the process.
        if self._switch.hit(after=False):
            raise Killed
        found = await self._server.loaded()
        if self._switch.hit(after=True):
            raise Killed
        return found

    async def load(self, model: str, versions: frozenset[int], tolerated: frozenset[int] = NOTHING) -> None:
        await self._die(after=False)
        try:
            await self._server.load(model, versions, tolerated)
        finally:  # also of a load that failed nobody hears any more
            await self._die(after=True)

    async def _die(self, *, after: bool) -> None:
        if self._switch.hit(after=after):
            await asyncio.Event().wait()
