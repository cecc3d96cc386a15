"""Whatever bytes a client sends: an answer in the 4xx or 2xx, or a closed connection; never a 5xx, never a leak."""

from __future__ import annotations

import asyncio
import contextlib
import random

import orjson
import pytest

from services.gateway.limits import Limits
from tests.fakes.gateway import Running, eventually, in_loop, serving
from tests.fakes.rest_socket import BODY, PATH, REQUEST, answer, connected
from tests.fakes.upstream import FakeUpstream

_CHUNKED = PATH + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
_SEEDS = [
    REQUEST,
    _CHUNKED,
    REQUEST.replace(b"Content-Length", b"Inference-Header-Content-Length: %d\r\nContent-Length" % len(BODY)),
    REQUEST.replace(b"Content-Length", b"Content-Encoding: gzip\r\nAccept-Encoding: gzip\r\nContent-Length"),
    b"GET /v2/models/digits/config HTTP/1.1\r\nHost: x\r\n\r\n",
    b'POST /v2/repository/index HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{"ready":true}',
    b"GET /v2/health/ready HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
_SPLICES = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"%2F", b"%00", b"\xff", b"9" * 30, b"-1", b"{", b"[" * 70]
_SPLICES += [
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: y\r\n",
    b"HTTP/9.9",
    b"Expect: 100-continue\r\n",
]


def _mutated(rng: random.Random) -> bytes:
    data = bytearray(b"".join(rng.choices(_SEEDS, k=rng.randint(1, 3))))
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[place : place + rng.randint(1, 20)] = b""
            case 1:
                data[place:place] = rng.choice(_SPLICES)
            case 2:
                data[place : place + 1] = bytes([rng.randrange(256)])
            case 3:
                data[place:place] = data[rng.randrange(len(data) + 1) :][: rng.randint(1, 80)]
            case _:
                data[place:] = data[place : place + rng.randint(0, 200)]
        data = data or bytearray(b"G")
    return bytes(data)


async def _statuses(running: Running, sent: bytes, rng: random.Random) -> list[int]:
    """Send bytes in a few pieces, then end, and return the statuses of what comes back."""
    found = []
    async with connected(running) as (reader, writer):
        start = 0
        while start < len(sent):
            piece = rng.randint(1, len(sent))
            writer.write(sent[start : start + piece])
            start += piece
            await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(0.25):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    status = int(head.split()[1])
                    found.append(status)
                    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
                    body = await reader.readexactly(length)
                    if status >= 400:
                        assert list(orjson.loads(body)) == ["error"], (sent, body)
    return found


@pytest.mark.parametrize("seed", range(4))
@in_loop
async def test_no_bytes_bring_a_server_error_or_leave_something_behind(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(seed)
    limits = Limits(drain_s=2.0, head_timeout_s=0.2, body_grace_s=0.2)
    async with serving(FakeUpstream(), limits) as running:
        for _ in range(12):
            inputs = [_mutated(rng) for _ in range(25)]
            for sent, found in zip(
                inputs, await asyncio.gather(*(_statuses(running, sent, rng) for sent in inputs)), strict=True
            ):
                # 501 and 505 say that a coding or a version of HTTP is not known: no fault of the server's.
                assert not [status for status in found if status >= 500 and status not in (501, 505)], (sent, found)
        await eventually(lambda: running.gateway.held_bytes == 0)
        async with connected(running) as (reader, writer):
            writer.write(REQUEST)
            assert (await answer(reader))[0] == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
