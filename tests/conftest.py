"""What tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from loadtest.postgres import Postgres, own_postgres

# How long an example takes, or how long it is looked for, says something of the machine alone.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With ``--dist loadgroup`` the tests of a file follow each other, and so do all that measure time."""
    for item in items:
        lane = "measured" if item.get_closest_marker("measured") else item.path.name
        item.add_marker(pytest.mark.xdist_group(lane))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, started once; a test makes a database of its own in it."""
    with own_postgres() as server:
        yield server
