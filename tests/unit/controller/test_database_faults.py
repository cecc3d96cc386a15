"""A PostgreSQL that ends sessions, goes away, hangs or is cut off: every wait ends, and afterwards all is well."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Connection, text

from loadtest.postgres import Postgres, own_postgres
from services.controller.storage.database import Database
from services.core.errors import Unavailable
from tests.fakes.cut_line import cut_line

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """A server that these tests may stop and freeze."""
    with own_postgres() as server:
        yield server


@pytest.fixture
async def database(own: Postgres) -> AsyncIterator[Database]:
    database = Database(own.create(), limit_s=2.0)
    yield database
    await database.close()


def one(connection: Connection) -> int:
    found = connection.execute(text("SELECT 1")).scalar_one()
    assert isinstance(found, int)
    return found


async def test_a_session_that_ends_within_a_transaction_is_unavailable_and_the_next_call_has_another(
    database: Database,
) -> None:
    def die(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (id int)"))
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    await database.run(one)
    with pytest.raises(Unavailable, match="does not answer"):
        await database.run(die)
    assert await database.run(lambda c: c.execute(text("SELECT to_regclass('half')")).scalar()) is None


async def test_a_server_that_was_away_is_found_again(database: Database, own: Postgres) -> None:
    await database.run(one)
    own.stop()
    with pytest.raises(Unavailable):
        await database.run(one)
    own.start_again()
    assert await database.run(one) == 1


async def test_a_server_that_hangs_holds_nobody_up_for_long(database: Database, own: Postgres) -> None:
    await database.run(one)
    own.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="within 2 s"):
            await database.run(one)
        assert time.monotonic() - began < 3.0
    finally:
        own.signal(signal.SIGCONT)
    async with asyncio.timeout(10.0):
        assert await database.run(one) == 1


async def test_a_line_that_is_cut_holds_nobody_up_for_long(own: Postgres) -> None:
    async with cut_line(own.socket) as line:
        url = own.create()
        name = url.partition("@/")[2].partition("?")[0]
        database = Database(f"postgresql://postgres@127.0.0.1:{line.port}/{name}", limit_s=2.0)
        try:
            await database.run(one)
            line.cut()
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await database.run(one)
            assert time.monotonic() - began < 3.0
            line.mend()
            assert await database.run(one) == 1
        finally:
            await database.close()


async def test_a_lock_that_is_never_given_back_is_waited_for_no_longer_than_its_holder_may_stop(own: Postgres) -> None:
    url = own.create()
    frozen, other = Database(url), Database(url)
    try:
        await frozen.run(one)
        held = await asyncio.to_thread(frozen.connect)
        held.begin()
        held.execute(text("UPDATE leadership SET epoch = 7"))  # and then its process is frozen
        began = time.monotonic()
        await other.run(lambda c: c.execute(text("UPDATE leadership SET epoch = epoch + 1")))
        assert 1.0 < time.monotonic() - began < 4.0
        assert await other.run(lambda c: c.execute(text("SELECT epoch FROM leadership")).scalar()) == 1
        held.invalidate()
        held.close()
        held.engine.dispose()
    finally:
        await frozen.close()
        await other.close()


async def test_of_two_transactions_that_wait_for_each_other_one_is_done_again(own: Postgres) -> None:
    url = own.create()
    databases = Database(url), Database(url)
    both, attempts = threading.Barrier(2), [0, 0]

    def crossing(place: int) -> None:
        def work(connection: Connection) -> None:
            attempts[place] += 1
            connection.execute(text(f"SELECT pg_advisory_xact_lock({place})"))
            if attempts[place] == 1:
                both.wait(10.0)
            connection.execute(text(f"SELECT pg_advisory_xact_lock({1 - place})"))

        works.append(work)

    works: list[object] = []
    crossing(0)
    crossing(1)
    try:
        for database in databases:
            await database.run(one)
        await asyncio.gather(*(d.run(w) for d, w in zip(databases, works, strict=True)))  # type: ignore[arg-type]
        assert sorted(attempts) == [1, 2]
    finally:
        for database in databases:
            await database.close()
