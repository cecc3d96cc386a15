"""The store over SQLAlchemy: SQLite in WAL mode, or PostgreSQL.

Every write is a compare-and-swap in one transaction, which also compares the epoch of the lead. It is correct at READ
COMMITTED, PostgreSQL's default: a writer that comes second waits for the row, then sees its new generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection, func, insert, select, true, update

from services.controller.election.leadership import Lead, Mandate
from services.controller.election.sql_leadership import lead_in, require_epoch
from services.controller.storage.audit_documents import decode_record, encode_record
from services.controller.storage.database import Database
from services.controller.storage.documents import (
    decode_entry,
    decode_rollout,
    decode_route,
    encode_entry,
    encode_rollout,
    encode_route,
)
from services.controller.storage.schema import AUDIT, HISTORY, ROLLOUTS, ROUTE_TABLE, ROUTES
from services.controller.storage.sql_feedback import Scaled, TotalsByRollout, add_outcomes, totals_in
from services.controller.storage.sql_outbox import due_in, put_deliveries, put_off, remove_delivered, undelivered_in
from services.controller.storage.sql_retention import removable, remove
from services.controller.storage.store import AuditPage, AuditQuery, Due, DueQuery, Pruned, RouteBook
from services.controller.webhooks.delivery import Delivery, Undelivered, deliveries_of
from services.core.errors import Conflict, NotFound
from services.core.rollouts.audit import AuditOutcome, AuditRecord
from services.core.rollouts.feedback import Taken
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout import Rollout
from services.core.route import Route

Result = TypeVar("Result")
# Of an id that nobody has, in the words that say so.
_SHOWN = 300


class SqlStore:
    """``Store`` in one database.

    Args:
        database: Where it is; closed by whoever opened it.
        mandate: By what lead this process writes; reading needs none.
    """

    def __init__(self, database: Database, mandate: Mandate) -> None:
        self._database = database
        self._mandate = mandate
        # A thousand rollouts take a third of a second to read: neither the event loop nor the database waits for that.
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="documents")

    async def book(self) -> RouteBook:
        """Return the stored table."""
        return await self._database.run(_book)

    async def put_route(self, route: Route, expected_generation: int, record: AuditRecord) -> RouteBook:
        """Store one model's route if the table is at the expected generation."""

        def put(connection: Connection) -> RouteBook:
            generation = expected_generation + 1
            moved = connection.execute(
                update(ROUTE_TABLE).where(ROUTE_TABLE.c.generation == expected_generation).values(generation=generation)
            )
            if not moved.rowcount:
                raise Conflict(f"the route table is no longer at generation {expected_generation}; read it again")
            values = {"changed": generation, "document": encode_route(route)}
            known = connection.execute(update(ROUTES).where(ROUTES.c.model == route.model).values(values))
            if not known.rowcount:
                connection.execute(insert(ROUTES).values(model=route.model, **values))
            _note(connection, record)
            return _book(connection)

        return await self._write(put)

    async def create(self, rollout: Rollout, entry: HistoryEntry, record: AuditRecord) -> Rollout:
        """Store a new rollout under the model's next number."""

        def put(connection: Connection) -> Rollout:
            _refuse_second(connection, rollout.model)
            last = select(func.max(ROLLOUTS.c.number)).where(ROLLOUTS.c.model == rollout.model)
            number = (connection.execute(last).scalar() or 0) + 1
            sequence = (connection.execute(select(func.max(ROLLOUTS.c.sequence))).scalar() or 0) + 1
            created = replace(rollout, number=number, generation=1)
            row = {
                "id": created.id,
                "model": created.model,
                "number": number,
                "sequence": sequence,
                "active": not created.phase.terminal,
                "generation": created.generation,
                "document": encode_rollout(created),
            }
            connection.execute(insert(ROLLOUTS).values(row))
            connection.execute(insert(HISTORY).values(rollout_id=created.id, document=encode_entry(entry)))
            _note(connection, replace(record, rollout=created.id))
            put_deliveries(connection, deliveries_of(created, entry))
            return created

        return await self._write(put)

    async def save(
        self, rollout: Rollout, entry: HistoryEntry | None = None, record: AuditRecord | None = None
    ) -> Rollout:
        """Store what a rollout became if the stored one is at the generation it came from."""

        def put(connection: Connection) -> Rollout:
            saved = replace(rollout, generation=rollout.generation + 1)
            moved = connection.execute(
                update(ROLLOUTS)
                .where(ROLLOUTS.c.id == rollout.id, ROLLOUTS.c.generation == rollout.generation)
                .values(generation=saved.generation, active=not saved.phase.terminal, document=encode_rollout(saved))
            )
            if not moved.rowcount:
                raise Conflict(f"rollout {rollout.id} is no longer at generation {rollout.generation}; read it again")
            if entry is not None:
                connection.execute(insert(HISTORY).values(rollout_id=saved.id, document=encode_entry(entry)))
                put_deliveries(connection, deliveries_of(saved, entry))
            if record is not None:
                _note(connection, record)
            return saved

        return await self._write(put)

    async def get(self, rollout_id: str) -> Rollout:
        """Return one rollout."""
        query = select(ROLLOUTS.c.document).where(ROLLOUTS.c.id == _plain(rollout_id))
        text = await self._database.run(lambda connection: connection.execute(query).scalar())
        if text is None:
            raise NotFound(f"no rollout '{rollout_id[:_SHOWN]}'; `penstock rollout list` shows those there are")
        return decode_rollout(text)

    async def find(self, model: str | None = None, *, active: bool = False, limit: int = 100) -> list[Rollout]:
        """Return the latest rollouts first."""
        query = select(ROLLOUTS.c.document).order_by(ROLLOUTS.c.sequence.desc()).limit(limit)
        if model is not None:
            query = query.where(ROLLOUTS.c.model == _plain(model))
        if active:
            query = query.where(ROLLOUTS.c.active)
        texts = await self._database.run(lambda connection: list(connection.execute(query).scalars()))
        return await asyncio.get_running_loop().run_in_executor(self._reading, _decoded, texts)

    async def history(self, rollout_id: str) -> list[HistoryEntry]:
        """Return a rollout's history, oldest line first."""
        query = select(HISTORY.c.document).where(HISTORY.c.rollout_id == _plain(rollout_id)).order_by(HISTORY.c.id)
        texts = await self._database.run(lambda connection: list(connection.execute(query).scalars()))
        if not texts:
            raise NotFound(f"no rollout '{rollout_id[:_SHOWN]}'; `penstock rollout list` shows those there are")
        return [decode_entry(text) for text in texts]

    async def note(self, record: AuditRecord) -> None:
        """Add a record to the audit log."""
        await self._write(lambda connection: _note(connection, record))

    async def audit(self, query: AuditQuery) -> AuditPage:
        """Return records of the audit log, the latest first."""
        wanted = select(AUDIT.c.id, AUDIT.c.document).order_by(AUDIT.c.id.desc()).limit(query.limit + 1)
        if query.before is not None:
            wanted = wanted.where(AUDIT.c.id < query.before)
        for column, value in (
            (AUDIT.c.model, query.model),
            (AUDIT.c.rollout_id, query.rollout),
            (AUDIT.c.actor, query.actor),
        ):
            if value is not None:
                wanted = wanted.where(column == _plain(value))
        rows = await self._database.run(lambda connection: list(connection.execute(wanted)))
        shown = rows[: query.limit]
        more = shown[-1].id if len(rows) > query.limit else None
        return AuditPage(tuple(decode_record(row.document) for row in shown), more)

    async def prune(self, older_than: float, after: int, limit: int, record: Callable[[int], AuditRecord]) -> Pruned:
        """Remove old records of the audit log."""

        def work(connection: Connection) -> Pruned:
            places, more = removable(connection, older_than, after, limit)
            if places:
                # Before they go: SQLite would give the place of the last one again.
                _note(connection, record(len(places)))
                remove(connection, places, older_than)
            return Pruned(len(places), more)

        return await self._write(work)

    async def done_by(self, request_id: str) -> AuditRecord | None:
        """Return what a request did, or found done."""
        query = select(AUDIT.c.document).where(AUDIT.c.request_id == _plain(request_id))
        text = await self._database.run(lambda connection: connection.execute(query).scalar())
        return None if text is None else decode_record(text)

    async def add_outcomes(self, rollout_id: str, outcomes: Sequence[Scaled]) -> tuple[list[Taken], dict[int, Totals]]:
        """Add outcomes of an A/B test."""
        return await self._write(lambda connection: add_outcomes(connection, rollout_id, outcomes))

    async def outcome_totals(self) -> TotalsByRollout:
        """Return the totals of the A/B tests that are not over."""
        return await self._database.run(totals_in)

    async def due(self, query: DueQuery) -> Due:
        """Return what webhooks are to be told now; read by the lead, so that no other controller sends it as well."""
        return await self._write(lambda connection: due_in(connection, query))

    async def delivered(self, delivery: Delivery) -> None:
        """Forget what was delivered."""
        await self._write(lambda connection: remove_delivered(connection, delivery))

    async def put_off(self, delivery: Delivery) -> None:
        """Store what became of a delivery by an attempt without a good answer."""
        await self._write(lambda connection: put_off(connection, delivery))

    async def undelivered(self, rollout_id: str) -> list[Undelivered]:
        """Return what the webhooks of a rollout were not told."""
        return await self._database.run(lambda connection: undelivered_in(connection, _plain(rollout_id)))

    async def lead(self) -> Lead:
        """Return who was given the lead last."""
        return await self._database.run(lead_in)

    async def _write(self, work: Callable[[Connection], Result]) -> Result:
        """Do some work in one transaction that ends only while this process leads."""
        epoch = self._mandate.require()

        def fenced(connection: Connection) -> Result:
            require_epoch(connection, epoch)
            return work(connection)

        return await self._database.run(fenced)


def _decoded(texts: Sequence[str]) -> list[Rollout]:
    return [decode_rollout(text) for text in texts]


def _book(connection: Connection) -> RouteBook:
    # One statement, so that both tables are seen at the same moment.
    joined = select(ROUTE_TABLE.c.generation, ROUTES.c.model, ROUTES.c.changed, ROUTES.c.document).select_from(
        ROUTE_TABLE.outerjoin(ROUTES, true())
    )
    rows = connection.execute(joined).all()
    routed = [row for row in rows if row.model is not None]
    return RouteBook(
        rows[0].generation,
        {row.model: decode_route(row.document) for row in routed},
        {row.model: row.changed for row in routed},
    )


def _note(connection: Connection, record: AuditRecord) -> None:
    connection.execute(
        insert(AUDIT).values(
            model=_plain(record.model)[:255],
            rollout_id=record.rollout and _plain(record.rollout)[:300],
            actor=_plain(record.actor)[:200],
            request_id=_remembered(connection, record),
            document=encode_record(record),
        )
    )


def _remembered(connection: Connection, record: AuditRecord) -> str | None:
    """Return by which request the record is found again: the first that did something, or found it done."""
    named = _plain(record.request_id)[:200]
    if not named or record.outcome is AuditOutcome.REFUSED:
        return None
    if record.outcome is AuditOutcome.REPEATED:
        known = select(AUDIT.c.id).where(AUDIT.c.request_id == named)
        return named if connection.execute(known).first() is None else None
    return named


def _plain(text: str) -> str:
    """Return a text as PostgreSQL takes it: anything but NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _refuse_second(connection: Connection, model: str) -> None:
    """Say what is in the way; that nothing is, the index ``one_active_rollout`` makes sure."""
    active = select(ROLLOUTS.c.id).where(ROLLOUTS.c.model == model, ROLLOUTS.c.active)
    found = connection.execute(active).scalar()
    if found is not None:
        raise Conflict(f"model '{model}' has rollout {found} under way; abort it or wait until it is over")
