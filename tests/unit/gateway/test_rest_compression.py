"""Compressed requests and answers: the same bytes, and never more than the bounds."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Generator
from typing import TypeVar

import orjson
import pytest

from services.core.errors import InvalidRequest, Overloaded, PayloadTooLarge
from services.gateway.edge.buffer_budget import BufferBudget, Hold
from services.gateway.edge.compression import DEFLATE, GZIP, compress, inflate, preferred
from services.gateway.limits import MIB, Limits
from services.triton.http import HttpPool
from tests.fakes.gateway import in_loop, serving
from tests.fakes.rest_socket import BODY
from tests.fakes.upstream import FakeUpstream

Result = TypeVar("Result")
_PACK: dict[bytes, Callable[[bytes], bytes]] = {GZIP: gzip.compress, DEFLATE: zlib.compress}


def _run(work: Generator[None, None, Result]) -> tuple[Result, int]:
    """Return the result, and in how many slices it came."""
    slices = 0
    while True:
        try:
            next(work)
            slices += 1
        except StopIteration as end:
            return end.value, slices


def _free(_count: int) -> None:
    """Hold without a bound."""


@pytest.mark.parametrize("coding", [GZIP, DEFLATE])
@pytest.mark.parametrize("body", [b"", b"x", BODY, bytes(range(256)) * 20_000])
def test_what_was_compressed_comes_back_in_slices(coding: bytes, body: bytes) -> None:
    result, slices = _run(inflate(coding, _PACK[coding](body), Limits(), _free))
    assert result == body
    assert slices >= len(body) // (256 * 1024)
    packed, _ = _run(compress(coding, [body[:7], memoryview(body)[7:]]))
    assert (gzip.decompress if coding == GZIP else zlib.decompress)(packed) == body


@pytest.mark.parametrize("coding", [GZIP, DEFLATE])
@pytest.mark.parametrize(
    "damage", [lambda p: p[:-5], lambda p: p + b"x", lambda p: b"x" + p, lambda p: p + p, lambda _: b""]
)
def test_damaged_data_is_the_clients_mistake(coding: bytes, damage: object) -> None:
    assert callable(damage)
    with pytest.raises(InvalidRequest, match="Content-Encoding"):
        _run(inflate(coding, damage(_PACK[coding](BODY)), Limits(), _free))


def test_a_bomb_is_defused_while_it_inflates() -> None:
    bomb = zlib.compress(b"\0" * (200 * MIB), 9)
    held: list[int] = []
    with pytest.raises(PayloadTooLarge, match="inflate to more than"):
        _run(inflate(DEFLATE, bomb, Limits(), held.append))
    assert sum(held) <= Limits().max_inflated_bytes
    held.clear()
    with pytest.raises(PayloadTooLarge, match="at most 10 times"):
        _run(inflate(DEFLATE, bomb, Limits(max_inflation_ratio=10), held.append))
    assert sum(held) <= max(8 * MIB, 10 * len(bomb))


def test_a_small_request_may_be_as_dense_as_it_likes() -> None:
    zeros = b"\0" * (8 * MIB)
    assert _run(inflate(GZIP, gzip.compress(zeros), Limits(max_inflation_ratio=1), _free))[0] == zeros


def test_what_a_body_inflates_to_counts_against_the_workers_memory() -> None:
    hold = Hold(BufferBudget(300_000))
    with pytest.raises(Overloaded):
        _run(inflate(GZIP, gzip.compress(bytes(400_000)), Limits(), hold.add))


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, b""),
        (b"", b""),
        (b"*", b""),
        (b"identity", b""),
        (b"br", b""),
        (b"gzip", GZIP),
        (b"GZip", GZIP),
        (b"deflate", DEFLATE),
        (b"deflate, gzip", DEFLATE),
        (b"gzip;q=0.2, deflate;q=0.8", DEFLATE),
        (b"gzip;q=0", b""),
        (b"gzip;q=0, deflate", DEFLATE),
        (b"br;q=1.0, gzip ; q=0.8, *;q=0.1", GZIP),
        (b"gzip;q=nonsense", b""),
        (b",,;,", b""),
    ],
)
def test_the_coding_of_an_answer_is_the_one_that_the_client_likes_best(accepted: bytes | None, coding: bytes) -> None:
    assert preferred(accepted) == coding


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@in_loop
async def test_requests_and_answers_are_compressed_end_to_end(coding: str) -> None:
    packed = _PACK[coding.encode()](BODY)
    headers = {"Content-Encoding": coding, "Accept-Encoding": coding}
    async with serving() as running:
        pool = HttpPool("127.0.0.1", running.gateway.http_port)
        response = await pool.request("POST", "/v2/models/digits/infer", headers, [packed], 10.0)
        await pool.aclose()
    assert response.status == 200
    assert response.headers[b"content-encoding"] == coding.encode()
    body = (gzip.decompress if coding == "gzip" else zlib.decompress)(response.body)
    assert orjson.loads(body)["outputs"][0]["data"] == [1.0, 2.0, 3.0]


@in_loop
async def test_a_compressed_binary_request_counts_its_header_after_inflating() -> None:
    tensor = bytes(range(240)) * 5000
    head = orjson.dumps(
        {
            "inputs": [
                {"name": "UINT8", "datatype": "UINT8", "shape": [1, len(tensor)],
                 "parameters": {"binary_data_size": len(tensor)}}
            ],
            "parameters": {"binary_data_output": True},
        }
    )  # fmt: skip
    upstream = FakeUpstream()
    headers = {"Content-Encoding": "gzip", "Inference-Header-Content-Length": str(len(head)), "Accept-Encoding": "gzip"}
    async with serving(upstream) as running:
        pool = HttpPool("127.0.0.1", running.gateway.http_port)
        response = await pool.request("POST", "/v2/models/echo/infer", headers, [gzip.compress(head + tensor)], 10.0)
        await pool.aclose()
    assert response.status == 200
    assert bytes(upstream.requests[0][0].inputs[0].data) == tensor
    length = int(response.headers[b"inference-header-content-length"])
    assert gzip.decompress(response.body)[length:] == tensor
