"""HTTP/2 connections over real sockets: slow, idle, hostile and departing clients, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
import uvloop
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services.gateway.edge.http2 import frames
from services.gateway.edge.http2.bounds import Bounds
from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.faults import Code
from services.gateway.edge.http2.server import Http2Server
from services.gateway.limits import Limits
from services.process.ports import listen_shared
from tests.fakes.gateway import eventually, in_loop, serving
from tests.fakes.http2 import HELLO, RecordingApplication, frame, goaway_code, headers, split


@asynccontextmanager
async def _server(
    application: RecordingApplication | None = None, bounds: Bounds | None = None, max_connections: int = 100
) -> AsyncIterator[Http2Server]:
    listener = listen_shared("127.0.0.1", 0, 1)[0]
    server = Http2Server(application or RecordingApplication(), listener, bounds or Bounds(), max_connections)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0.5)
        assert server.connections == 0


@asynccontextmanager
async def _connected(server: Http2Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize(
    "sent",
    [b"", b"PRI * HTT", HELLO + frame(frames.HEADERS, 0, 1, b"\x83"), HELLO + headers(1)[:-3]],
    ids=["nothing", "half a preface", "half a header block", "half a frame"],
)
@in_loop
async def test_a_client_that_does_not_finish_its_head_is_closed_with_words(sent: bytes) -> None:
    async with _server(bounds=Bounds(head_timeout_s=0.4)) as server, _connected(server) as (reader, writer):
        writer.write(sent)
        found = await _until_closed(reader)
        assert goaway_code(split(found)) == Code.ENHANCE_YOUR_CALM
        await eventually(lambda: server.connections == 0)


@in_loop
async def test_a_head_that_dribbles_is_closed_as_one_that_stops() -> None:
    async with _server(bounds=Bounds(head_timeout_s=0.5)) as server, _connected(server) as (reader, writer):
        closed = asyncio.ensure_future(_until_closed(reader))
        for byte in HELLO + headers(1):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.02)
            if closed.done():
                break
        assert goaway_code(split(await closed)) == Code.ENHANCE_YOUR_CALM


@in_loop
async def test_an_idle_connection_is_asked_to_go_and_one_with_pings_or_requests_stays() -> None:
    application = RecordingApplication(answers=False)
    async with (
        _server(application, Bounds(idle_timeout_s=0.4)) as server,
        _connected(server) as (idle, one),
        _connected(server) as (pinging, two),
        _connected(server) as (_, three),
    ):
        one.write(HELLO)
        two.write(HELLO)
        three.write(HELLO + headers(1))
        closed = asyncio.ensure_future(_until_closed(idle))
        await eventually(lambda: server.connections == 3)
        while server.connections == 3:
            two.write(frames.ping(b"12345678", ack=False))
            await asyncio.sleep(0.05)
        assert goaway_code(split(await closed)) == Code.NO_ERROR
        assert goaway_code(split(await pinging.read(65536))) is None
        assert not application.begun[1].left


@in_loop
async def test_a_client_that_is_silent_amid_a_request_is_asked_whether_it_is_there() -> None:
    application = RecordingApplication(answers=False)
    bounds = Bounds(ping_after_s=0.3, ping_timeout_s=0.3)
    async with _server(application, bounds) as server, _connected(server) as (reader, writer):
        writer.write(HELLO + headers(1, end=True))
        found = await _until_closed(reader)
        assert frames.PING in [kind for kind, _, _, _ in split(found)]
        await eventually(lambda: application.begun[1].left == 1)


@in_loop
async def test_a_client_that_takes_nothing_is_cut_off_and_does_not_make_the_gateway_keep_more_than_a_buffer() -> None:
    application = RecordingApplication()
    bounds = Bounds(write_grace_s=0.5, min_bytes_per_s=1 << 30, stream_window=1 << 26, connection_window=1 << 26)
    async with _server(application, bounds) as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        hello = HELLO + frames.settings([(frames.INITIAL_WINDOW_SIZE, (1 << 31) - 1)])
        hello += frames.window_update(0, (1 << 30))
        await loop.sock_sendall(client, hello + headers(1))
        for _ in range(8):
            await loop.sock_sendall(client, frame(frames.DATA, 0, 1, bytes(1_000_000)))
        await loop.sock_sendall(client, frame(frames.DATA, frames.END_STREAM, 1))
        await eventually(lambda: application.begun and application.begun[1].ended)
        protocol = next(iter(server._connections))
        assert protocol._transport is not None
        assert protocol._transport.get_write_buffer_size() < 1_000_000
        await eventually(lambda: server.connections == 0)
        assert application.begun[1].left == 1
        client.close()


@in_loop
async def test_a_client_that_asks_and_never_reads_is_not_answered_without_end() -> None:
    async with _server(bounds=Bounds(idle_frames=10**9, write_grace_s=30.0)) as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        pings = frames.ping(b"12345678", ack=False) * 10_000
        sending = asyncio.ensure_future(loop.sock_sendall(client, HELLO + pings * 200))
        await asyncio.sleep(0.5)
        assert not sending.done()
        protocol = next(iter(server._connections))
        assert protocol._transport is not None
        assert protocol._transport.get_write_buffer_size() < 2_000_000
        sending.cancel()
        client.close()
        await eventually(lambda: server.connections == 0)


@in_loop
async def test_one_connection_too_many_is_closed_at_once() -> None:
    async with _server(max_connections=2) as server, _connected(server) as (_, one), _connected(server):
        await eventually(lambda: server.connections == 2)
        async with _connected(server) as (reader, _):
            assert await _until_closed(reader) == b""
        one.close()
        await eventually(lambda: server.connections == 1)
        async with _connected(server) as (reader, writer):
            writer.write(HELLO)
            assert await reader.readexactly(9)


@in_loop
async def test_the_last_word_reaches_a_client_that_goes_on_sending() -> None:
    async with _server() as server, _connected(server) as (reader, writer):
        writer.write(HELLO + frame(frames.DATA, 0, 1, b"x"))
        for _ in range(20):
            writer.write(headers(1) * 50)
            await asyncio.sleep(0.005)
        assert goaway_code(split(await _until_closed(reader))) == Code.PROTOCOL_ERROR


@in_loop
async def test_a_client_that_goes_on_for_ever_after_the_last_word_is_cut_off() -> None:
    async with _server() as server, _connected(server) as (_, writer):
        writer.write(HELLO + frame(frames.DATA, 0, 1, b"x"))
        await eventually(lambda: server.connections == 1)
        while server.connections:
            writer.write(bytes(65_536))
            await asyncio.sleep(0.005)


@in_loop
async def test_whatever_happens_connections_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.edge.http2.server.LOOK_EVERY_S", 0.001)  # each is looked at before it goes
    application = RecordingApplication(answers=False)
    left: list[weakref.ref[Connection]] = []
    async with _server(application) as server:
        for number in range(30):
            async with _connected(server) as (_, writer):
                writer.write(HELLO + headers(1) + headers(3, end=True) + frame(frames.PING, 0, number % 2, bytes(8)))
                await eventually(lambda: len(application.begun) == 2)
                await asyncio.sleep(0.005)
            await eventually(lambda: server.connections == 0)
            assert [one.left for one in application.begun.values()] == [1, 1]
            left.append(weakref.ref(application.begun[1].connection))
            application.begun.clear()
        await eventually(lambda: gc.collect() >= 0 and all(one() is None for one in left))


def _call_for_ever(port: int, stop: threading.Event, answered: list[int], failures: list[str]) -> None:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    message = service_pb2.ModelInferRequest(model_name="digits")
    message.inputs.add(name="image", datatype="FP32", shape=[1, 3])
    message.raw_input_contents.append(bytes(12))
    while not stop.is_set():
        try:
            stub.ModelInfer(message, timeout=10)
            answered[0] += 1
        except grpc.RpcError as error:
            failures.append(f"{error.code()} {error.details()}")
    channel.close()


async def _more_than(answered: list[int], count: int) -> None:
    await eventually(lambda: answered[0] > count)


def test_clients_that_call_steadily_lose_nothing_while_servers_replace_each_other() -> None:
    """Five times another server takes over the port, as a parent does it with its workers."""

    async def scenario() -> tuple[int, list[str]]:
        shared = listen_shared("127.0.0.1", 0, 1)[0]
        port = shared.getsockname()[1]
        stop, answered, failures = threading.Event(), [0], list[str]()
        threads = [threading.Thread(target=_call_for_ever, args=(port, stop, answered, failures)) for _ in range(4)]
        limits = Limits(drain_s=5.0)
        async with serving(limits=limits, grpc_listener=shared.dup()) as first:
            for thread in threads:
                thread.start()
            previous = first
            for _ in range(5):
                before = answered[0]
                await _more_than(answered, before + 100)
                successor = serving(limits=limits, grpc_listener=shared.dup())
                running = await successor.__aenter__()
                await previous.gateway.stop()
                previous = running
            before = answered[0]
            await _more_than(answered, before + 100)
            stop.set()
            for thread in threads:
                await asyncio.to_thread(thread.join)
            await previous.gateway.stop()
        shared.close()
        return answered[0], failures

    begun = time.monotonic()
    answered, failures = uvloop.run(scenario())
    assert time.monotonic() - begun < 60
    assert failures == []
    assert answered > 600
