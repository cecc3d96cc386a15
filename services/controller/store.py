"""The ports to the database, with compare-and-swap on generations.

Each port has four methods at most; one adapter, ``SqlStore``, serves them all, and ``tests/fakes/store.py`` is held to
the same contract tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.core.history import HistoryEntry
from services.core.rollout import Rollout
from services.core.route import Route, RouteTable


@dataclass(frozen=True, slots=True)
class RouteBook:
    """The route table, with the generation at which each model's route became what it is.

    Attributes:
        generation: Grows by one with every change of any route.
        routes: Routes by model.
        changed: For every model, the generation that brought its present route.
    """

    generation: int = 0
    routes: Mapping[str, Route] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)

    @property
    def table(self) -> RouteTable:
        """The table as gateways get it."""
        return RouteTable(self.generation, self.routes)


class RouteStore(Protocol):
    """Where the route table is kept."""

    async def book(self) -> RouteBook:
        """Return the stored table.

        Raises:
            Unavailable: The database does not answer.
        """
        ...

    async def put_route(self, route: Route, expected_generation: int) -> RouteBook:
        """Store one model's route and return the new table.

        Raises:
            Conflict: The stored table is not at ``expected_generation``; nothing was changed.
            Unavailable: The database does not answer; whether it stored the route is not known.
        """
        ...


class RolloutStore(Protocol):
    """Where rollouts are kept. A rollout and the line of history that explains it are stored in one transaction."""

    async def create(self, rollout: Rollout, entry: HistoryEntry) -> Rollout:
        """Store a new rollout; return it with its number and its first generation.

        Raises:
            Conflict: The model has a rollout that is not over; the message names it.
            Unavailable: The database does not answer; whether it stored the rollout is not known.
        """
        ...

    async def save(self, rollout: Rollout, entry: HistoryEntry | None) -> Rollout:
        """Store what a rollout became; return it with its next generation.

        Raises:
            Conflict: The stored rollout is not at ``rollout.generation``; nothing was changed.
            Unavailable: The database does not answer; whether it stored the rollout is not known.
        """
        ...

    async def get(self, rollout_id: str) -> Rollout:
        """Return one rollout.

        Raises:
            NotFound: There is none with this id.
            Unavailable: The database does not answer.
        """
        ...

    async def find(self, model: str | None = None, *, active: bool = False, limit: int = 100) -> list[Rollout]:
        """Return the latest rollouts first, of one model or of all, optionally only those that are not over.

        Raises:
            Unavailable: The database does not answer.
        """
        ...


class HistoryStore(Protocol):
    """Where the history of rollouts is kept."""

    async def history(self, rollout_id: str) -> list[HistoryEntry]:
        """Return a rollout's history, oldest line first.

        Raises:
            NotFound: There is no rollout with this id.
            Unavailable: The database does not answer.
        """
        ...


class Store(RouteStore, RolloutStore, HistoryStore, Protocol):
    """Everything that the controller keeps."""
