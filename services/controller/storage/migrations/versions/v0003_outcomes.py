"""What became of answers, for A/B tests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "outcomes",
        sa.Column("rollout_id", sa.String(300), sa.ForeignKey("rollouts.id"), primary_key=True),
        sa.Column("request_id", sa.String(200), primary_key=True),
        sa.Column("outcome", sa.String(64), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
    )
    op.create_table(
        "outcome_totals",
        sa.Column("rollout_id", sa.String(300), sa.ForeignKey("rollouts.id"), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("count_", sa.BigInteger, nullable=False),
        sa.Column("total", sa.Double, nullable=False),
        sa.Column("deviation", sa.Double, nullable=False),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("outcome_totals")
    op.drop_table("outcomes")
