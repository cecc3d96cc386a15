"""Routes, rollouts and their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "route_table",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "routes",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    rollouts = op.create_table(
        "rollouts",
        sa.Column("id", sa.String(300), primary_key=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.UniqueConstraint("model", "number", name="one_number_once"),
    )
    op.create_index(
        "one_active_rollout",
        "rollouts",
        ["model"],
        unique=True,
        sqlite_where=rollouts.c.active,
        postgresql_where=rollouts.c.active,
    )
    op.create_table(
        "history",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("rollout_id", sa.String(300), sa.ForeignKey("rollouts.id"), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("ix_history_rollout_id", "history", ["rollout_id"])


def downgrade() -> None:
    """Go back."""
    for table in ("history", "rollouts", "routes", "route_table"):
        op.drop_table(table)
