"""Old records of the audit log go when they may, a few at a time and not unnoticed; nothing else ever does."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import alembic.command
import alembic.config
import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from loadtest.postgres import Postgres
from services.controller.audit_retention import AuditRetention
from services.controller.election.leadership import Leader, Mandate, NotLeading
from services.controller.storage import database
from services.controller.storage.audit_documents import encode_record
from services.controller.storage.store import AuditQuery, Store
from services.core.errors import Conflict, Unavailable
from services.core.rollouts.audit import PRUNE, AuditOutcome, AuditRecord, pruning_of
from services.core.rollouts.history import beginning
from services.core.rollouts.rollout import new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec
from tests.fakes.audit_records import record_of
from tests.fakes.clock import FakeClock
from tests.fakes.opened_store import OpenedStore, sqlite_url
from tests.fakes.store import FakeStore

pytestmark = pytest.mark.anyio
SQL = ["sqlite", "postgresql"]
REFUSED = (Conflict, Unavailable)
DAY_S = 86_400


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database of the kind that the test is run with."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create()


@pytest.fixture
async def sql(url: str) -> AsyncIterator[OpenedStore]:
    store = OpenedStore(url)
    yield store
    await store.close()


@pytest.fixture(params=["fake", *SQL])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "fake":
        yield FakeStore()
        return
    postgres: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    opened = OpenedStore(postgres.create() if postgres else sqlite_url(tmp_path))
    yield opened
    await opened.close()


async def noted(store: Store, *ages_days: float, **fields: str) -> None:
    for days in ages_days:
        await store.note(record_of(at=time.time() - days * DAY_S, reason=f"{days:g} days", **fields))


async def reasons(store: Store) -> list[str]:
    """Return the reasons of all records, the oldest first."""
    return [record.reason for record in reversed((await store.audit(AuditQuery(limit=1000))).records)]


def told(removed: int) -> AuditRecord:
    return pruning_of(removed, time.time() - 30 * DAY_S, 30, time.time(), "me")


async def test_what_is_old_goes_a_few_at_a_time_and_each_time_is_on_record(store: Store) -> None:
    await noted(store, 90, 80, 70, 60, 50, 3, 2)
    older_than = time.time() - 30 * DAY_S
    first = await store.prune(older_than, 0, 3, told)
    assert first.removed == 3
    assert first.more is not None
    assert (await reasons(store))[:4] == ["60 days", "50 days", "3 days", "2 days"]
    second = await store.prune(older_than, first.more, 10, told)
    assert (second.removed, second.more) == (2, None)
    page = await store.audit(AuditQuery(limit=2))
    assert [(record.action, record.actor, record.outcome) for record in page.records] == [
        (PRUNE, "controller", AuditOutcome.DONE)
    ] * 2
    assert [record.reason.split(" records")[0] for record in page.records] == ["2", "3"]
    assert "controller.audit_days is 30" in page.records[0].reason
    older = await store.audit(AuditQuery(before=page.more))
    assert [record.reason for record in older.records] == ["2 days", "3 days"]
    none = await store.prune(older_than, 0, 10, told)
    assert (none.removed, none.more) == (0, None)
    assert len((await store.audit(AuditQuery())).records) == 4, "nothing is told where nothing went"


async def test_records_of_a_rollout_that_is_not_over_stay(store: Store) -> None:
    rollout = new_rollout(RolloutSpec("digits", 2), 1, 10.0)
    long_ago = record_of(at=10.0, reason="long ago")
    created = await store.create(rollout, beginning(rollout, "ada"), long_ago)
    await noted(store, 90, 80, rollout="other-1")
    pruned = await store.prune(time.time() - 30 * DAY_S, 0, 10, told)
    assert pruned.removed == 2
    assert (await store.audit(AuditQuery(rollout=created.id))).records[-1].reason == "long ago"


async def test_with_its_record_it_is_forgotten_what_a_request_did(store: Store) -> None:
    await noted(store, 90, request_id="r-1")
    await noted(store, 1, request_id="r-2")
    await store.prune(time.time() - 30 * DAY_S, 0, 10, told)
    assert await store.done_by("r-1") is None
    assert await store.done_by("r-2") is not None


async def test_only_the_leader_removes_anything(store: Store) -> None:
    await noted(store, 90)
    if isinstance(store, OpenedStore):
        await store.lead_anew(instance="other")
        store.mandate.grant(0, float("inf"))
    else:
        assert isinstance(store, FakeStore)
        store.deposed = True
    with pytest.raises(NotLeading):
        await store.prune(time.time(), 0, 10, told)
    assert await reasons(store) == ["90 days"]


def execute(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))


FLOOR = f"UPDATE audit_floor SET older_than = {time.time() - 30 * DAY_S}"


@pytest.mark.parametrize("url", SQL, indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit",
        "UPDATE audit SET actor = 'nobody'",
        "UPDATE audit SET document = replace(document, 'days', 'years')",
        "UPDATE audit_floor SET older_than = 0",
        "UPDATE audit_floor SET id = 2",
        "UPDATE audit_floor SET older_than = NOW - 3600",
        "UPDATE audit_floor SET older_than = NOW + 7776000",
        "DELETE FROM audit_floor",
        "INSERT INTO audit_floor VALUES (2, NOW)",
    ],
)
async def test_the_database_itself_lets_nothing_go_that_is_not_old_enough(sql: OpenedStore, statement: str) -> None:
    await noted(sql, 90, 1)
    await sql.database.run(lambda connection: execute(connection, FLOOR))
    with pytest.raises(REFUSED):
        await sql.database.run(lambda connection: execute(connection, statement.replace("NOW", str(time.time()))))
    assert await reasons(sql) == ["90 days", "1 days"]
    old = "DELETE FROM audit WHERE id = (SELECT min(id) FROM audit)"
    await sql.database.run(lambda connection: execute(connection, old))
    assert await reasons(sql) == ["1 days"], "the floor was raised, so the old one may go"
    with pytest.raises(REFUSED):
        await sql.database.run(lambda connection: execute(connection, old))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("columns", ["(id, model, actor, document)", "(request_id, model, actor, document)"])
async def test_sqlite_replaces_no_record(sql: OpenedStore, columns: str) -> None:
    await noted(sql, 1, request_id="1")
    replacing = f"INSERT OR REPLACE INTO audit {columns} VALUES (1, 'm', 'nobody', '{{}}')"
    with pytest.raises(REFUSED):
        await sql.database.run(lambda connection: execute(connection, replacing))
    with pytest.raises(REFUSED):
        await sql.database.run(lambda connection: execute(connection, "REPLACE INTO audit_floor VALUES (1, 0)"))
    assert await reasons(sql) == ["1 days"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("table", ["audit", "audit_floor"])
async def test_postgresql_empties_no_table(sql: OpenedStore, table: str) -> None:
    await noted(sql, 90)
    with pytest.raises(Unavailable):
        await sql.database.run(lambda connection: execute(connection, f"TRUNCATE {table}"))
    assert await reasons(sql) == ["90 days"]


def migrate(connection: Connection, to: str) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    (alembic.command.downgrade if to.startswith("-") else alembic.command.upgrade)(config, to)


@pytest.mark.parametrize("url", SQL, indirect=True)
async def test_a_database_from_before_there_was_retention_keeps_its_records_and_can_go_back(url: str) -> None:
    insert = text("INSERT INTO audit (model, actor, document) VALUES ('digits', 'ada', :document)")
    engine = database._engine(make_url(url).set(drivername=_driver(url)))
    with engine.begin() as connection:
        migrate(connection, "0003")
        for days in (90, 1):
            at = time.time() - days * DAY_S
            connection.execute(insert, {"document": encode_record(record_of(at=at, reason=f"{days} days"))})
        connection.execute(text("INSERT INTO route_table VALUES (1, 0)"))
    store = OpenedStore(url)
    try:
        assert await reasons(store) == ["90 days", "1 days"]
        assert (await store.prune(time.time() - 30 * DAY_S, 0, 10, told)).removed == 1
        assert (await reasons(store))[0] == "1 days"
    finally:
        await store.close()
    with engine.begin() as connection:
        migrate(connection, "-1")
    with pytest.raises(SQLAlchemyError, match="only ever added to"), engine.begin() as connection:
        connection.execute(text("DELETE FROM audit"))
    with engine.begin() as connection:
        migrate(connection, "head")
    engine.dispose()


def _driver(url: str) -> str:
    return "sqlite" if url.startswith("sqlite") else "postgresql+psycopg"


class Kept:
    """A retention of 30 days over a store in memory."""

    def __init__(self, days: int | None = 30) -> None:
        self.store, self.clock = FakeStore(), FakeClock()
        self.mandate = Mandate(Leader("me", "here:9000", "here:9001"), self.clock)
        self.retention = AuditRetention(
            self.store, self.mandate, self.clock, days, every_s=0.01, pause_s=0.0, until_the_lead_s=0.01, batch=2
        )

    async def note(self, *ages_days: int) -> None:
        for days in ages_days:
            await self.store.note(record_of(at=self.clock() - days * DAY_S, reason=f"{days} days"))

    async def until(self, left: set[str]) -> None:
        async with asyncio.timeout(10.0):
            while {record.reason for record in self.store.records if record.action != PRUNE} != left:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.01)


async def test_the_leader_removes_what_is_old_now_and_later_and_a_follower_nothing() -> None:
    kept = Kept()
    await kept.note(90, 80, 70, 60, 50, 1)
    running = asyncio.create_task(kept.retention.run())
    await asyncio.sleep(0.1)
    assert len(kept.store.records) == 6, "it does not lead yet"
    kept.mandate.grant(1, float("inf"))
    await kept.until({"1 days"})
    removed = [record.reason.split(" ")[0] for record in kept.store.records if record.action == PRUNE]
    assert removed == ["2", "2", "1"], "two at a time"
    kept.clock.advance(30 * DAY_S)
    await kept.until(set())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_store_that_is_away_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    await kept.note(90, 1)
    kept.mandate.grant(1, float("inf"))
    kept.store.away = True
    running = asyncio.create_task(kept.retention.run())
    await asyncio.sleep(0.05)
    assert "old audit records stay until the next look" in caplog.text
    kept.store.away = False
    await kept.until({"1 days"})
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_a_setting_everything_is_kept_for_ever() -> None:
    kept = Kept(None)
    await kept.note(40_000)
    kept.mandate.grant(1, float("inf"))
    async with asyncio.timeout(1.0):
        await kept.retention.run()
    assert len(kept.store.records) == 1
