"""A ``Store`` in memory, held to the same contract tests as ``SqlStore``."""

from __future__ import annotations

from dataclasses import replace

from services.controller.store import RouteBook
from services.core.errors import Conflict, NotFound, Unavailable
from services.core.history import HistoryEntry
from services.core.rollout import Rollout
from services.core.route import Route


class FakeStore:
    """Keeps everything as long as it lives; can be away.

    Attributes:
        away: Whether it does not answer.
        routes_away: Whether it does not answer to writes of routes.
    """

    def __init__(self, first_generation: int = 100) -> None:
        self.away = False
        self.routes_away = False
        self._book = RouteBook(first_generation)
        self._rollouts: dict[str, Rollout] = {}
        self._history: dict[str, list[HistoryEntry]] = {}

    async def book(self) -> RouteBook:
        self._answer()
        return self._book

    async def put_route(self, route: Route, expected_generation: int) -> RouteBook:
        self._answer()
        if self.routes_away:
            raise Unavailable("the fake database is away")
        if self._book.generation != expected_generation:
            raise Conflict(f"the route table is no longer at generation {expected_generation}")
        generation = expected_generation + 1
        self._book = RouteBook(
            generation,
            {**self._book.routes, route.model: route},
            {**self._book.changed, route.model: generation},
        )
        return self._book

    async def create(self, rollout: Rollout, entry: HistoryEntry) -> Rollout:
        self._answer()
        mine = [each for each in self._rollouts.values() if each.model == rollout.model]
        for each in mine:
            if not each.phase.terminal:
                raise Conflict(f"model '{rollout.model}' has rollout {each.id} under way")
        created = replace(rollout, number=len(mine) + 1, generation=1)
        self._rollouts[created.id] = created
        self._history[created.id] = [entry]
        return created

    async def save(self, rollout: Rollout, entry: HistoryEntry | None) -> Rollout:
        self._answer()
        stored = self._rollouts.get(rollout.id)
        if stored is None or stored.generation != rollout.generation:
            raise Conflict(f"rollout {rollout.id} is no longer at generation {rollout.generation}")
        saved = replace(rollout, generation=rollout.generation + 1)
        self._rollouts[rollout.id] = saved
        if entry is not None:
            self._history[rollout.id].append(entry)
        return saved

    async def get(self, rollout_id: str) -> Rollout:
        self._answer()
        if rollout_id not in self._rollouts:
            raise NotFound(f"no rollout '{rollout_id}'")
        return self._rollouts[rollout_id]

    async def find(self, model: str | None = None, *, active: bool = False, limit: int = 100) -> list[Rollout]:
        self._answer()
        found = [
            each
            for each in reversed(self._rollouts.values())
            if (model is None or each.model == model) and not (active and each.phase.terminal)
        ]
        return found[:limit]

    async def history(self, rollout_id: str) -> list[HistoryEntry]:
        self._answer()
        if rollout_id not in self._history:
            raise NotFound(f"no rollout '{rollout_id}'")
        return list(self._history[rollout_id])

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the fake database is away")
