"""The row that says who leads: taken over, read, and compared before every write."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from services.controller.election.leadership import Lead, Leader, NotLeading
from services.controller.storage.schema import LEADERSHIP, ROUTE_TABLE


def begin_term(connection: Connection, leader: Leader, least_generation: int) -> int:
    """Write down a new leader and return its epoch; waits for the writes of the one before that are under way.

    Args:
        connection: In a transaction.
        leader: Who leads from now on.
        least_generation: The route table begins at this generation or later. Gateways refuse a table that is older
            than theirs: seconds since the epoch are beyond any generation of a database that was lost, or that was
            put back from a copy.
    """
    connection.execute(
        update(LEADERSHIP).values(
            epoch=LEADERSHIP.c.epoch + 1, instance=leader.instance, http=leader.http, grpc=leader.grpc
        )
    )
    behind = ROUTE_TABLE.c.generation < least_generation
    connection.execute(update(ROUTE_TABLE).where(behind).values(generation=least_generation))
    return lead_in(connection).epoch


def lead_in(connection: Connection) -> Lead:
    """Return who was given the lead last."""
    row = connection.execute(select(LEADERSHIP)).one()
    return Lead(row.epoch, Leader(row.instance, row.http, row.grpc) if row.instance else None)


def require_epoch(connection: Connection, epoch: int) -> None:
    """Let this transaction write only if nobody else was given the lead, and nobody until it has ended.

    Raises:
        NotLeading: Somebody else was.
    """
    # FOR SHARE: ``begin_term`` waits for this transaction, or this one for it and then sees the new epoch.
    row = connection.execute(select(LEADERSHIP.c.epoch, LEADERSHIP.c.instance).with_for_update(read=True)).one()
    if row.epoch != epoch:
        raise NotLeading(
            f"this controller was given the lead {epoch} and {row.instance} has the lead {row.epoch} by now; nothing "
            "was written"
        )
