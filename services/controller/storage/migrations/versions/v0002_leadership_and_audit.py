"""Who leads, and who did what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ADVICE = "the audit log is only ever added to"


def upgrade() -> None:
    """Go forward."""
    leadership = op.create_table(
        "leadership",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("instance", sa.String(300)),
        sa.Column("http", sa.String(300)),
        sa.Column("grpc", sa.String(300)),
    )
    op.bulk_insert(leadership, [{"id": 1, "epoch": 0}])
    audit = op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("rollout_id", sa.String(300)),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("request_id", sa.String(200)),
        sa.Column("document", sa.Text, nullable=False),
    )
    for column in ("model", "rollout_id", "actor"):
        op.create_index(f"ix_audit_{column}", "audit", [column])
    named = audit.c.request_id.is_not(None)
    op.create_index(
        "one_request_once", "audit", ["request_id"], unique=True, sqlite_where=named, postgresql_where=named
    )
    for statement in _only_additions(op.get_bind().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    """Go back."""
    op.drop_table("audit")
    op.drop_table("leadership")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION penstock_refuse_change()")


def _only_additions(dialect: str) -> list[str]:
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit BEGIN SELECT RAISE(ABORT, '{_ADVICE}'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    refuse = f"$$ BEGIN RAISE EXCEPTION '{_ADVICE}'; END $$"
    run = "EXECUTE FUNCTION penstock_refuse_change()"
    return [
        f"CREATE FUNCTION penstock_refuse_change() RETURNS trigger LANGUAGE plpgsql AS {refuse}",
        f"CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit FOR EACH ROW {run}",
        f"CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT {run}",
    ]
