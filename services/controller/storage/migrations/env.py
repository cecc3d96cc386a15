"""Alembic's entry: migrates over the connection that ``SqlStore`` hands it."""

from __future__ import annotations

from alembic import context

from services.controller.storage.schema import METADATA

# SQLite's DDL is transactional too once the transaction is begun explicitly, as ``SqlStore`` does.
connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
