"""What webhooks are to be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("delivery", sa.String(400), nullable=False, unique=True),
        sa.Column("rollout_id", sa.String(300), sa.ForeignKey("rollouts.id"), nullable=False),
        sa.Column("webhook", sa.String(64), nullable=False),
        sa.Column("phase", sa.String(64), nullable=False),
        sa.Column("destination", sa.String(300), nullable=False),
        sa.Column("written_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("gave_up_at", sa.Double),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("outbox_lines", "outbox", ["rollout_id", "webhook", "id"])


def downgrade() -> None:
    """Go back."""
    op.drop_table("outbox")
