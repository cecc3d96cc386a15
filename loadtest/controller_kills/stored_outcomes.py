"""The outcomes in the controllers' database, read past them: what is stored is not taken from who stored it."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import NullPool, create_engine, make_url, text

# One statement sees both tables at one moment.
_QUERY = text(
    "SELECT o.request_id, o.version, o.value, t.count_, t.total FROM outcomes o LEFT JOIN outcome_totals t "
    "ON t.rollout_id = o.rollout_id AND t.version = o.version WHERE o.rollout_id = :rollout"
)


class StoredOutcome(NamedTuple):
    """An outcome, and the totals of its version in the same test; None where there are none."""

    request_id: str
    version: int
    value: float
    counted: int | None
    total: float | None


class StoredOutcomes:
    """Reads outcomes.

    Args:
        database_url: SQLAlchemy URL of the controllers' database.
    """

    def __init__(self, database_url: str) -> None:
        url = make_url(database_url)
        named = url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
        self._engine = create_engine(named, poolclass=NullPool)  # holds no connection while nobody reads

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def of(self, rollout_id: str) -> list[StoredOutcome]:
        """Return the outcomes of a rollout."""
        with self._engine.connect() as connection:
            rows = connection.execute(_QUERY, {"rollout": rollout_id})
            return [StoredOutcome(*row) for row in rows]
