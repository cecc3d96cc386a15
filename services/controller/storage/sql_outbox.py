"""What webhooks are to be told, in the database: written in the transaction of the change that is told.

A row is deleted when it was delivered. One that was given up is kept for people to see, in a bounded number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, ScalarSelect, delete, func, insert, or_, select, update

from services.controller.storage.schema import OUTBOX
from services.controller.storage.store import Due, DueQuery
from services.controller.webhooks.delivery import (
    LONGEST_PAUSE_S,
    MAX_AGE_S,
    MOST_GIVEN_UP,
    MOST_WAITING,
    Delivery,
    Undelivered,
    decode_delivery,
    encode_delivery,
)
from services.core.errors import ConfigurationError

_WAITS = OUTBOX.c.gave_up_at.is_(None)
# The table once more, for what is worked out of all of its rows.
_ALL = OUTBOX.alias("all_rows")
_ALL_WAIT = _ALL.c.gave_up_at.is_(None)


def put_deliveries(connection: Connection, deliveries: Sequence[Delivery]) -> None:
    """Add what is to be told."""
    rows = [
        {
            "delivery": each.id,
            "rollout_id": each.rollout,
            "webhook": each.webhook.name,
            "phase": each.said["phase"],
            "destination": each.destination,
            "written_at": each.written_at,
            "document": encode_delivery(each),
            **_progress(each),
        }
        for each in deliveries
    ]
    if rows:
        connection.execute(insert(OUTBOX), rows)


def due_in(connection: Connection, query: DueQuery) -> Due:
    """Give up what is too old or too much, and return what is to be sent now."""
    given_up = _keep_bounds(connection, query.now)
    heads = select(func.min(_ALL.c.id)).where(_ALL_WAIT).group_by(_ALL.c.rollout_id, _ALL.c.webhook)
    first = OUTBOX.c.id.in_(heads)
    # Later than any pause: the clock was set back meanwhile.
    now = or_(OUTBOX.c.due_at <= query.now, OUTBOX.c.due_at > query.now + LONGEST_PAUSE_S)
    line = OUTBOX.c.rollout_id + "/" + OUTBOX.c.webhook
    wanted = (
        select(OUTBOX)
        .where(first, now, line.not_in(["/".join(each) for each in query.lines]))
        .where(OUTBOX.c.destination.not_in(list(query.destinations)))
        .order_by(OUTBOX.c.due_at, OUTBOX.c.id)
        .limit(query.limit)
    )
    deliveries = []
    for row in connection.execute(wanted).all():
        try:
            deliveries.append(_delivery(row))
        except ConfigurationError as error:
            given_up += _give_up(connection, OUTBOX.c.id == row.id, query.now, error.message)
    later = select(func.min(OUTBOX.c.due_at)).where(first, OUTBOX.c.due_at > query.now)
    waiting = select(func.count()).select_from(OUTBOX).where(_WAITS)
    return Due(
        tuple(deliveries),
        waiting=connection.execute(waiting).scalar_one(),
        given_up=given_up,
        next_at=connection.execute(later).scalar(),
    )


def remove_delivered(connection: Connection, delivery: Delivery) -> None:
    """Forget what was delivered."""
    connection.execute(delete(OUTBOX).where(OUTBOX.c.delivery == delivery.id))


def put_off(connection: Connection, delivery: Delivery) -> None:
    """Store when it is sent again, or that it is not."""
    place = (OUTBOX.c.delivery == delivery.id) & _WAITS
    connection.execute(update(OUTBOX).where(place).values(**_progress(delivery)))
    _prune(connection)


def undelivered_in(connection: Connection, rollout_id: str) -> list[Undelivered]:
    """Return what the webhooks of a rollout were not told: those given up, then those that wait, by webhook."""
    return [
        *_untold(connection, rollout_id, ~_ALL_WAIT, func.max),
        *_untold(connection, rollout_id, _ALL_WAIT, func.min),
    ]


def _untold(
    connection: Connection, rollout_id: str, which: ColumnElement[bool], end: Callable[[Column[int]], Any]
) -> list[Undelivered]:
    """Return the first or last row of each webhook, and how many there are."""
    ends = (
        select(end(_ALL.c.id).label("id"), func.count().label("count"))
        .where(_ALL.c.rollout_id == rollout_id, which)
        .group_by(_ALL.c.webhook)
        .subquery()
    )
    of = OUTBOX.c
    columns = (of.webhook, ends.c.count, of.phase, of.attempts, of.problem, of.due_at, of.gave_up_at)
    rows = connection.execute(select(*columns).join(ends, ends.c.id == of.id).order_by(of.webhook))
    return [Undelivered(*row) for row in rows]


def _keep_bounds(connection: Connection, now: float) -> int:
    """Give up what is too old, and the oldest of too many; return how many that were."""
    words = f"older than {MAX_AGE_S / 3600:g} h"
    given_up = _give_up(connection, OUTBOX.c.written_at < now - MAX_AGE_S, now, words)
    too_many = OUTBOX.c.id <= _newest_but(MOST_WAITING, _ALL_WAIT)
    return given_up + _give_up(connection, too_many, now, f"more than {MOST_WAITING} were waiting")


def _give_up(connection: Connection, which: ColumnElement[bool], now: float, why: str) -> int:
    given_up = connection.execute(update(OUTBOX).where(_WAITS, which).values(gave_up_at=now, problem=why)).rowcount
    if given_up:
        _prune(connection)
    return given_up


def _prune(connection: Connection) -> None:
    """Forget the oldest of those that were given up."""
    too_many = OUTBOX.c.id <= _newest_but(MOST_GIVEN_UP, ~_ALL_WAIT)
    connection.execute(delete(OUTBOX).where(~_WAITS, too_many))


def _newest_but(count: int, which: ColumnElement[bool]) -> ScalarSelect[Any]:
    """Return the id of the newest row but so many; NULL, which no id is below, where there are not so many."""
    return select(_ALL.c.id).where(which).order_by(_ALL.c.id.desc()).offset(count).limit(1).scalar_subquery()


def _progress(delivery: Delivery) -> dict[str, Any]:
    return {
        "due_at": delivery.due_at,
        "attempts": delivery.attempts,
        # PostgreSQL takes no NUL, and answers of strangers are in here.
        "problem": delivery.problem.replace("\0", "\N{REPLACEMENT CHARACTER}"),
        "gave_up_at": delivery.gave_up_at,
    }


def _delivery(row: Row[Any]) -> Delivery:
    webhook, said = decode_delivery(row.document)
    return Delivery(
        row.delivery,
        row.rollout_id,
        webhook,
        said,
        row.written_at,
        row.due_at,
        row.attempts,
        row.problem,
        row.gave_up_at,
    )
