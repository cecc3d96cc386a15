"""The connection pool against a server whose every byte is scripted."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
import uvloop

from services.core.errors import DeadlineExceeded, Overloaded, Unavailable, UpstreamFailure
from services.process.ports import choose_free_port
from services.triton.http import HttpPool
from tests.fakes import aio
from tests.fakes.triton_http import answer, answer_then_close, raw, reset, scripted_server, silence

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a scenario on either event loop: they differ in what they report of a connection that was given up."""
    return partial(aio.run, loop=request.param)


def test_request_and_answer_arrive_whole(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer(b"pong", 201, ["X-Kind: Test"])) as server:
            pool = HttpPool("127.0.0.1", server.port)
            response = await pool.request("POST", "/v2/a%20b", {"X-Mine": "1"}, (b"pi", memoryview(b"ng")))
            await pool.aclose()
        assert (response.status, response.body) == (201, b"pong")
        assert response.headers[b"x-kind"] == b"Test"
        assert server.exchanges[0].body == b"ping"
        assert server.exchanges[0].head.startswith(b"POST /v2/a%20b HTTP/1.1\r\n")
        assert f"Host: 127.0.0.1:{server.port}".encode() in server.exchanges[0].head
        assert b"X-Mine: 1" in server.exchanges[0].head

    run(scenario())


def test_large_bodies_cross_in_both_directions(run: Run) -> None:
    large = bytes(range(256)) * 8192

    async def scenario() -> None:
        async with scripted_server(answer(large)) as server:
            pool = HttpPool("127.0.0.1", server.port)
            response = await pool.request("POST", "/x", {}, (b"head", memoryview(large)))
            await pool.aclose()
        assert server.exchanges[0].body == b"head" + large
        assert response.body == large

    run(scenario())


def test_a_chunked_answer_in_small_pieces_is_put_together(run: Run) -> None:
    pieces = (
        b"HTTP/1.1 200 OK\r\nTransfer-",
        b"Encoding: chunked\r\n\r\n3\r\nab",
        b"c\r\n2\r\nde\r\n0\r\n\r",
        b"\n",
    )

    async def scenario() -> None:
        async with scripted_server(raw(*pieces), answer(b"next")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            assert (await pool.request("GET", "/x")).body == b"abcde"
            assert (await pool.request("GET", "/x")).body == b"next"
            await pool.aclose()
        assert server.connections == 1

    run(scenario())


def test_an_interim_answer_is_not_the_answer(run: Run) -> None:
    async def scenario() -> None:
        early = raw(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        async with scripted_server(early) as server:
            pool = HttpPool("127.0.0.1", server.port)
            assert (await pool.request("GET", "/x")).body == b"ok"
            await pool.aclose()

    run(scenario())


def test_a_connection_is_used_again_and_the_last_used_one_first(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(*[answer(str(i).encode()) for i in range(5)]) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await asyncio.gather(pool.request("GET", "/x"), pool.request("GET", "/x"))
            for _ in range(3):
                await pool.request("GET", "/x")
            await pool.aclose()
        assert server.connections == 2
        assert len({exchange.connection for exchange in server.exchanges[2:]}) == 1

    run(scenario())


def test_an_idle_connection_that_the_server_closed_costs_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer_then_close(), answer(b"second")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await pool.request("GET", "/x")
            assert (await pool.request("GET", "/x")).body == b"second"
            await pool.aclose()
        assert server.connections == 2

    run(scenario())


def test_a_request_is_sent_again_when_a_reused_connection_closes_before_any_answer(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer(), reset(), answer(b"again")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await pool.request("GET", "/x")
            assert (await pool.request("POST", "/y", {}, (b"body",))).body == b"again"
            await pool.aclose()
        assert [exchange.body for exchange in server.exchanges] == [b"", b"body", b"body"]

    run(scenario())


def test_a_request_on_a_fresh_connection_is_never_sent_twice(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(reset(), answer()) as server:
            pool = HttpPool("127.0.0.1", server.port)
            with pytest.raises(Unavailable, match="did not answer"):
                await pool.request("GET", "/x")
            await pool.aclose()
        assert len(server.exchanges) == 1

    run(scenario())


def test_a_request_is_sent_at_most_twice(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer(), reset(), reset(), answer()) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await pool.request("GET", "/x")
            with pytest.raises(Unavailable):
                await pool.request("GET", "/x")
            await pool.aclose()
        assert len(server.exchanges) == 3

    run(scenario())


@pytest.mark.parametrize(
    "half",
    [b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"],
)
def test_half_an_answer_is_unavailable_and_not_asked_for_again(half: bytes, run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer(), raw(half, then_close=True), answer()) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await pool.request("GET", "/x")
            with pytest.raises(Unavailable, match="in the middle of an answer"):
                await pool.request("GET", "/x")
            await pool.aclose()
        assert len(server.exchanges) == 2

    run(scenario())


def test_a_server_that_closes_after_its_answer_is_believed(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer(b"a", headers=["Connection: close"]), answer(b"b")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await pool.request("GET", "/x")
            await pool.request("GET", "/x")
            await pool.aclose()
        assert server.connections == 2

    run(scenario())


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n"])
def test_an_answer_that_is_not_http_is_the_upstreams_failure(garbage: bytes, run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(raw(garbage), answer(b"fine")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            with pytest.raises(UpstreamFailure, match="not HTTP"):
                await pool.request("GET", "/x")
            assert (await pool.request("GET", "/x")).body == b"fine"
            await pool.aclose()
        assert server.connections == 2

    run(scenario())


def test_bytes_after_an_answer_never_reach_the_next_request(run: Run) -> None:
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nA" + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nB"

    async def scenario() -> None:
        async with scripted_server(raw(smuggled), answer(b"C")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            assert (await pool.request("GET", "/x")).body == b"A"
            assert (await pool.request("GET", "/x")).body == b"C"
            await pool.aclose()
        assert server.connections == 2

    run(scenario())


def test_bytes_on_an_idle_connection_close_it(run: Run) -> None:
    async def scenario() -> None:
        late = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nA", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nB")
        async with scripted_server(late, answer(b"C")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            assert (await pool.request("GET", "/x")).body == b"A"
            await server.closed.wait()
            assert (await pool.request("GET", "/x")).body == b"C"
            await pool.aclose()

    run(scenario())


def test_an_answer_over_the_limit_is_refused_while_it_arrives(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer(b"x" * 400_000), answer(b"small")) as server:
            pool = HttpPool("127.0.0.1", server.port, max_response_bytes=100_000)
            with pytest.raises(UpstreamFailure, match="larger than 100000 bytes"):
                await pool.request("GET", "/x")
            assert (await pool.request("GET", "/x")).body == b"small"
            await pool.aclose()

    run(scenario())


def test_no_answer_in_time_is_a_deadline_and_closes_the_connection(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(silence(), answer(b"next")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            with pytest.raises(DeadlineExceeded, match=r"within 0\.\d+ s"):
                await pool.request("GET", "/x", timeout_s=0.05)
            assert (await pool.request("GET", "/x")).body == b"next"
            assert pool.in_flight == 0
            await pool.aclose()
        assert server.connections == 2

    run(scenario())


def test_a_cancelled_request_closes_its_connection_and_frees_its_place(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(silence(), answer(b"next")) as server:
            pool = HttpPool("127.0.0.1", server.port, max_connections=1)
            task = asyncio.create_task(pool.request("GET", "/x"))
            await aio.until(lambda: server.exchanges)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)
            assert (await pool.request("GET", "/x")).body == b"next"
            await pool.aclose()

    run(scenario())


def test_a_connection_whose_making_was_given_up_leaves_no_trace(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(*[silence()] * 30) as server:
            pool = HttpPool("127.0.0.1", server.port, max_connections=4)
            for turns in range(20):
                task = asyncio.create_task(pool.request("GET", "/x"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await asyncio.sleep(0)
            assert pool.in_flight == 0
            await pool.aclose()

    run(scenario())


def test_one_request_more_than_connections_is_refused_at_once(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(silence(), silence()) as server:
            pool = HttpPool("127.0.0.1", server.port, max_connections=2)
            busy = [asyncio.create_task(pool.request("GET", "/x")) for _ in range(2)]
            await aio.until(lambda: len(server.exchanges) == 2)
            with pytest.raises(Overloaded, match="all 2 connections"):
                await pool.request("GET", "/x")
            assert pool.in_flight == 2
            await pool.aclose()
            for result in await asyncio.gather(*busy, return_exceptions=True):
                assert isinstance(result, Unavailable)

    run(scenario())


def test_nobody_listening_is_unavailable(run: Run) -> None:
    async def scenario() -> None:
        pool = HttpPool("127.0.0.1", choose_free_port())
        with pytest.raises(Unavailable, match="cannot connect"):
            await pool.request("GET", "/x")
        await pool.aclose()

    run(scenario())


def test_a_closed_pool_refuses_and_holds_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer()) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await pool.request("GET", "/x")
            await pool.aclose()
            await server.closed.wait()
            assert server.open_connections == 0
            with pytest.raises(Unavailable, match="closed"):
                await pool.request("GET", "/x")

    run(scenario())
    gc.collect()


def test_a_line_break_in_a_header_is_refused_before_anything_is_sent(run: Run) -> None:
    async def scenario() -> None:
        async with scripted_server(answer()) as server:
            pool = HttpPool("127.0.0.1", server.port)
            with pytest.raises(ValueError, match="line break"):
                await pool.request("GET", "/x", {"X": "a\r\nEvil: 1"})
            await pool.aclose()
        assert not server.exchanges

    run(scenario())
