"""Removing old records of the audit log. The database itself refuses to remove any that is not old enough."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, update

from services.controller.storage.audit_documents import decode_record
from services.controller.storage.schema import AUDIT, AUDIT_FLOOR, ROLLOUTS


def removable(connection: Connection, older_than: float, after: int, limit: int) -> tuple[list[int], int | None]:
    """Look at some records, the oldest first, and return those that may go.

    Args:
        connection: In a transaction.
        older_than: What is from before, seconds since the epoch, may go, but for records of rollouts that are not over.
        after: Look at records behind this place.
        limit: Look at so many.

    Returns:
        Their places, and the place from which to look on; None where there are no more old ones.
    """
    query = (
        select(AUDIT.c.id, AUDIT.c.document, ROLLOUTS.c.active)
        .select_from(AUDIT.outerjoin(ROLLOUTS, ROLLOUTS.c.id == AUDIT.c.rollout_id))
        .where(AUDIT.c.id > after)
        .order_by(AUDIT.c.id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    old = [row for row in rows if decode_record(row.document).at < older_than]
    more = rows[-1].id if old and len(rows) == limit else None
    return [row.id for row in old if not row.active], more


def remove(connection: Connection, places: Sequence[int], older_than: float) -> None:
    """Raise the floor, below which the database lets records go, and remove some."""
    floor = AUDIT_FLOOR.c.older_than
    connection.execute(update(AUDIT_FLOOR).where(floor < older_than).values(older_than=older_than))
    connection.execute(delete(AUDIT).where(AUDIT.c.id.in_(places)))
