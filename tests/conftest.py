"""What tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loadtest.postgres import Postgres, own_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, started once; a test makes a database of its own in it."""
    with own_postgres() as server:
        yield server
