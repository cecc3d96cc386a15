"""The stored state as this process last knew it, and the only way to change it.

Every change goes to the store first and into memory after. When the store does not answer, or says that somebody else
wrote, nobody knows what is stored: the ledger then is stale, and nothing is decided until it was read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from services.controller.election.leadership import Mandate
from services.controller.gateways.route_board import RouteBoard
from services.controller.storage.store import Store
from services.core.errors import Unavailable
from services.core.rollouts.audit import ROUTE, AuditOutcome, AuditRecord, change_of, route_standing
from services.core.rollouts.event import CONTROLLER
from services.core.rollouts.feedback import Feedback, Taken
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout import Rollout
from services.core.route import Route


class Ledger:
    """The route table and the rollouts that are not over.

    Args:
        store: Where they are kept.
        board: Where the route table is shown to gateways.
        mandate: Who leads, as far as this process knows.
        clock: Wall clock, seconds since the epoch.
    """

    def __init__(self, store: Store, board: RouteBoard, mandate: Mandate, clock: Callable[[], float]) -> None:
        self._store = store
        self._board = board
        self._mandate = mandate
        self._clock = clock
        self._current = False
        self._active: dict[str, Rollout] = {}
        self.problem: str | None = "the database was not read yet"
        # Held by whoever reads, decides and writes: the loop, or a person's verb.
        self.lock = asyncio.Lock()
        # What became of answers in A/B tests that are not over: totals by rollout and version.
        self.outcomes: dict[str, dict[int, Totals]] = {}
        self.decisions: dict[tuple[str, str], int] = {}
        self._listeners: list[Callable[[], None]] = []

    @property
    def active(self) -> dict[str, Rollout]:
        """The rollouts that are not over, by model."""
        return dict(self._active)

    @property
    def routes(self) -> dict[str, Route]:
        """The present routes by model."""
        return dict(self._board.book.routes) if self._board.book else {}

    def changed(self, model: str) -> int:
        """Return the generation of the route table that brought a model's present route; 0 without one."""
        return self._board.book.changed.get(model, 0) if self._board.book else 0

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every change of phase or step, once it is stored."""
        self._listeners.append(listener)

    def doubt(self) -> None:
        """Have the next ``refresh`` read everything again: others may have written."""
        self._current = False

    async def refresh(self) -> bool:
        """Read the stored state where the one in memory is stale, and return whether it was.

        What was doubted while it was read is no basis either, and is read again.

        Raises:
            Unavailable: The database does not answer; the state in memory stays as it was.
        """
        if self._current:
            return False
        while not self._current:
            self._current = True  # until somebody doubts it, also while it is read: then it is read once more
            async with self._marking_stale():
                book = await self._store.book()
                active = await self._store.find(active=True, limit=10_000)
                outcomes = await self._store.outcome_totals()
                self._mandate.seen = await self._store.lead()
            self._board.publish(book)
            self._active = {rollout.model: rollout for rollout in active}
            self.outcomes = outcomes
        self.problem = None
        return True

    async def create(self, rollout: Rollout, entry: HistoryEntry, request_id: str = "") -> Rollout:
        """Store a new rollout; errors as in ``RolloutStore.create``."""
        record = change_of(None, rollout, entry, self._mandate.me.instance, request_id)
        async with self._marking_stale():
            created = await self._store.create(rollout, entry, record)
        self._remember(created, entry)
        return created

    async def save(
        self, before: Rollout, rollout: Rollout, entry: HistoryEntry | None, request_id: str = ""
    ) -> Rollout:
        """Store what a rollout became; errors as in ``RolloutStore.save``."""
        record = None
        if entry is not None:
            record = change_of(before, rollout, entry, self._mandate.me.instance, request_id)
        async with self._marking_stale():
            saved = await self._store.save(rollout, entry, record)
        self._remember(saved, entry)
        return saved

    async def feed_back(self, rollout: Rollout, outcomes: Sequence[tuple[Feedback, float]]) -> list[Taken]:
        """Store outcomes of an A/B test; errors as in ``OutcomeStore.add_outcomes``."""
        async with self._marking_stale():
            taken, self.outcomes[rollout.id] = await self._store.add_outcomes(rollout.id, outcomes)
        return taken

    async def set_route(self, route: Route, reason: str, rollout_id: str | None = None) -> None:
        """Store a route and show the new table, unless it is the present one; errors as in ``RouteStore.put_route``."""
        book = self._board.book
        if book is None:
            raise Unavailable("the route table was not read yet")
        if book.routes.get(route.model) == route:
            return
        record = AuditRecord(
            at=self._clock(),
            actor=CONTROLLER,
            action=ROUTE,
            model=route.model,
            rollout=rollout_id,
            outcome=AuditOutcome.DONE,
            source=route_standing(book.routes.get(route.model)),
            target=route_standing(route),
            reason=reason,
            instance=self._mandate.me.instance,
        )
        async with self._marking_stale():
            stored = await self._store.put_route(route, book.generation, record)
        self._board.publish(stored)

    def _remember(self, rollout: Rollout, entry: HistoryEntry | None) -> None:
        if rollout.phase.terminal:
            self._active.pop(rollout.model, None)
            self.outcomes.pop(rollout.id, None)
        else:
            self._active[rollout.model] = rollout
        if entry is not None:
            key = (rollout.model, entry.event)
            self.decisions[key] = self.decisions.get(key, 0) + 1
            for listener in self._listeners:
                listener()

    @asynccontextmanager
    async def _marking_stale(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as error:
            self._current = False
            if isinstance(error, Unavailable):
                self.problem = error.message
            raise
