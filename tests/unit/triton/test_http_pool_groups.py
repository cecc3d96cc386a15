"""What a set of replicas needs of a connection pool: kinds of failures, giving up, one timer, heads known by heart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
import uvloop

from services.process.ports import choose_free_port
from services.triton.faults import AllBusy, Broken, GivenUp, NoAnswer, Nonsense, NotSent
from services.triton.http import HttpPool
from tests.fakes import aio
from tests.fakes.triton_http import Exchange, answer, raw, reset, scripted_server, silence

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a scenario on either event loop."""
    return partial(aio.run, loop=request.param)


def exchange(pool: HttpPool, timeout_s: float = 10.0, **more: Any) -> Coroutine[Any, Any, Any]:
    return pool.exchange(pool.opening("GET", "/x", {}), b"", (), timeout_s, **more)


def test_every_failure_says_whether_something_was_sent(run: Run) -> None:
    async def scenario() -> None:
        away = HttpPool("127.0.0.1", choose_free_port())
        with pytest.raises(NotSent):
            await exchange(away)
        await away.aclose()
        with pytest.raises(NotSent):
            await exchange(away)
        async with scripted_server(reset(), answer(), reset(), raw(b"rubbish\r\n\r\n"), silence()) as server:
            pool = HttpPool("127.0.0.1", server.port, max_connections=1)
            with pytest.raises(Broken) as fresh:
                await exchange(pool)
            assert not fresh.value.stale
            await exchange(pool)
            with pytest.raises(Broken) as reused:
                await exchange(pool, resend=False)
            assert reused.value.stale
            with pytest.raises(Nonsense):
                await exchange(pool)
            hangs = asyncio.create_task(exchange(pool, 0.1))
            await aio.until(lambda: len(server.exchanges) == 5)
            with pytest.raises(AllBusy):
                await exchange(pool)
            with pytest.raises(NoAnswer):
                await hangs
            await pool.aclose()

    run(scenario())


def test_what_was_sent_before_the_server_went_away_counts_as_sent(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer(), reset()) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await exchange(pool)
            pool.port = choose_free_port()
            with pytest.raises(Broken):
                await exchange(pool)
            await pool.aclose()

    run(scenario())


def test_only_the_exchanges_of_a_group_are_given_up(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(*[silence()] * 3) as server:
            pool = HttpPool("127.0.0.1", server.port)
            mine, other = object(), object()
            tasks = [asyncio.create_task(exchange(pool, 60.0, group=group)) for group in (mine, other, None)]
            await aio.until(lambda: len(server.exchanges) == 3)
            pool.give_up(mine, GivenUp("enough"))
            with pytest.raises(GivenUp, match="enough"):
                await tasks[0]
            assert not any(task.done() for task in tasks[1:])
            assert pool.in_flight == 2
            await pool.aclose()
            await asyncio.gather(*tasks, return_exceptions=True)

    run(scenario())


def test_each_of_many_deadlines_is_kept_whatever_their_order(run: Run) -> None:
    bounds_s = (0.3, 0.1, 0.2, 0.15, 0.05, 60.0)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with scripted_server(*[silence()] * len(bounds_s)) as server:
            pool = HttpPool("127.0.0.1", server.port)
            ended: list[float] = []

            async def ask(bound_s: float) -> None:
                began = loop.time()
                with pytest.raises(NoAnswer):
                    await exchange(pool, bound_s)
                assert loop.time() - began >= bound_s - 0.002
                ended.append(bound_s)

            tasks = [asyncio.create_task(ask(bound_s)) for bound_s in bounds_s]
            await asyncio.wait(tasks[:-1])
            assert ended == sorted(bounds_s[:-1])
            tasks[-1].cancel()
            await asyncio.gather(tasks[-1], return_exceptions=True)
            await pool.aclose()

    run(scenario())


def test_the_same_head_with_another_body_is_read_by_heart_and_right(run: Run) -> None:
    bodies = [b"one", b"two", b"six", b"seven", b"ten"]

    async def scenario() -> None:
        async with scripted_server(*[answer(body, headers=["X-Kind: A"]) for body in bodies]) as server:
            pool = HttpPool("127.0.0.1", server.port)
            answers = [await pool.request("GET", "/x") for _ in bodies]
            await pool.aclose()
        assert [one.body for one in answers] == bodies
        assert all(one.headers[b"x-kind"] == b"A" and one.status == 200 for one in answers)
        assert answers[1].headers is answers[0].headers, "the second head was not parsed again"
        assert server.connections == 1

    run(scenario())


def test_a_known_head_hides_neither_a_short_body_nor_what_follows_it(run: Run) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"

    async def scenario() -> None:
        steps = (
            raw(head + b"abc"),
            raw(head + b"d", b"ef"),
            raw(head[:20], head[20:] + b"ghi"),
            raw(head + b"jkl" + head),
        )
        async with scripted_server(*steps, raw(head + b"mno")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            assert [(await pool.request("GET", "/x")).body for _ in range(5)] == [
                b"abc",
                b"def",
                b"ghi",
                b"jkl",
                b"mno",
            ]
            await pool.aclose()
        assert server.connections == 2, "bytes after an answer cost the connection"

    run(scenario())


def test_idle_connections_are_closed_on_demand_and_busy_ones_after_their_answer(run: Run) -> None:
    async def scenario() -> None:
        release = asyncio.Event()

        async def later(exchanged: Any) -> None:
            await release.wait()
            await answer(b"late")(exchanged)

        async with scripted_server(later, answer(), answer(b"new")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            busy = asyncio.create_task(pool.request("GET", "/x"))
            await aio.until(lambda: server.exchanges)
            await pool.request("GET", "/x")
            assert server.open_connections == 2
            pool.close_idle()
            await aio.until(lambda: server.open_connections == 1)
            release.set()
            assert (await busy).body == b"late"
            await aio.until(lambda: server.open_connections == 0)
            assert (await pool.request("GET", "/x")).body == b"new"
            await pool.aclose()

    run(scenario())


def test_a_request_apart_has_a_connection_of_its_own(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer(), answer(), answer()) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await pool.request("GET", "/x")
            await pool.request("GET", "/x", fresh=True)
            await pool.request("GET", "/x")
            await pool.aclose()
        assert [one.connection for one in server.exchanges] == [1, 2, 1]
        assert b"Connection: close" in server.exchanges[1].head

    run(scenario())


class Lingering:
    """Counts what lingers."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self.now = 0
        self.most = 0

    def lingers(self, change: int) -> None:
        self.now += change
        self.most = max(self.most, self.now)


def test_a_late_answer_gives_the_connection_back_and_until_then_the_request_lingers(run: Run) -> None:
    async def scenario() -> None:
        go = asyncio.Event()

        async def late(exchange: Exchange) -> None:
            await go.wait()
            await answer(b"late")(exchange)

        async with scripted_server(late, answer(b"next")) as server:
            pool, heir = HttpPool("127.0.0.1", server.port, max_connections=1), Lingering(60.0)
            with pytest.raises(NoAnswer):
                await exchange(pool, 0.05, heir=heir)
            assert heir.now == 1
            with pytest.raises(AllBusy):
                await exchange(pool)
            go.set()
            await aio.until(lambda: heir.now == 0)
            assert (await exchange(pool)).body == b"next", "the late answer is nobody else's"
            assert server.connections == 1
            await pool.aclose()

    run(scenario())


def test_who_goes_away_leaves_a_request_that_lingers_too(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(silence()) as server:
            pool, heir = HttpPool("127.0.0.1", server.port), Lingering(60.0)
            gone = asyncio.create_task(exchange(pool, heir=heir))
            await aio.until(lambda: server.exchanges)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            assert heir.now == 1
            await pool.aclose()
            assert heir.now == 0, "the end of the pool is the end of it"

    run(scenario())


@pytest.mark.parametrize("end", ["patience", "given up", "reset"])
def test_whatever_lingers_comes_to_an_end(run: Run, end: str) -> None:
    async def scenario() -> None:
        go = asyncio.Event()

        async def until_reset(exchange: Exchange) -> None:
            await go.wait()
            exchange.writer.transport.abort()

        async with scripted_server(until_reset) as server:
            pool, heir = HttpPool("127.0.0.1", server.port), Lingering(0.1 if end == "patience" else 60.0)
            with pytest.raises(NoAnswer):
                await exchange(pool, 0.05, heir=heir, group="g")
            if end == "given up":
                pool.give_up("g", GivenUp("it hangs"))
            if end == "reset":
                go.set()
            await aio.until(lambda: heir.now == 0)
            assert heir.most == 1
            assert pool.in_flight == 0
            go.set()
            await pool.aclose()

    run(scenario())
