"""The chaos run's clients: everything that is no right answer in time is a failure, whatever it looks like."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from loadtest.chaos.clients import Clients
from loadtest.chaos.journal import Entry, Journal
from loadtest.chaos.models import PLAIN
from loadtest.chaos.rest_client import RestClient
from loadtest.connection import TIMED_OUT
from loadtest.payload import INFERENCE_HEADER, rest_payloads
from loadtest.record import Failure
from tests.fakes import aio
from tests.fakes.triton_http import Step, answer, answer_then_close, raw, reset, scripted_server, silence

PAYLOAD = rest_payloads(PLAIN.interface, PLAIN.sample(), 1)[0]
Outcome = tuple[Failure | None, bool]


def answered(factor: float = 2.0, *, then_close: bool = False) -> Step:
    """The answer of a model that multiplies."""
    row = PLAIN.sample().inputs["x"] * factor
    output: dict[str, Any] = {"name": "y", "datatype": "FP32", "shape": row.shape}
    if then_close:
        return answer_then_close(_document(output | {"data": row.ravel().tolist()}))
    data = row.astype(np.float32).tobytes()
    head = _document(output | {"parameters": {"binary_data_size": len(data)}})
    return answer(head + data, headers=[f"{INFERENCE_HEADER}: {len(head)}"])


def _document(output: dict[str, Any]) -> bytes:
    return orjson.dumps({"model_name": PLAIN.name, "model_version": "1", "outputs": [output]})


def outcomes(*steps: Step, requests: int = 1, deadline_s: float = 5.0) -> list[Outcome]:
    """What a client makes of a server that does these steps."""

    async def scenario() -> list[Outcome]:
        async with scripted_server(*steps) as server:
            client = RestClient(f"127.0.0.1:{server.port}")
            found = []
            for _ in range(requests):
                deadline = asyncio.get_running_loop().time() + deadline_s
                found.append(await client.send(PLAIN.interface, PAYLOAD, deadline))
                await asyncio.sleep(0.01)
            client.close()
            return found

    return aio.run(scenario())


def kind(outcome: Outcome) -> str | None:
    return outcome[0].kind if outcome[0] else None


def test_a_connection_is_used_again() -> None:
    async def scenario() -> int:
        async with scripted_server(answered(), answered()) as server:
            client = RestClient(f"127.0.0.1:{server.port}")
            for _ in range(2):
                deadline = asyncio.get_running_loop().time() + 5.0
                assert await client.send(PLAIN.interface, PAYLOAD, deadline) == (None, False)
            client.close()
            return server.connections

    assert aio.run(scenario()) == 1


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (answer(b'{"error": "no replica"}', 503), "HTTP 503"),
        (answered(-2.0), "wrong answer"),
        (answered(float("nan")), "wrong answer"),
        (answer(b"{}"), "unreadable answer"),
        (reset(), "ConnectionResetError"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123", then_close=True), "ConnectionResetError"),
        (raw(b"\x00\x00\x00"), "HttpParserError"),
    ],
)
def test_what_is_no_right_answer_is_a_failure_and_is_not_tried_again(step: Step, expected: str) -> None:
    (outcome,) = outcomes(step)
    assert outcome[1] is False
    assert kind(outcome) == expected


def test_an_answer_after_the_deadline_is_over_deadline() -> None:
    (outcome,) = outcomes(silence(), deadline_s=0.05)
    assert kind(outcome) == TIMED_OUT


def test_nobody_there_is_a_failure() -> None:
    async def scenario() -> Outcome:
        return await RestClient("127.0.0.1:1").send(PLAIN.interface, PAYLOAD, asyncio.get_running_loop().time() + 5.0)

    assert kind(aio.run(scenario())) == "ConnectionRefusedError"


def test_a_kept_connection_that_closes_before_an_answer_costs_one_fresh_one_and_is_counted() -> None:
    found = outcomes(answered(), reset(), answered(), requests=2)
    assert found == [(None, False), (None, True)]


def test_it_is_sent_again_once_and_never_after_a_byte_of_an_answer() -> None:
    found = outcomes(answered(), reset(), reset(), requests=2)
    assert (kind(found[1]), found[1][1]) == ("ConnectionResetError", True)
    found = outcomes(answered(), raw(b"HTTP/1.1 200", then_close=True), requests=2)
    assert (kind(found[1]), found[1][1]) == ("ConnectionResetError", False)


def test_a_connection_that_the_server_closed_after_an_answer_is_not_used_again() -> None:
    found = outcomes(answered(then_close=True), answered(), requests=2)
    assert found == [(None, False), (None, False)]


def entry(due_s: float, latency_s: float = 0.01, failure: Failure | None = None) -> Entry:
    return Entry(due_s, latency_s, "rest", failure)


def test_a_summary_counts_what_was_due_in_its_time() -> None:
    journal = Journal()
    late, broken = Failure(TIMED_OUT, "late"), Failure("HTTP 503", "no replica")
    for one in (entry(1.0), entry(2.0, 0.5), entry(3.0, 2.0, late), entry(4.0, failure=broken), entry(5.0)):
        journal.note(one)
    found = journal.between(2.0, 5.0)
    assert (found.requests, found.failed, found.over_deadline) == (3, 2, 1)
    assert found.kinds == {f"rest: {TIMED_OUT}": 1, "rest: HTTP 503": 1}
    assert found.examples["rest: HTTP 503"] == "no replica"
    assert found.last_slow_s(0.25) == 4.0
    assert journal.between(1.0, 2.0).last_slow_s(0.25) is None
    assert journal.between(7.0, 8.0).quantile_ms(0.99) is None


def test_the_load_goes_on_at_its_rate_when_nothing_is_answered() -> None:
    async def scenario() -> Clients:
        async with scripted_server(*[silence()] * 500) as server:
            address = f"127.0.0.1:{server.port}"
            clients = Clients(address, address, [PLAIN], 200.0, 0.3)
            await asyncio.to_thread(_run_for, clients, lambda: len(server.exchanges) >= 30)
            return clients

    clients = aio.run(scenario())
    found = clients.journal.between(0.0, time.monotonic())
    assert found.requests >= 30
    assert found.failed == found.requests, "nothing was answered, so everything failed"
    assert {kind.split(":")[0] for kind in found.kinds} == {"rest", "grpc"}


def _run_for(clients: Clients, until: Callable[[], bool]) -> None:
    with clients:
        while not until():
            time.sleep(0.01)
