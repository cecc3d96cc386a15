"""``TritonUpstream`` against a scripted server."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from services.core.errors import DeadlineExceeded, UpstreamFailure
from services.core.inference import InferRequest
from services.core.tensor import Tensor
from services.process.ports import choose_free_port
from services.triton.http import HttpPool
from services.triton.triton_upstream import TritonUpstream
from tests.fakes import aio
from tests.fakes.triton_http import answer, raw, scripted_server, silence

REQUEST = InferRequest("a b/../c", inputs=[Tensor("X", "INT8", (1,), b"\x07")])


def test_names_are_quoted_in_paths() -> None:
    async def scenario() -> None:
        head = orjson.dumps({"model_name": "m", "model_version": "3", "outputs": []})
        async with scripted_server(answer(head)) as server:
            pool = HttpPool("127.0.0.1", server.port)
            response = await TritonUpstream(pool).infer(REQUEST, 3, 5.0)
            await pool.aclose()
        assert response.version == 3
        assert server.exchanges[0].head.startswith(b"POST /v2/models/a%20b%2F..%2Fc/versions/3/infer HTTP/1.1\r\n")

    aio.run(scenario())


def test_a_triton_that_does_not_answer_in_time_is_a_deadline() -> None:
    async def scenario() -> None:
        async with scripted_server(silence()) as server:
            pool = HttpPool("127.0.0.1", server.port)
            with pytest.raises(DeadlineExceeded):
                await TritonUpstream(pool).infer(REQUEST, 1, 0.05)
            await pool.aclose()

    aio.run(scenario())


def test_ready_is_what_triton_says_and_never_an_error() -> None:
    async def scenario() -> None:
        steps = (answer(b"", 200), answer(b"", 400), raw(b"nonsense"), silence())
        async with scripted_server(*steps) as server:
            pool = HttpPool("127.0.0.1", server.port)
            upstream = TritonUpstream(pool, ready_timeout_s=0.1)
            assert [await upstream.ready() for _ in steps] == [True, False, False, False]
            await pool.aclose()
        away = HttpPool("127.0.0.1", choose_free_port())
        assert not await TritonUpstream(away).ready()
        await away.aclose()

    aio.run(scenario())


def test_a_full_pool_does_not_look_like_a_triton_that_is_away() -> None:
    async def scenario() -> None:
        async with scripted_server(silence(), answer(b"", 200)) as server:
            pool = HttpPool("127.0.0.1", server.port, max_connections=1)
            control = HttpPool("127.0.0.1", server.port, max_connections=1)
            upstream = TritonUpstream(pool, control)
            busy = asyncio.create_task(upstream.infer(REQUEST, 1, 60.0))
            await aio.until(lambda: server.exchanges)
            assert await upstream.ready()
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)
            await pool.aclose()
            await control.aclose()

    aio.run(scenario())


def test_documents_are_decoded_json_and_a_body_makes_a_post() -> None:
    async def scenario() -> None:
        async with scripted_server(answer(b'{"a": 1}'), answer(b"[]"), answer(b""), answer(b"<html>")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            upstream = TritonUpstream(pool)
            assert await upstream.document("v2") == {"a": 1}
            assert await upstream.document("v2/repository/index", b"{}") == []
            assert await upstream.document("v2/empty") is None
            with pytest.raises(UpstreamFailure, match="not JSON"):
                await upstream.document("v2/page")
            await pool.aclose()
        assert [exchange.head.split()[0] for exchange in server.exchanges] == [b"GET", b"POST", b"GET", b"GET"]
        assert server.exchanges[1].body == b"{}"

    aio.run(scenario())
