"""Old records of the audit log may be removed: those from before a time that is stored and only rises."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# Whatever is asked for, nothing younger is ever removed; also what clocks may differ by.
_YOUNGEST_S = 43_200
_AUDIT = "the audit log is only ever added to, and only records from before audit_floor.older_than may be removed"
_FLOOR = "audit_floor.older_than only rises, and to half a day ago at most"


def upgrade() -> None:
    """Go forward."""
    floor = op.create_table(
        "audit_floor",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("older_than", sa.Double, nullable=False),
    )
    op.bulk_insert(floor, [{"id": 1, "older_than": 0.0}])
    for statement in _SQLITE_UP if op.get_bind().dialect.name == "sqlite" else _POSTGRES_UP:
        op.execute(statement)


def downgrade() -> None:
    """Go back."""
    for statement in _SQLITE_DOWN if op.get_bind().dialect.name == "sqlite" else _POSTGRES_DOWN:
        op.execute(statement)
    op.drop_table("audit_floor")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION penstock_refuse_floor()")


def _refusing(name: str, event: str, words: str, when: str = "") -> str:
    """Return an SQLite trigger that refuses an event, always or when something holds."""
    return f"CREATE TRIGGER {name} BEFORE {event} {when}BEGIN SELECT RAISE(ABORT, '{words}'); END"


# What is not known, for example because there is no row, counts as refused: COALESCE turns NULL into 0.
_TOO_YOUNG = "json_extract(OLD.document, '$.at') < (SELECT older_than FROM audit_floor)"
_RISES = f"NEW.id = OLD.id AND NEW.older_than BETWEEN OLD.older_than AND strftime('%s', 'now') - {_YOUNGEST_S}"
# REPLACE removes rows without asking the triggers for DELETE.
_REPLACES = (
    "EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) OR EXISTS (SELECT 1 FROM audit WHERE request_id = NEW.request_id)"
)
_SQLITE_UP = (
    "DROP TRIGGER audit_no_delete",
    _refusing("audit_no_early_delete", "DELETE ON audit", _AUDIT, f"WHEN NOT COALESCE({_TOO_YOUNG}, 0) "),
    _refusing("audit_no_replace", "INSERT ON audit", _AUDIT, f"WHEN {_REPLACES} "),
    _refusing("audit_floor_rises", "UPDATE ON audit_floor", _FLOOR, f"WHEN NOT COALESCE({_RISES}, 0) "),
    _refusing("audit_floor_stays", "DELETE ON audit_floor", _FLOOR),
    _refusing("audit_floor_alone", "INSERT ON audit_floor", _FLOOR),
)
_SQLITE_DOWN = (
    *(f"DROP TRIGGER {name}" for name in ("audit_no_early_delete", "audit_no_replace")),
    *(f"DROP TRIGGER audit_floor_{name}" for name in ("rises", "stays", "alone")),
    _refusing("audit_no_delete", "DELETE ON audit", "the audit log is only ever added to"),
)
_REFUSE_EARLY = f"""
CREATE FUNCTION penstock_refuse_early() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (OLD.document::json->>'at')::double precision < (SELECT older_than FROM audit_floor) THEN RETURN OLD; END IF;
    RAISE EXCEPTION '{_AUDIT}';
END $$
"""  # noqa: S608 - nothing in it comes from outside
_REFUSE_FLOOR = f"""
CREATE FUNCTION penstock_refuse_floor() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.id = OLD.id AND NEW.older_than
            BETWEEN OLD.older_than AND extract(epoch FROM clock_timestamp()) - {_YOUNGEST_S} THEN RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '{_FLOOR}';
END $$
"""


def _running(function: str, name: str, event: str, each: str = "ROW") -> str:
    """Return a PostgreSQL trigger that asks a function."""
    return f"CREATE TRIGGER {name} BEFORE {event} FOR EACH {each} EXECUTE FUNCTION penstock_refuse_{function}()"


_POSTGRES_UP = (
    _REFUSE_EARLY,
    _REFUSE_FLOOR,
    "DROP TRIGGER audit_no_change ON audit",
    _running("change", "audit_no_change", "UPDATE ON audit"),
    _running("early", "audit_no_early_delete", "DELETE ON audit"),
    _running("floor", "audit_floor_rises", "INSERT OR UPDATE OR DELETE ON audit_floor"),
    _running("floor", "audit_floor_stays", "TRUNCATE ON audit_floor", "STATEMENT"),
)
_POSTGRES_DOWN = (
    *(f"DROP TRIGGER {name} ON audit" for name in ("audit_no_change", "audit_no_early_delete")),
    "DROP FUNCTION penstock_refuse_early()",
    _running("change", "audit_no_change", "UPDATE OR DELETE ON audit"),
)
