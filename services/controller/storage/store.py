"""The ports to the database, with compare-and-swap on generations.

Each port has four methods at most; one adapter, ``SqlStore``, serves them all, and ``tests/fakes/store.py`` is held to
the same contract tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.controller.election.leadership import Lead
from services.controller.webhooks.delivery import Delivery, Undelivered
from services.core.rollouts.audit import AuditRecord
from services.core.rollouts.feedback import Feedback, Taken
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout import Rollout
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
        return RouteTable(self.generation, self.routes, self.changed)


class RouteStore(Protocol):
    """Where the route table is kept."""

    async def book(self) -> RouteBook:
        """Return the stored table.

        Raises:
            Unavailable: The database does not answer.
        """
        ...

    async def put_route(self, route: Route, expected_generation: int, record: AuditRecord) -> RouteBook:
        """Store one model's route with its record and return the new table.

        Raises:
            Conflict: The stored table is not at ``expected_generation``; nothing was changed.
            NotLeading: Another controller was given the lead; nothing was changed.
            Unavailable: The database does not answer; whether it stored the route is not known.
        """
        ...


class RolloutStore(Protocol):
    """Where rollouts are kept.

    A rollout, the line of history that explains it, its record in the audit log and what webhooks are to be told of it
    are stored in one transaction.
    """

    async def create(self, rollout: Rollout, entry: HistoryEntry, record: AuditRecord) -> Rollout:
        """Store a new rollout; return it with its number and its first generation; the record gets its id.

        Raises:
            Conflict: The model has a rollout that is not over, which the message names, or the record's request was
                done already; nothing was changed.
            NotLeading: Another controller was given the lead; nothing was changed.
            Unavailable: The database does not answer; whether it stored the rollout is not known.
        """
        ...

    async def save(
        self, rollout: Rollout, entry: HistoryEntry | None = None, record: AuditRecord | None = None
    ) -> Rollout:
        """Store what a rollout became; return it with its next generation.

        Raises:
            Conflict: The stored rollout is not at ``rollout.generation``, or the record's request was done already;
                nothing was changed.
            NotLeading: Another controller was given the lead; nothing was changed.
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


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which records of the audit log are wanted; None asks for no such thing.

    Attributes:
        model: Of this model.
        rollout: Of this rollout.
        actor: Of this actor.
        before: Older than this place, as an ``AuditPage`` names it.
        limit: At most so many.
    """

    model: str | None = None
    rollout: str | None = None
    actor: str | None = None
    before: int | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Records, the latest first, and the place from which older ones can be asked for; None where there are none."""

    records: tuple[AuditRecord, ...]
    more: int | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many old records were removed, and the place from which to look on; None where there are no more."""

    removed: int
    more: int | None


class AuditStore(Protocol):
    """Where it is kept who did what. Records are added, never changed, and removed only by their age."""

    async def note(self, record: AuditRecord) -> None:
        """Add a record of an attempt that changed nothing.

        Raises:
            NotLeading: Another controller was given the lead; nothing was added.
            Unavailable: The database does not answer; whether it added the record is not known.
        """
        ...

    async def audit(self, query: AuditQuery) -> AuditPage:
        """Return records, the latest first.

        Raises:
            Unavailable: The database does not answer.
        """
        ...

    async def prune(self, older_than: float, after: int, limit: int, record: Callable[[int], AuditRecord]) -> Pruned:
        """Look at some records, the oldest first, and remove those of rollouts that are over and of none.

        Args:
            older_than: What is from before, seconds since the epoch, is removed.
            after: Look at those behind this place; 0 for the first.
            limit: Look at so many.
            record: Returns what is added to the log about so many; not called for none.

        Raises:
            NotLeading: Another controller was given the lead; nothing was removed.
            Conflict, Unavailable: The database refuses, or does not answer.
        """
        ...

    async def done_by(self, request_id: str) -> AuditRecord | None:
        """Return the first record of what a request did, or found done already; None where there is none.

        Raises:
            Unavailable: The database does not answer.
        """
        ...


class OutcomeStore(Protocol):
    """Where it is kept what became of answers, for A/B tests."""

    async def add_outcomes(
        self, rollout_id: str, outcomes: Sequence[tuple[Feedback, float]]
    ) -> tuple[list[Taken], dict[int, Totals]]:
        """Add outcomes, each with its value from 0 to 1; return what was done with each, and the totals by version.

        Raises:
            Conflict: The rollout is over, or would have more outcomes than it may; nothing was added.
            NotLeading: Another controller was given the lead; nothing was added.
            Unavailable: The database does not answer; whether it added them is not known, adding them again is safe.
        """
        ...

    async def outcome_totals(self) -> dict[str, dict[int, Totals]]:
        """Return the totals of the A/B tests that are not over, by rollout and version.

        Raises:
            Unavailable: The database does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class DueQuery:
    """What is to be sent.

    Attributes:
        now: Seconds since the epoch.
        limit: At most so many.
        lines: Nothing of these lines (``Delivery.line``).
        destinations: Nothing for these.
    """

    now: float
    limit: int
    lines: frozenset[tuple[str, str]] = frozenset()
    destinations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be sent now.

    Attributes:
        deliveries: At most one of each line, its first; what waits for the longest comes first.
        waiting: How many wait in all.
        given_up: How many were given up by this call, because they were too old or too many.
        next_at: When the next becomes due, seconds since the epoch; None where nothing is put off.
    """

    deliveries: tuple[Delivery, ...]
    waiting: int
    given_up: int
    next_at: float | None


class OutboxStore(Protocol):
    """Where what webhooks are to be told is kept until it is delivered or given up.

    ``RolloutStore`` puts it there. What is kept is bounded by age and number (``delivery.py``).
    """

    async def due(self, query: DueQuery) -> Due:
        """Return what is to be sent now, to whoever leads, and give up what is too old or too much.

        Raises:
            NotLeading: Another controller was given the lead.
            Unavailable: The database does not answer.
        """
        ...

    async def delivered(self, delivery: Delivery) -> None:
        """Forget what was delivered.

        Raises:
            NotLeading: Another controller was given the lead; nothing was changed.
            Unavailable: The database does not answer; whether it forgot is not known, telling it again is safe.
        """
        ...

    async def put_off(self, delivery: Delivery) -> None:
        """Store what became of a delivery by an attempt without a good answer (``Delivery.refused``).

        Raises:
            NotLeading: Another controller was given the lead; nothing was changed.
            Unavailable: The database does not answer; whether it stored this is not known, telling it again is safe.
        """
        ...

    async def undelivered(self, rollout_id: str) -> list[Undelivered]:
        """Return what the webhooks of a rollout were not told: those given up, then those that wait, by webhook.

        Raises:
            Unavailable: The database does not answer.
        """
        ...


class LeadStore(Protocol):
    """Where it is kept who leads."""

    async def lead(self) -> Lead:
        """Return who was given the lead last.

        Raises:
            Unavailable: The database does not answer.
        """
        ...


class Store(RouteStore, RolloutStore, HistoryStore, AuditStore, OutcomeStore, OutboxStore, LeadStore, Protocol):
    """Everything that the controller keeps."""
