"""What one client may cost: time, memory, connections; and what it gets when it asks for too much."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct

import orjson
import pytest

from services.core.tensor import Tensor
from services.gateway.edge.rest.connection import RestConnection
from services.gateway.limits import Limits
from tests.fakes.gateway import eventually, in_loop, serving
from tests.fakes.rest_socket import BODY, PATH, REQUEST, answer, connected
from tests.fakes.upstream import FakeUpstream

GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSING = Limits(drain_s=2.0)


def _limits(**fields: float) -> Limits:
    return Limits(**{"drain_s": 2.0, **fields})  # type: ignore[arg-type]  # pydantic checks them


def _large_answer(upstream: FakeUpstream, size: int) -> None:
    data = bytes(size)
    upstream.models["digits"].answer = lambda _request, _version: [Tensor("scores", "FP32", (1, size // 4), data)]


@in_loop
async def test_a_body_must_keep_its_pace_and_may_take_its_time_when_it_does() -> None:
    limits = _limits(body_grace_s=0.3, min_transfer_bytes_per_s=20_000)
    body = BODY + b" " * 20_000
    head = PATH + b"Content-Length: %d\r\n\r\n" % len(body)
    async with serving(limits=limits) as running:
        async with connected(running) as (reader, writer):
            writer.write(head)
            for start in range(0, len(body), 1000):  # 50,000 bytes a second, for longer than the grace
                writer.write(body[start : start + 1000])
                await asyncio.sleep(0.02)
            assert (await answer(reader))[0] == 200
        async with connected(running) as (reader, writer):
            writer.write(head)
            for _ in range(60):
                if reader.at_eof() or writer.is_closing():
                    break
                writer.write(b" " * 100)
                await asyncio.sleep(0.02)
            status, headers, words = await answer(reader)
            assert (status, headers[b"connection"]) == (408, b"close")
            assert b"20000 bytes per second" in words
        assert running.count("request", model="digits", outcome="invalid_argument") == 1


@pytest.mark.parametrize("first", [0.0, 0.25])
@in_loop
async def test_a_head_that_dribbles_is_not_waited_for_however_often_a_byte_comes(first: float) -> None:
    async with serving(limits=_limits(head_timeout_s=0.4)) as running, connected(running) as (reader, writer):
        loop = asyncio.get_running_loop()
        if not first:  # the head of a later request has as much time as the first
            writer.write(REQUEST)
            assert (await answer(reader))[0] == 200
        begun = loop.time()
        await asyncio.sleep(first)
        reading = asyncio.create_task(answer(reader))
        for byte in PATH * 2:
            if reading.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.03)
        assert (await reading)[0] == 408
        assert loop.time() - begun < 2.0


@in_loop
async def test_a_reader_that_takes_single_bytes_is_reset_and_the_kernel_keeps_nothing_for_it() -> None:
    async with serving(limits=_limits(write_grace_s=0.3)) as running:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", running.gateway.http_port))
        client.setblocking(False)
        client.send((GET % b"/openapi.json") * 100)
        await eventually(lambda: running.gateway.held_bytes)
        while client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            with contextlib.suppress(BlockingIOError):
                client.recv(1)
            await asyncio.sleep(0.02)
        client.close()
        await eventually(lambda: running.gateway.held_bytes == 0)


@pytest.mark.parametrize("size", [300_000, 3_000_000])
@in_loop
async def test_a_large_body_keeps_its_pace_as_well(size: int) -> None:
    async with serving(limits=_limits(body_grace_s=0.2)) as running, connected(running) as (reader, writer):
        writer.write(PATH + b"Content-Length: %d\r\n\r\n" % size + BODY)
        assert (await answer(reader))[0] == 408
        assert await reader.read() == b""


@in_loop
async def test_an_idle_connection_is_closed_and_a_silent_new_one_sooner() -> None:
    async with serving(limits=_limits(head_timeout_s=0.2, idle_timeout_s=0.6)) as running:
        loop = asyncio.get_running_loop()
        async with connected(running) as (silent, _), connected(running) as (idle, writer):
            writer.write(REQUEST)
            assert (await answer(idle))[0] == 200
            begun = loop.time()
            assert await silent.read() == b""
            assert loop.time() - begun < 0.6
            assert await idle.read() == b""


@in_loop
async def test_a_client_that_does_not_read_its_answer_is_closed_and_its_memory_given_back() -> None:
    upstream = FakeUpstream()
    _large_answer(upstream, 24_000_000)
    body = BODY[:-1] + b',"parameters":{"binary_data_output":true}}'
    request = PATH + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with serving(upstream, limits=_limits(write_grace_s=0.3)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway.http_port, limit=1024)
        writer.write(request)
        await eventually(lambda: running.gateway.held_bytes > 1_000_000)
        await eventually(lambda: running.gateway.held_bytes == 0)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(24_000_000)
        writer.transport.abort()
        async with connected(running) as (others, writing):
            upstream.models.update(FakeUpstream().models)
            writing.write(REQUEST)
            assert (await answer(others))[0] == 200


@in_loop
async def test_a_pipelining_client_that_does_not_read_gets_no_more_than_one_answer_ahead() -> None:
    upstream = FakeUpstream()
    _large_answer(upstream, 8_000_000)
    request = REQUEST.replace(b"Content-Length", b"X: y\r\nContent-Length")
    async with serving(upstream, limits=_limits(write_grace_s=30.0)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway.http_port, limit=1024)
        writer.write(request * 2000)
        await eventually(lambda: running.gateway.held_bytes > 1_000_000)
        served = len(upstream.requests)
        await asyncio.sleep(0.2)
        assert len(upstream.requests) == served <= 2
        assert running.gateway.held_bytes < 60_000_000
        del reader
        writer.transport.abort()
        await eventually(lambda: running.gateway.held_bytes == 0)


@in_loop
async def test_the_worker_holds_no_more_than_its_memory_and_serves_again_when_it_is_free() -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    padded = BODY + b" " * 40_000
    request = PATH + b"Content-Length: %d\r\n\r\n" % len(padded) + padded
    async with serving(upstream, limits=_limits(max_buffered_bytes=100_000)) as running:
        async with connected(running) as (one, first), connected(running) as (two, second):
            first.write(request)
            second.write(request)
            await eventually(lambda: len(upstream.requests) == 2)
            assert running.gateway.held_bytes == 2 * len(padded)
            for kind in (request, PATH + b"Content-Length: 300000\r\n\r\n" + b" " * 300_000,
                         PATH + b"Transfer-Encoding: chunked\r\n\r\n9c40\r\n" + b" " * 40_000):  # fmt: skip
                async with connected(running) as (reader, writer):
                    writer.write(kind)
                    status, headers, words = await answer(reader)
                    assert (status, headers[b"retry-after"]) == (429, b"1")
                    assert b"100000" in words
            assert upstream.hold is not None
            upstream.hold.set()
            assert [(await answer(reader))[0] for reader in (one, two)] == [200, 200]
        async with connected(running) as (reader, writer):
            writer.write(request)
            assert (await answer(reader))[0] == 200
        assert running.gateway.held_bytes == 0


@in_loop
async def test_one_connection_too_many_is_refused_with_words_and_the_others_go_on() -> None:
    async with serving(limits=_limits(max_connections=2)) as running:
        async with connected(running) as (one, first), connected(running) as (two, second):
            for reader, writer in ((one, first), (two, second)):
                writer.write(REQUEST)
                assert (await answer(reader))[0] == 200
            async with connected(running) as (reader, _):
                status, headers, words = await answer(reader)
                assert (status, headers[b"connection"]) == (429, b"close")
                assert b"2 connections" in words
                assert await reader.read() == b""
            first.write(REQUEST)
            assert (await answer(one))[0] == 200
        await asyncio.sleep(0.05)
        async with connected(running) as (reader, writer):
            writer.write(REQUEST)
            assert (await answer(reader))[0] == 200


@in_loop
async def test_a_connection_ends_in_order_after_its_last_request() -> None:
    limits = _limits(max_requests_per_connection=3)
    async with serving(limits=limits) as running, connected(running) as (reader, writer):
        writer.write(REQUEST * 5)
        found = [await answer(reader) for _ in range(3)]
        assert [status for status, _, _ in found] == [200] * 3
        assert [headers.get(b"connection") for _, headers, _ in found] == [None, None, b"close"]
        assert await reader.read() == b""


@in_loop
async def test_a_client_that_leaves_frees_its_slot_whatever_it_was_doing() -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with serving(upstream) as running:
        async with connected(running) as (_, writer):
            writer.write(REQUEST)
            await eventually(lambda: len(upstream.requests) == 1)
        await eventually(lambda: upstream.cancelled == 1)
        await eventually(lambda: running.gateway.held_bytes == 0)
        assert running.count("request", outcome="cancelled") == 1
        reset = socket.create_connection(("127.0.0.1", running.gateway.http_port))
        reset.sendall(REQUEST)
        await eventually(lambda: len(upstream.requests) == 2)
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.close()
        await eventually(lambda: upstream.cancelled == 2)


@in_loop
async def test_clients_that_leave_at_once_leave_nothing_behind() -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with serving(upstream) as running:
        for _ in range(100):
            hasty = socket.create_connection(("127.0.0.1", running.gateway.http_port))
            hasty.sendall(REQUEST)
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            hasty.close()
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await running.gateway.stop()  # which waits for every request that it knows of
        assert running.gateway.held_bytes == 0


@in_loop
async def test_a_connection_that_was_looked_after_leaves_nothing_behind() -> None:
    async with serving(limits=_limits(idle_timeout_s=0.02)) as running:  # looked after every 5 ms
        async with connected(running) as (reader, writer):
            writer.write(REQUEST)
            assert (await answer(reader))[0] == 200
            assert await reader.read() == b""
        await eventually(lambda: gc.collect() >= 0 and not any(type(one) is RestConnection for one in gc.get_objects()))


@in_loop
async def test_a_client_that_has_only_stopped_sending_still_gets_its_document() -> None:
    async with serving() as running, connected(running) as (reader, writer):
        writer.write(GET % b"/v2/models/digits/config")
        writer.write_eof()
        assert (await answer(reader))[0] == 200
        assert await reader.read() == b""


@in_loop
async def test_old_clients_are_served_in_their_own_way() -> None:
    old = REQUEST.replace(b"HTTP/1.1\r\nHost: x", b"HTTP/1.0")
    async with serving() as running:
        async with connected(running) as (reader, writer):
            writer.write(old)
            status, headers, _ = await answer(reader)
            assert (status, headers[b"connection"]) == (200, b"close")
            assert await reader.read() == b""
        async with connected(running) as (reader, writer):
            for _ in range(2):
                writer.write(old.replace(b"Content-Length", b"Connection: Keep-Alive\r\nContent-Length"))
                status, headers, _ = await answer(reader)
                assert (status, headers[b"connection"]) == (200, b"keep-alive")
        async with connected(running) as (reader, writer):
            writer.write(PATH.replace(b"1.1", b"1.0") + b"\r\n")
            assert (await answer(reader))[0] == 411


@in_loop
async def test_head_and_options_and_whole_addresses_are_understood() -> None:
    async with serving() as running:
        async with connected(running) as (reader, writer):
            writer.write(b"HEAD /v2 HTTP/1.1\r\nHost: x\r\n\r\n" + GET % b"/v2/health/live")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 OK" in head
            assert b"Content-Length: 0" not in head
            assert (await answer(reader))[0] == 200  # nothing of a body in between
        async with connected(running) as (reader, writer):
            for method, path, allow in (
                (b"OPTIONS", b"/v2", b"GET, HEAD"),
                (b"DELETE", b"/v2/repository/index", b"POST"),
            ):
                writer.write(method + b" " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                status, headers, _ = await answer(reader)
                assert (status, headers[b"allow"]) == (405, allow)
            writer.write(REQUEST.replace(b"POST /", b"POST http://any.where:8000/"))
            assert (await answer(reader))[0] == 200


CLOSED = [
    b"/v2/repository/models/digits/load",
    b"/v2/repository/models/digits/unload",
    b"/v2/systemsharedmemory/status",
    b"/v2/systemsharedmemory/region/x/register",
    b"/v2/cudasharedmemory/region/x/unregister",
    b"/v2/trace/setting",
    b"/v2/models/digits/trace/setting",
    b"/v2/logging",
]


def _spellings(path: bytes) -> list[bytes]:
    last = path.rpartition(b"/")
    return [
        path,
        path + b"/",
        path + b"?x=/v2/health/live",
        path + b";x=1",
        path.replace(b"/v2", b"//v2"),
        path.replace(b"/v2", b"/v2/."),
        path.replace(b"/v2", b"/v2/models/.."),
        path.replace(b"/v2", b"/V2"),
        path.replace(b"/", b"%2F"),
        b"/" + path[1:].replace(b"/", b"%2f"),
        last[0] + b"%2F" + last[2],
        path.replace(b"o", b"%6F"),
        path.replace(b"/", b"\\"),
        b"http://localhost" + path,
        b"/v2/models/x/versions/1/../../../.." + path,
        b"/v2/models/" + path[1:].replace(b"/", b"%2F") + b"/infer",
    ]


@in_loop
async def test_no_spelling_of_a_path_opens_what_is_closed() -> None:
    upstream = FakeUpstream()
    async with serving(upstream) as running:
        for path in CLOSED:
            for spelling in _spellings(path):
                for method in (b"POST", b"GET", b"PUT"):
                    async with connected(running) as (reader, writer):
                        body = b'{"parameters":{"config":"{}","file:1/model.py":"eA=="}}'
                        head = b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (
                            method,
                            spelling,
                            len(body),
                        )
                        writer.write(head + body)
                        status, _, words = await answer(reader)
                        assert status in (400, 403, 404, 405), (method, spelling, status)
                        assert list(orjson.loads(words)) == ["error"]
        assert not upstream.requests
        assert not upstream.paths


@in_loop
async def test_a_request_cannot_hide_inside_another() -> None:
    hidden = REQUEST.replace(b"models/digits", b"models/hidden")
    chunked = b"Transfer-Encoding: chunked\r\n"
    smuggles = [
        PATH + b"Content-Length: %d\r\n" % len(hidden) + chunked + b"\r\n0\r\n\r\n" + hidden,
        PATH + chunked + b"Content-Length: 4\r\n\r\n0\r\n\r\n" + hidden,
        PATH + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden,
        PATH + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
        PATH + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + hidden,
        PATH + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
        PATH + b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        PATH + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        PATH + chunked + b"\r\n0\n\n" + hidden,
        PATH + chunked + b"\r\n00000000000000000\r\n\r\n" + hidden,
        PATH + chunked + b"\r\n1\r\nZZ\r\n0\r\n\r\n" + hidden,
        PATH + b"Content-Length: 0x0\r\n\r\n" + hidden,
        PATH.replace(b"\r\n", b"\n") + b"\n" + hidden,
    ]
    upstream = FakeUpstream()
    async with serving(upstream) as running:
        for smuggle in smuggles:
            async with connected(running) as (reader, writer):
                writer.write(REQUEST + smuggle)
                assert (await answer(reader))[0] == 200
                status, headers, _ = await answer(reader)
                assert status in (400, 501), smuggle
                assert headers[b"connection"] == b"close"
                assert await reader.read() == b"", smuggle
        assert running.count("request", model="hidden") == 0
        assert len(upstream.requests) == len(smuggles)


@in_loop
async def test_a_refusal_waits_for_the_answers_before_it() -> None:
    upstream = FakeUpstream(delay_s=lambda: 0.05)
    async with serving(upstream) as running, connected(running) as (reader, writer):
        too_large = PATH + b"Content-Length: 999999999\r\n\r\n"
        writer.write(REQUEST + REQUEST + too_large + b"x" * 100_000)
        assert [(await answer(reader))[0] for _ in range(3)] == [200, 200, 413]
        assert await reader.read() == b""


@in_loop
async def test_a_request_in_single_bytes_and_one_in_one_piece_are_the_same() -> None:
    large = PATH + b"Content-Length: %d\r\n\r\n" % (len(BODY) + 200_000) + BODY + b" " * 200_000
    chunked = PATH + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX: y\r\n\r\n" % (len(BODY), BODY)
    async with serving() as running, connected(running) as (reader, writer):
        for request in (REQUEST, chunked, b"\r\n" + REQUEST):
            for byte in request:
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            assert (await answer(reader))[0] == 200
        for cut in (len(PATH), len(PATH) + 30, 1000, 131_000, 200_000, len(large)):
            writer.write(large[:cut])
            await asyncio.sleep(0.01)
            writer.write(large[cut:] + REQUEST[:50])
            await asyncio.sleep(0.01)
            writer.write(REQUEST[50:])
            assert [(await answer(reader))[0] for _ in range(2)] == [200, 200]


@in_loop
async def test_the_timeout_header_bounds_a_request_and_nonsense_in_it_is_refused() -> None:
    upstream = FakeUpstream(hold=asyncio.Event())
    async with serving(upstream) as running, connected(running) as (reader, writer):
        writer.write(REQUEST.replace(b"Content-Length", b"Penstock-Timeout-Ms: 50\r\nContent-Length"))
        assert (await answer(reader))[0] == 504
        for nonsense in (b"0", b"-1", b"1.5", b"soon", b"9" * 30):
            writer.write(REQUEST.replace(b"Content-Length", b"penstock-timeout-ms: %s\r\nContent-Length" % nonsense))
            assert (await answer(reader))[0] == 400
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("header", "passes"),
    [
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        (b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like", True),
        (b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        (b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", False),
        (b"nonsense", False),
    ],
)
@in_loop
async def test_a_trace_context_is_taken_over_when_it_is_one(header: bytes, passes: bool) -> None:
    from services.gateway.edge.rest.head import parse_head
    from services.gateway.edge.rest.infer import RestCall, infer_target, read_headers

    raw = PATH + b"traceparent: " + header + b"\r\n\r\n"
    head = parse_head(raw, Limits())
    infer = infer_target(head)
    assert infer is not None
    read_headers(infer, head)
    assert RestCall(infer, BODY, Limits()).traceparent == (header.decode() if passes else "")
