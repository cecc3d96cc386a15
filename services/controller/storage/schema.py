"""The tables of the controller's database.

What is asked for by value is a column; everything else is in a JSON document (``documents.py``).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy import UniqueConstraint as Unique

METADATA = MetaData()

# One row: the generation of the whole route table.
ROUTE_TABLE = Table(
    "route_table",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("generation", BigInteger, nullable=False),
)

ROUTES = Table(
    "routes",
    METADATA,
    Column("model", String(255), primary_key=True),
    Column("changed", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)

ROLLOUTS = Table(
    "rollouts",
    METADATA,
    Column("id", String(300), primary_key=True),
    Column("model", String(255), nullable=False),
    Column("number", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Unique("model", "number", name="one_number_once"),
)
# The database itself refuses a second rollout of a model that has one.
Index(
    "one_active_rollout",
    ROLLOUTS.c.model,
    unique=True,
    sqlite_where=ROLLOUTS.c.active,
    postgresql_where=ROLLOUTS.c.active,
)

HISTORY = Table(
    "history",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rollout_id", String(300), ForeignKey("rollouts.id"), nullable=False, index=True),
    Column("document", Text, nullable=False),
)

# One row: who leads. Every write compares its epoch with this one in its own transaction.
LEADERSHIP = Table(
    "leadership",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("instance", String(300)),
    Column("http", String(300)),
    Column("grpc", String(300)),
)

# Triggers refuse to change what is here, and to remove what is not from before ``AUDIT_FLOOR``.
AUDIT = Table(
    "audit",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("model", String(255), nullable=False, index=True),
    Column("rollout_id", String(300), index=True),
    Column("actor", String(200), nullable=False, index=True),
    # Of what was done, or found done: a request is done once, also by clients that repeat it at the same moment.
    Column("request_id", String(200)),
    Column("document", Text, nullable=False),
)
Index(
    "one_request_once",
    AUDIT.c.request_id,
    unique=True,
    sqlite_where=AUDIT.c.request_id.is_not(None),
    postgresql_where=AUDIT.c.request_id.is_not(None),
)

# One row: records from before this time, seconds since the epoch, may be removed. Triggers let it only rise.
AUDIT_FLOOR = Table(
    "audit_floor",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("older_than", Double, nullable=False),
)

# What became of answers: the first outcome of a name that comes back for a request counts.
OUTCOMES = Table(
    "outcomes",
    METADATA,
    Column("rollout_id", String(300), ForeignKey("rollouts.id"), primary_key=True),
    Column("request_id", String(200), primary_key=True),
    Column("outcome", String(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
)

# Their totals on a scale from 0 to 1, in the order in which they came.
OUTCOME_TOTALS = Table(
    "outcome_totals",
    METADATA,
    Column("rollout_id", String(300), ForeignKey("rollouts.id"), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("count_", BigInteger, nullable=False),
    Column("total", Double, nullable=False),
    Column("deviation", Double, nullable=False),
)

# What webhooks are to be told: written with the change that is told, gone when it is delivered.
OUTBOX = Table(
    "outbox",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("delivery", String(400), nullable=False, unique=True),
    Column("rollout_id", String(300), ForeignKey("rollouts.id"), nullable=False),
    Column("webhook", String(64), nullable=False),
    Column("phase", String(64), nullable=False),
    Column("destination", String(300), nullable=False),
    Column("written_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("problem", Text, nullable=False),
    Column("gave_up_at", Double),
    Column("document", Text, nullable=False),
)
Index("outbox_lines", OUTBOX.c.rollout_id, OUTBOX.c.webhook, OUTBOX.c.id)
