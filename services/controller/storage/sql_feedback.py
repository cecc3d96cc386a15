"""Outcomes of A/B tests in the database: each counts once, and their totals are kept beside them.

The totals are written in the transaction that adds the outcomes, so neither a kill nor a repetition parts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, insert, select, update

from services.controller.storage.schema import OUTCOME_TOTALS, OUTCOMES, ROLLOUTS
from services.core.errors import Conflict
from services.core.rollouts.feedback import MAX_OUTCOMES, Feedback, Taken
from services.core.rollouts.outcomes import Totals

Scaled = tuple[Feedback, float]
TotalsByRollout = dict[str, dict[int, Totals]]


def add_outcomes(
    connection: Connection, rollout_id: str, outcomes: Sequence[Scaled], most: int = MAX_OUTCOMES
) -> tuple[list[Taken], dict[int, Totals]]:
    """Add outcomes with their values from 0 to 1; return what was done with each, and the totals by version.

    Raises:
        Conflict: The rollout is over, or would have more than it may; nothing was added.
    """
    if not connection.execute(select(ROLLOUTS.c.active).where(ROLLOUTS.c.id == rollout_id)).scalar():
        raise Conflict(f"rollout {rollout_id} is over and takes no more outcomes")
    totals = totals_in(connection, rollout_id).get(rollout_id, {})
    before = dict(totals)
    known = _known(connection, rollout_id, [one.request_id for one, _ in outcomes])
    taken, rows = [], []
    for one, value in outcomes:
        key = (one.request_id, one.outcome)
        if key in known:
            taken.append(Taken.REPEATED if known[key] == (one.version, one.value) else Taken.CONFLICTING)
            continue
        known[key] = (one.version, one.value)
        rows.append({"rollout_id": rollout_id, **asdict(one)})
        totals[one.version] = totals.get(one.version, Totals()).with_outcome(value)
        taken.append(Taken.STORED)
    if sum(each.count for each in totals.values()) > most:
        raise Conflict(f"rollout {rollout_id} has {most:,} outcomes, which is the limit; nothing was added")
    if rows:
        connection.execute(insert(OUTCOMES), rows)
    for version, each in totals.items():
        if each != before.get(version):
            _put_totals(connection, rollout_id, version, each)
    return taken, totals


def totals_in(connection: Connection, rollout_id: str | None = None) -> TotalsByRollout:
    """Return the totals of one rollout, or of all that are not over, by rollout and version."""
    query = select(OUTCOME_TOTALS)
    if rollout_id is None:
        query = query.join(ROLLOUTS, ROLLOUTS.c.id == OUTCOME_TOTALS.c.rollout_id).where(ROLLOUTS.c.active)
    else:
        query = query.where(OUTCOME_TOTALS.c.rollout_id == rollout_id)
    found: TotalsByRollout = {}
    for row in connection.execute(query):
        found.setdefault(row.rollout_id, {})[row.version] = Totals(row.count_, row.total, row.deviation)
    return found


def _known(
    connection: Connection, rollout_id: str, request_ids: Sequence[str]
) -> dict[tuple[str, str], tuple[int, float]]:
    query = select(OUTCOMES).where(OUTCOMES.c.rollout_id == rollout_id, OUTCOMES.c.request_id.in_(request_ids))
    return {(row.request_id, row.outcome): (row.version, row.value) for row in connection.execute(query)}


def _put_totals(connection: Connection, rollout_id: str, version: int, totals: Totals) -> None:
    values: Mapping[str, int | float] = {
        "count_": totals.count,
        "total": totals.total,
        "deviation": totals.deviation,
    }
    table = OUTCOME_TOTALS
    place = (table.c.rollout_id == rollout_id) & (table.c.version == version)
    if not connection.execute(update(table).where(place).values(values)).rowcount:
        connection.execute(insert(table).values(rollout_id=rollout_id, version=version, **values))
