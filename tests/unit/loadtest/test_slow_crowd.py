"""The crowd of slow clients: what it does to a server that bounds them, and to one that does not."""

from __future__ import annotations

import asyncio
import math

import pytest

from loadtest.slow_clients import crowd
from loadtest.slow_clients.experiment import Crowd, Found
from loadtest.slow_clients.report import as_json, kept, markdown
from loadtest.slow_clients.steady import Span
from services.core.address import Address
from services.gateway.limits import Limits
from tests.fakes.gateway import in_loop, serving

LIMITS = Limits(drain_s=1.0, head_timeout_s=0.6, body_grace_s=0.6, write_grace_s=0.6)


@in_loop
async def test_a_gateway_ends_every_slow_client_in_its_time_and_says_why() -> None:
    async with serving(limits=LIMITS) as running:
        address = Address("127.0.0.1", running.gateway.http_port)
        found = Crowd(**await asyncio.to_thread(crowd.run_crowd, address, 30))  # type: ignore[arg-type]
    assert (found.left, found.refused) == (0, 0)
    assert {kind: len(seconds) for kind, seconds in found.seconds.items()} == {"head": 10, "body": 10, "read": 10}
    assert found.statuses["head"] == found.statuses["body"] == {"408": 10}
    assert all(seconds >= 0.6 for kind in found.seconds.values() for seconds in kind)


@in_loop
async def test_clients_that_are_never_ended_are_counted() -> None:
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
    address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    found = Crowd(**await asyncio.to_thread(crowd.run_crowd, address, 6, 1.5))  # type: ignore[arg-type]
    server.close()
    for writer in writers:
        writer.transport.abort()
    await server.wait_closed()
    assert found.left == 6
    assert math.isinf(Found(6, 1.0, [found], Span([0.1]), Span([0.1])).longest_s)


def _found(longest_s: float = 8.5, slower: float = 1.0, **failures: int) -> Found:
    one = Crowd(0, 0, {"head": [longest_s], "body": [8.0], "read": [8.0]}, {kind: {"408": 1} for kind in crowd.KINDS})
    return Found(3, 100.0, [one], Span([0.001] * 1000), Span([0.001 * slower] * 1000, failures))


@pytest.mark.parametrize(
    ("found", "is_kept"),
    [
        (_found(), True),
        (_found(longest_s=10.2), False),
        (_found(slower=1.09), True),
        (_found(slower=1.2), False),
        (_found(timeout=1), False),
    ],
)
def test_a_run_is_good_only_when_every_promise_is_kept(found: Found, is_kept: bool) -> None:
    assert kept(found) is is_kept
    assert as_json(found, {})["kept"] is is_kept
    assert "longest slow client" in markdown(found)
