"""The end of a REST server: every client hears of it, and nothing that was sent is lost."""

from __future__ import annotations

import asyncio

import pytest

from services.gateway.admission.settings import AdmissionSettings
from services.gateway.limits import Limits
from tests.fakes.gateway import Running, eventually, in_loop, serving
from tests.fakes.rest_socket import REQUEST, answer, connected
from tests.fakes.upstream import FakeUpstream


async def _traffic(running: Running, pause_s: float) -> tuple[int, str]:
    """Send one request after the other on one connection until the server asks to close it; return what went wrong."""
    good = 0
    async with connected(running) as (reader, writer):
        while True:
            writer.write(REQUEST)
            try:
                status, headers, words = await answer(reader)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                return good, repr(error)
            if status != 200:
                return good, words.decode()
            good += 1
            if headers.get(b"connection") == b"close":
                assert await reader.read() == b""
                return good, ""
            await asyncio.sleep(pause_s)


@in_loop
async def test_continuous_traffic_on_many_connections_loses_nothing() -> None:
    upstream = FakeUpstream(delay_s=lambda: 0.003)
    admission = AdmissionSettings(fixed_limit=200)
    async with serving(upstream, Limits(drain_s=10.0), admission=admission) as running:
        clients = [
            asyncio.create_task(_traffic(running, pause)) for pause in (0.0, 0.001, 0.02, 0.3) for _ in range(25)
        ]
        await eventually(lambda: len(upstream.requests) > 1000)
        await running.gateway.stop()
        results = await asyncio.gather(*clients)
    assert {wrong for _, wrong in results} == {""}
    assert sum(good for good, _ in results) == len(upstream.requests)


@in_loop
async def test_an_idle_connection_may_send_one_more_request() -> None:
    async with serving(limits=Limits(drain_s=10.0)) as running, connected(running) as (reader, writer):
        port = running.gateway.http_port
        writer.write(REQUEST)
        assert (await answer(reader))[0] == 200
        stopping = asyncio.create_task(running.gateway.stop())
        await asyncio.sleep(0.5)
        assert not stopping.done()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        status, headers, _ = await answer(reader)
        assert (status, headers[b"connection"]) == (200, b"close")
        await stopping


@in_loop
async def test_requests_under_way_are_finished_and_those_that_take_too_long_are_ended() -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with serving(upstream, Limits(drain_s=0.6)) as running:
        async with connected(running) as (quick, first), connected(running) as (slow, second):
            first.write(REQUEST)
            await eventually(lambda: len(upstream.requests) == 1)
            stopping = asyncio.create_task(running.gateway.stop())
            await asyncio.sleep(0.05)
            assert upstream.hold is not None
            upstream.hold.set()
            status, headers, _ = await answer(quick)
            assert (status, headers[b"connection"]) == (200, b"close")
            upstream.hold = asyncio.Event()
            second.write(REQUEST)
            status, headers, _ = await answer(slow)
            assert (status, headers[b"connection"], headers[b"retry-after"]) == (503, b"close", b"1")
            assert await slow.read() == b""
            await stopping
        assert upstream.cancelled == 1
        assert running.gateway.held_bytes == 0


@in_loop
async def test_a_server_without_connections_ends_at_once() -> None:
    loop = asyncio.get_running_loop()
    async with serving(limits=Limits(drain_s=10.0)) as running:
        begun = loop.time()
        await running.gateway.stop()
        assert loop.time() - begun < 4.0
