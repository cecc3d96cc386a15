"""One leader at a time on a real PostgreSQL, whatever happens to a leader or to its line."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

import psycopg
import pytest
from sqlalchemy import make_url, text

from loadtest.postgres import Postgres
from services.controller.election.leadership import Leader, NotLeading
from services.controller.election.postgres_election import PostgresElection
from services.core.route import Route
from tests.fakes.audit_records import record_of
from tests.fakes.cut_line import cut_line
from tests.fakes.opened_store import OpenedStore

pytestmark = pytest.mark.anyio
LEASE_S = 1.5
BEAT_S = 0.2


class Running:
    """A controller that takes part in elections, and nothing else."""

    def __init__(self, url: str, name: str) -> None:
        self.store = OpenedStore(url, epoch=None)
        me = Leader(name, f"{name}:9000", f"{name}:9001")
        self.election = PostgresElection(self.store.database, me, lambda: 100, lease_s=LEASE_S, beat_s=BEAT_S)
        self.won_at = 0.0
        self.until = 0.0
        self.why = ""

    async def win(self) -> int:
        epoch, self.until = await self.election.win()
        self.won_at = time.monotonic()
        self.store.mandate.grant(epoch, self.until)
        return epoch

    async def lead(self) -> str:
        """Keep the lead for as long as it can be kept."""

        def extend(until: float) -> None:
            self.until = until
            self.store.mandate.extend(until)

        self.why = await self.election.lose(extend)
        self.store.mandate.end(self.why)
        return self.why

    async def write(self) -> None:
        await self.store.put_route(Route("digits", 1), (await self.store.book()).generation, record_of("route"))


Start = Callable[[str], Running]


@pytest.fixture
async def start(postgres: Postgres) -> AsyncIterator[Start]:
    url, running = postgres.create(), list[Running]()

    def another(name: str) -> Running:
        running.append(Running(url, name))
        return running[-1]

    yield another
    for each in running:
        await each.election.aclose()
        await each.store.close()


@asynccontextmanager
async def doing(*works: "asyncio._CoroutineLike[object]") -> AsyncIterator[list["asyncio.Task[object]"]]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_leads_and_the_next_takes_over_at_once_when_it_resigns(start: Start) -> None:
    one, two = start("one"), start("two")
    assert await one.win() == 1
    async with doing(one.lead(), two.win()) as (leading, winning):
        await asyncio.sleep(2 * LEASE_S)
        assert not leading.done()
        assert not winning.done()
        assert one.store.mandate.held
        await one.write()
        leading.cancel()
        await one.election.resign()
        async with asyncio.timeout(1.0):
            assert await winning == 2
    lead = await two.store.lead()
    assert lead.leader is not None
    assert (lead.epoch, lead.leader.instance) == (2, "two")


async def test_the_end_of_its_session_is_noticed_at_once(start: Start, postgres: Postgres) -> None:
    one, two = start("one"), start("two")
    await one.win()
    async with doing(one.lead(), two.win()) as (leading, winning):
        await asyncio.sleep(BEAT_S / 2)
        holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 1818583396"
        [(pid,)] = await asyncio.to_thread(postgres.execute, holders)
        began = time.monotonic()
        await asyncio.to_thread(postgres.execute, f"SELECT pg_terminate_backend({pid})")
        async with asyncio.timeout(BEAT_S):
            assert "session" in str(await leading)
        async with asyncio.timeout(1.0):
            assert await winning == 2
        assert time.monotonic() - began < 1.0
    with pytest.raises(NotLeading):
        await one.write()
    await two.write()


async def test_one_that_is_frozen_is_replaced_after_its_lease_and_can_write_no_more(start: Start) -> None:
    one, two = start("one"), start("two")
    await one.win()
    frozen_at = time.monotonic()  # it says nothing from here on
    async with doing(two.win()) as (winning,):
        async with asyncio.timeout(3 * LEASE_S):
            assert await winning == 2
    assert one.until <= two.won_at
    assert two.won_at - frozen_at < LEASE_S + 1.0
    assert not one.store.mandate.held
    with pytest.raises(NotLeading):
        await one.write()
    one.store.mandate.extend(float("inf"))  # it was about to write when it was frozen: only the database can know
    with pytest.raises(NotLeading, match="lead 1 and two has the lead 2"):
        await one.write()
    assert "session" in await one.lead()


async def test_one_that_is_frozen_in_the_middle_of_a_batch_of_statements_delays_nobody(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = start("one"), start("two")
    await one.win()
    url = make_url(one.store.database.name)
    host = str(url.query["host"])
    with closing(psycopg.connect(host=host, user=url.username, dbname=url.database, autocommit=True)) as open_:
        # As a driver that sends many rows at once, and stops before its last word: to the server it is at work.
        open_.execute("SET idle_in_transaction_session_timeout = 100")
        open_.pgconn.enter_pipeline_mode()
        for statement in (b"BEGIN", b"SELECT epoch FROM leadership FOR SHARE"):
            open_.pgconn.send_query_params(statement, None)
        open_.pgconn.send_flush_request()
        open_.pgconn.flush()
        frozen_at = time.monotonic()
        async with doing(two.win()) as (winning,):
            async with asyncio.timeout(3 * LEASE_S):
                assert await winning == 2
    assert two.won_at - frozen_at < LEASE_S + 1.0
    assert "transactions that the leader before had left open were ended: 1" in caplog.text
    await two.write()


async def test_one_that_is_cut_off_gives_up_before_another_leads(start: Start, postgres: Postgres) -> None:
    async with cut_line(postgres.socket) as line:
        two = start("two")
        name = str(await two.store.database.run(lambda c: c.execute(text("SELECT current_database()")).scalar()))
        one = Running(f"postgresql://postgres@127.0.0.1:{line.port}/{name}", "one")
        try:
            await one.win()
            async with doing(one.lead(), two.win()) as (leading, winning):
                await asyncio.sleep(3 * BEAT_S)
                assert not winning.done()
                cut_at = time.monotonic()
                line.cut()
                async with asyncio.timeout(3 * LEASE_S):
                    assert await winning == 2
                assert one.until <= two.won_at < cut_at + LEASE_S + 1.0
                assert not one.store.mandate.held
                async with asyncio.timeout(LEASE_S):
                    await leading
        finally:
            line.mend()
            await one.election.aclose()
            await one.store.close()


async def test_of_many_that_start_together_one_leads(start: Start) -> None:
    candidates = [start(f"number-{number}") for number in range(5)]
    async with doing(*(each.win() for each in candidates)) as winning:
        done, _ = await asyncio.wait(winning, return_when=asyncio.FIRST_COMPLETED, timeout=10.0)
        await asyncio.sleep(3 * BEAT_S)
        assert sum(task.done() for task in winning) == len(done) == 1
