"""Alembic's entry: migrates over the connection that ``SqlStore`` hands it."""

from __future__ import annotations

from alembic import context

from services.controller.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
