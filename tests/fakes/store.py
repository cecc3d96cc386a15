"""A ``Store`` in memory, held to the same contract tests as ``SqlStore``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from services.controller.election.leadership import Lead, NotLeading
from services.controller.storage.store import AuditPage, AuditQuery, Due, DueQuery, Pruned, RouteBook
from services.controller.webhooks.delivery import (
    LONGEST_PAUSE_S,
    MAX_AGE_S,
    MOST_GIVEN_UP,
    MOST_WAITING,
    Delivery,
    Undelivered,
    deliveries_of,
)
from services.core.errors import Conflict, NotFound, Unavailable
from services.core.rollouts.audit import AuditOutcome, AuditRecord
from services.core.rollouts.feedback import Feedback, Taken
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout import Rollout
from services.core.route import Route


class FakeStore:
    """Keeps everything as long as it lives; can be away.

    Attributes:
        away: Whether it does not answer.
        routes_away: Whether it does not answer to writes of routes.
        deposed: Whether somebody else has the lead.
        records: The audit log.
    """

    def __init__(self, first_generation: int = 100) -> None:
        self.away = False
        self.routes_away = False
        self.deposed = False
        self.records: list[AuditRecord] = []
        self._places: list[int] = []
        self._book = RouteBook(first_generation)
        self._rollouts: dict[str, Rollout] = {}
        self._history: dict[str, list[HistoryEntry]] = {}
        self._outcomes: dict[str, dict[tuple[str, str], Feedback]] = {}
        self._totals: dict[str, dict[int, Totals]] = {}
        self._outbox: dict[str, Delivery] = {}

    async def book(self) -> RouteBook:
        self._answer()
        return self._book

    async def put_route(self, route: Route, expected_generation: int, record: AuditRecord) -> RouteBook:
        self._take()
        if self.routes_away:
            raise Unavailable("the fake database is away")
        if self._book.generation != expected_generation:
            raise Conflict(f"the route table is no longer at generation {expected_generation}")
        self._remember(record)
        generation = expected_generation + 1
        self._book = RouteBook(
            generation,
            {**self._book.routes, route.model: route},
            {**self._book.changed, route.model: generation},
        )
        return self._book

    async def create(self, rollout: Rollout, entry: HistoryEntry, record: AuditRecord) -> Rollout:
        self._take()
        mine = [each for each in self._rollouts.values() if each.model == rollout.model]
        for each in mine:
            if not each.phase.terminal:
                raise Conflict(f"model '{rollout.model}' has rollout {each.id} under way")
        created = replace(rollout, number=len(mine) + 1, generation=1)
        self._remember(replace(record, rollout=created.id))
        self._rollouts[created.id] = created
        self._history[created.id] = [entry]
        self._outbox |= {each.id: each for each in deliveries_of(created, entry)}
        return created

    async def save(
        self, rollout: Rollout, entry: HistoryEntry | None = None, record: AuditRecord | None = None
    ) -> Rollout:
        self._take()
        stored = self._rollouts.get(rollout.id)
        if stored is None or stored.generation != rollout.generation:
            raise Conflict(f"rollout {rollout.id} is no longer at generation {rollout.generation}")
        if record is not None:
            self._remember(record)
        saved = replace(rollout, generation=rollout.generation + 1)
        self._rollouts[rollout.id] = saved
        if entry is not None:
            self._history[rollout.id].append(entry)
            self._outbox |= {each.id: each for each in deliveries_of(saved, entry)}
        return saved

    async def get(self, rollout_id: str) -> Rollout:
        self._answer()
        if rollout_id not in self._rollouts:
            raise NotFound(f"no rollout '{rollout_id[:300]}'")
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
            raise NotFound(f"no rollout '{rollout_id[:300]}'")
        return list(self._history[rollout_id])

    async def note(self, record: AuditRecord) -> None:
        self._take()
        self._remember(record)

    async def audit(self, query: AuditQuery) -> AuditPage:
        self._answer()
        found = [
            (place, record)
            for place, record in reversed(list(zip(self._places, self.records, strict=True)))
            if (query.before is None or place < query.before)
            and query.model in {None, record.model}
            and query.rollout in {None, record.rollout}
            and query.actor in {None, record.actor}
        ]
        shown = found[: query.limit]
        return AuditPage(tuple(record for _, record in shown), shown[-1][0] if len(found) > len(shown) else None)

    async def prune(self, older_than: float, after: int, limit: int, record: Callable[[int], AuditRecord]) -> Pruned:
        self._take()
        behind = [each for each in zip(self._places, self.records, strict=True) if each[0] > after]
        looked_at = behind[:limit]
        old = [(place, each) for place, each in looked_at if each.at < older_than]
        gone = {place for place, each in old if each.rollout is None or not self._under_way(each.rollout)}
        if gone:
            self._remember(record(len(gone)))
            left = [each for each in zip(self._places, self.records, strict=True) if each[0] not in gone]
            self._places, self.records = [place for place, _ in left], [each for _, each in left]
        return Pruned(len(gone), looked_at[-1][0] if old and len(looked_at) == limit else None)

    async def done_by(self, request_id: str) -> AuditRecord | None:
        self._answer()
        answered = (r for r in self.records if r.request_id == request_id and r.outcome is not AuditOutcome.REFUSED)
        return next(answered, None)

    async def add_outcomes(
        self, rollout_id: str, outcomes: Sequence[tuple[Feedback, float]]
    ) -> tuple[list[Taken], dict[int, Totals]]:
        self._take()
        if self._rollouts[rollout_id].phase.terminal:
            raise Conflict(f"rollout {rollout_id} is over")
        known, totals = self._outcomes.setdefault(rollout_id, {}), self._totals.setdefault(rollout_id, {})
        taken = []
        for one, value in outcomes:
            first = known.get((one.request_id, one.outcome))
            if first is None:
                known[one.request_id, one.outcome] = one
                totals[one.version] = totals.get(one.version, Totals()).with_outcome(value)
                taken.append(Taken.STORED)
            else:
                taken.append(Taken.REPEATED if first == one else Taken.CONFLICTING)
        return taken, dict(totals)

    async def outcome_totals(self) -> dict[str, dict[int, Totals]]:
        self._answer()
        active = (each.id for each in self._rollouts.values() if not each.phase.terminal)
        return {each: dict(self._totals[each]) for each in active if each in self._totals}

    async def due(self, query: DueQuery) -> Due:
        self._take()
        now = query.now
        old = [each for each in self._waiting() if each.written_at < now - MAX_AGE_S]
        self._give_up(old, now, f"older than {MAX_AGE_S / 3600:g} h")
        many = self._waiting()[:-MOST_WAITING]
        self._give_up(many, now, f"more than {MOST_WAITING} were waiting")
        heads = {each.line: each for each in reversed(self._waiting())}.values()
        ready = sorted(
            (each for each in heads if each.due_at <= now or each.due_at > now + LONGEST_PAUSE_S),
            key=lambda each: each.due_at,
        )
        free = [e for e in ready if e.line not in query.lines and e.destination not in query.destinations]
        later = [each.due_at for each in heads if each.due_at > now]
        return Due(
            tuple(free[: query.limit]), len(self._waiting()), len(old) + len(many), min(later) if later else None
        )

    async def delivered(self, delivery: Delivery) -> None:
        self._take()
        self._outbox.pop(delivery.id, None)

    async def put_off(self, delivery: Delivery) -> None:
        self._take()
        if self._outbox[delivery.id].gave_up_at is None:
            self._outbox[delivery.id] = delivery
        self._prune()

    async def undelivered(self, rollout_id: str) -> list[Undelivered]:
        self._answer()
        mine = [each for each in self._outbox.values() if each.rollout == rollout_id]
        names = sorted({each.webhook.name for each in mine})
        given_up = [[e for e in mine if e.webhook.name == name and e.gave_up_at is not None] for name in names]
        waiting = [[e for e in mine if e.webhook.name == name and e.gave_up_at is None] for name in names]
        return [
            *(_untold(each[-1], len(each)) for each in given_up if each),
            *(_untold(each[0], len(each)) for each in waiting if each),
        ]

    def _waiting(self) -> list[Delivery]:
        return [each for each in self._outbox.values() if each.gave_up_at is None]

    def _give_up(self, deliveries: list[Delivery], now: float, why: str) -> None:
        for each in deliveries:
            self._outbox[each.id] = replace(each, gave_up_at=now, problem=why)
        self._prune()

    def _prune(self) -> None:
        for each in [each for each in self._outbox.values() if each.gave_up_at is not None][:-MOST_GIVEN_UP]:
            del self._outbox[each.id]

    async def lead(self) -> Lead:
        self._answer()
        return Lead()

    def _remember(self, record: AuditRecord) -> None:
        if record.request_id and record.outcome is AuditOutcome.DONE:
            answered = {each.request_id for each in self.records if each.outcome is not AuditOutcome.REFUSED}
            if record.request_id in answered:
                raise Conflict(f"request '{record.request_id}' was done already")
        self.records.append(record)
        self._places.append(self._places[-1] + 1 if self._places else 1)

    def _under_way(self, rollout_id: str) -> bool:
        return rollout_id in self._rollouts and not self._rollouts[rollout_id].phase.terminal

    def _take(self) -> None:
        self._answer()
        if self.deposed:
            raise NotLeading("another controller was given the lead")

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the fake database is away")


def _untold(each: Delivery, count: int) -> Undelivered:
    phase = each.said["phase"]
    return Undelivered(each.webhook.name, count, phase, each.attempts, each.problem, each.due_at, each.gave_up_at)
