"""What a client may do to an HTTP connection, and what it costs it."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from services.gateway.limits import Limits
from tests.fakes.gateway import in_loop, serving
from tests.fakes.rest_socket import BODY, PATH, REQUEST, answer, connected
from tests.fakes.upstream import FakeUpstream


@in_loop
async def test_a_connection_that_never_sends_a_head_is_closed() -> None:
    async with serving(limits=Limits(head_timeout_s=0.1, drain_s=2.0)) as running:
        async with connected(running) as (reader, _):
            assert await reader.read() == b""
        async with connected(running) as (reader, writer):
            writer.write(PATH)
            assert (await answer(reader))[0] == 408
            assert await reader.read() == b""
        async with connected(running) as (reader, writer):  # also after a good request
            writer.write(REQUEST)
            assert (await answer(reader))[0] == 200
            writer.write(b"POST /v2")
            assert (await answer(reader))[0] == 408
            assert await reader.read() == b""


@in_loop
async def test_a_connection_may_rest_between_requests() -> None:
    async with (
        serving(limits=Limits(head_timeout_s=0.1, drain_s=2.0)) as running,
        connected(running) as (reader, writer),
    ):
        for _ in range(2):
            writer.write(REQUEST)
            assert (await answer(reader))[0] == 200
            await asyncio.sleep(0.3)


@in_loop
async def test_an_endless_head_is_refused() -> None:
    async with serving() as running, connected(running) as (reader, writer):
        writer.write(PATH + b"X-Long: " + b"x" * 100_000)
        assert (await answer(reader))[0] == 431
        assert await reader.read() == b""


@in_loop
async def test_a_body_that_dribbles_is_refused_with_words_and_the_connection_closed() -> None:
    async with serving(limits=Limits(body_grace_s=0.1, drain_s=2.0)) as running:
        async with connected(running) as (reader, writer):
            writer.write(PATH + b"Content-Length: 100\r\n\r\n{")
            status, headers, body = await answer(reader)
            assert (status, headers[b"connection"]) == (408, b"close")
            assert b"did not arrive" in body
            assert await reader.read() == b""
        assert running.count("request", model="digits", outcome="invalid_argument") == 1


@in_loop
async def test_a_body_in_chunks_is_taken_up_to_the_limit() -> None:
    def chunk(data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data)

    async with serving(limits=Limits(max_body_bytes=1000, drain_s=2.0)) as running:
        async with connected(running) as (reader, writer):
            writer.write(PATH + b"Transfer-Encoding: chunked\r\n\r\n")
            for byte in BODY:
                writer.write(chunk(bytes([byte])))
            writer.write(chunk(b""))
            assert (await answer(reader))[0] == 200
        async with connected(running) as (reader, writer):
            writer.write(PATH + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(11):
                writer.write(chunk(b" " * 100))
                await writer.drain()
            status, headers, _ = await answer(reader)
            assert (status, headers[b"connection"]) == (413, b"close")


@in_loop
async def test_a_client_that_asks_first_is_refused_without_sending_its_body() -> None:
    async with serving(limits=Limits(max_body_bytes=1000, drain_s=2.0)) as running:
        async with connected(running) as (reader, writer):
            writer.write(PATH + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n")
            assert (await answer(reader))[0] == 413
        async with connected(running) as (reader, writer):
            writer.write(PATH + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
            assert (await answer(reader))[0] == 100
            writer.write(BODY)
            assert (await answer(reader))[0] == 200


@in_loop
async def test_requests_sent_without_waiting_are_answered_in_order() -> None:
    async with serving() as running, connected(running) as (reader, writer):
        second = REQUEST.replace(b"models/digits", b"models/nobody")
        writer.write(REQUEST + second + REQUEST)
        assert [(await answer(reader))[0] for _ in range(3)] == [200, 404, 200]


@in_loop
async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing_behind() -> None:
    async with serving() as running:
        async with connected(running) as (_, writer):
            writer.write(PATH + b"Content-Length: 100\r\n\r\n{")
            await writer.drain()
        async with connected(running) as (reader, writer):
            writer.write(REQUEST)
            assert (await answer(reader))[0] == 200
        assert running.count("request") == 1


@in_loop
async def test_what_is_no_http_is_refused() -> None:
    async with serving() as running, connected(running) as (reader, writer):
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        status, headers, body = await answer(reader)
        assert (status, headers[b"connection"]) == (400, b"close")
        assert "no HTTP/1.1 request" in orjson.loads(body)["error"]
        assert await reader.read() == b""


@in_loop
async def test_a_target_that_is_no_path_is_refused_with_words() -> None:
    async with serving() as running:
        for target, words in (
            (b"/v2/models/mod\xc3\xa8le/infer", "percent-encoded ASCII"),
            (b"http://x:99999999/", "percent-encoded"),
        ):
            async with connected(running) as (reader, writer):
                writer.write(REQUEST.replace(b"/v2/models/digits/infer", target))
                status, _, body = await answer(reader)
                assert status == 400
                assert words in orjson.loads(body)["error"]


@pytest.mark.parametrize("offer", [b"h2c", b"websocket"])
@in_loop
async def test_an_offer_to_speak_another_protocol_is_ignored_and_costs_nothing(offer: bytes) -> None:
    upgrade = b"Connection: keep-alive, Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMA\r\n" % offer
    request = REQUEST.replace(b"Content-Length", upgrade + b"Content-Length")
    async with serving() as running:
        async with connected(running) as (reader, writer):
            writer.write(request * 500)
            for _ in range(500):
                assert (await answer(reader))[0] == 200
        async with connected(running) as (reader, writer):  # the head in one packet, the body in the next ones
            head, body = request.split(b"\r\n\r\n")
            for part in (head + b"\r\n\r\n", body[:10], body[10:]):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.02)
            assert (await answer(reader))[0] == 200
        async with connected(running) as (reader, writer):
            chunked = upgrade + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
            writer.write(PATH + chunked + PATH.replace(b"POST", b"CONNECT") + upgrade + b"\r\n")
            assert [(await answer(reader))[0] for _ in range(2)] == [200, 405]


@in_loop
async def test_a_large_request_before_a_head_that_comes_in_pieces_is_no_large_head() -> None:
    padded = BODY + b" " * 100_000
    large = PATH + b"Content-Length: %d\r\n\r\n" % len(padded) + padded
    async with serving() as running, connected(running) as (reader, writer):
        writer.write(large + REQUEST[:20])
        await asyncio.sleep(0.05)
        writer.write(REQUEST[20:])
        assert [(await answer(reader))[0] for _ in range(2)] == [200, 200]


@in_loop
async def test_the_name_of_no_coding_has_no_case() -> None:
    async with serving() as running, connected(running) as (reader, writer):
        writer.write(REQUEST.replace(b"Content-Length", b"Content-Encoding: Identity\r\nContent-Length"))
        assert (await answer(reader))[0] == 200


@in_loop
async def test_a_large_answer_arrives_whole() -> None:
    upstream = FakeUpstream()
    async with serving(upstream) as running, connected(running) as (reader, writer):
        data = bytes(range(256)) * 16_384  # 4 MiB
        head = orjson.dumps(
            {
                "inputs": [
                    {
                        "name": "UINT8",
                        "datatype": "UINT8",
                        "shape": [1, len(data)],
                        "parameters": {"binary_data_size": len(data)},
                    }
                ],
                "parameters": {"binary_data_output": True},
            }
        )
        lengths = b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (
            len(head),
            len(head) + len(data),
        )
        writer.write(PATH.replace(b"digits", b"echo") + lengths + head + data)
        status, headers, body = await answer(reader)
        assert status == 200
        assert body[int(headers[b"inference-header-content-length"]) :] == data
