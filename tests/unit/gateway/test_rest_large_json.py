"""Large JSON requests: read in slices, with the same result and the same refusals as in one go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from typing import Any, TypeVar

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.errors import InvalidRequest, Overloaded, PenstockError
from services.gateway.edge.buffer_budget import BufferBudget, Hold
from services.gateway.edge.rest.infer import InferHead, RestCall, prepared
from services.gateway.edge.rest.number_arrays import NotSliceableError, NumberArray, taken_out
from services.gateway.limits import Limits
from services.triton.http import HttpPool
from tests.fakes.gateway import in_loop, serving
from tests.fakes.upstream import FakeUpstream

Result = TypeVar("Result")
LIMITS = Limits()


def _run(work: Generator[None, None, Result]) -> tuple[Result, int]:
    slices = 0
    while True:
        try:
            next(work)
            slices += 1
        except StopIteration as end:
            return end.value, slices


def _free(_count: int) -> None:
    """Hold without a bound."""


def _text(data: Any, datatype: str = "FP32", shape: list[Any] | None = None, **more: Any) -> bytes:
    count = np.asarray(data, dtype=object).size if shape is None else 0
    tensor = {"name": "x", "datatype": datatype, "shape": shape or [1, count], "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


def _both(text: bytes) -> tuple[Any, Any]:
    """Return the request, or the refusal, as read in one go and as read in slices."""
    head = InferHead("m", b"")
    found: list[Any] = []
    for sliced in (False, True):
        try:
            call = _run(prepared(head, text, LIMITS, _free))[0] if sliced else RestCall(head, text, LIMITS)
            found.append([(t.name, t.datatype, t.shape, bytes(t.data)) for t in call.decode().inputs])
        except PenstockError as error:
            found.append([(type(error).__name__, str(error))])
    return found[0], found[1]


_BIG = 40_000
CASES: list[bytes] = [
    _text([0.5, 1e-3] * _BIG),
    _text([list(range(100))] * 1000, "INT32"),
    _text([[[n] for n in range(100)]] * 600, "INT64", [600, 100]),
    _text([1] * _BIG * 2 + [[2, [3]], 4], "UINT8", [1, _BIG * 2 + 4]),
    _text(['a,]\\"[' * 3] * _BIG, "BYTES"),
    _text([True, False] * _BIG, "BOOL"),
    _text([float("nan"), float("inf"), -float("inf")] * _BIG),
    _text([*[[]] * _BIG, 1.5], "FP32", [1, 1]),
    _text([1] * _BIG * 2, "FP16"),
    _text([1] * _BIG * 2, "FP32", [1, 5]),
    _text([1] * _BIG * 2, "FP32", [1, _BIG * 3]),
    _text([1] * _BIG * 2 + [300], "UINT8"),
    _text([*[1] * _BIG * 2, 1.5], "INT32"),
    _text([1] * _BIG * 2 + [None], "INT32"),
    _text([1] * _BIG * 2, "NOTHING"),
    _text([1] * _BIG * 2, "INT32", [-1, _BIG * 2]),
    _text([1] * _BIG * 2, "INT32", [1.5]),
    _text([1] * _BIG * 2, id=7),
    _text([1] * _BIG * 2).replace(b"[1, 1", b"[, 1", 1),
    _text([1] * _BIG * 2).replace(b"1]}", b"1,]}", 1),
    _text([1] * _BIG * 2).replace(b"1, 1, 1", b"1, , 1", 1),
    _text([1] * _BIG * 2).replace(b"1, 1, 1", b"1 1, 1", 1),
    _text([1] * _BIG * 2).replace(b"1, 1, 1", b"[1[1]], 1", 1),
    _text([1] * _BIG * 2).replace(b"1, 1, 1", b"01, 1, 1", 1),
    _text([1] * _BIG * 2)[:-9],
    _text([1] * _BIG * 2).replace(b"[1, 1", b"[{}, 1", 1),
    _text([1] * _BIG * 2).replace(b'"name"', b'"data": [' + b"2, " * _BIG + b'2], "name"'),
    _text([1] * _BIG * 2).replace(b'"x"', b'"\\"data\\": [1, 2"'),
    _text([1] * _BIG * 2, deep={"data": [1] * _BIG, "x": ["data", "data"]}),
    b"[" + b"1," * _BIG * 2 + b"1]",
    b'{"inputs":' + b"[" * 50 + b"1," * _BIG * 2,
]


@pytest.mark.parametrize("text", CASES, ids=range(len(CASES)))
def test_a_large_text_says_the_same_read_in_slices(text: bytes) -> None:
    once, sliced = _both(text)
    if isinstance(once[0][1], str) and once[0][0] == "InvalidRequest" and "not valid JSON" in once[0][1]:
        assert sliced[0][0] == "InvalidRequest"
        assert "not valid JSON" in sliced[0][1]
    elif "elements; its shape" in once[0][1]:
        assert "elements; its shape" in sliced[0][1]
    else:
        assert sliced == once


_NUMBERS = st.recursive(
    st.integers(-99, 99) | st.floats(-9, 9), lambda inner: st.lists(inner, min_size=1, max_size=5), max_leaves=40
)


def _leaves(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


@settings(max_examples=300)
@given(
    arrays=st.lists(st.lists(_NUMBERS, min_size=1, max_size=8), min_size=1, max_size=4),
    indent=st.none() | st.integers(0, 2),
)
def test_arrays_taken_out_of_a_text_have_the_same_elements(arrays: list[list[Any]], indent: int | None) -> None:
    text = json.dumps([{"data": array, "other": ["data", {"x": 1}]} for array in arrays], indent=indent).encode()
    rest, found = _run(taken_out(text, least_bytes=0))[0]
    items = orjson.loads(rest)
    assert len(found) == len(arrays)
    for item, array in zip(items, arrays, strict=True):
        taken = [value for piece in found[item["data"]].slices(16) for value in piece]
        assert taken == _leaves(array)


@pytest.mark.parametrize("text", [b"1,,2", b",1", b"1,", b"1 2", b"1,[]", b"1,nul", b"0x1"])
def test_what_is_no_list_of_numbers_is_left_to_the_parser(text: bytes) -> None:
    with pytest.raises(NotSliceableError):
        list(NumberArray(text, 0, len(text)).slices(2))


def test_work_is_done_in_many_slices_and_its_memory_is_counted() -> None:
    text = _text([0.25] * 400_000)
    head = InferHead("m", b"")
    assert _run(prepared(head, text, LIMITS, _free))[1] > 20
    hold = Hold(BufferBudget(1_000_000))
    with pytest.raises(Overloaded):
        _run(prepared(head, text, LIMITS, hold.add))


@pytest.mark.parametrize("text", [b'{"inputs":[' + b'{"data":[' * 3_000_000, b'"data":[[' * 4_000_000])
def test_many_arrays_that_do_not_end_are_not_looked_for(text: bytes) -> None:
    (rest, arrays), slices = _run(taken_out(text))
    assert (rest, arrays) == (text, {})
    assert slices < 10
    with pytest.raises(InvalidRequest):
        _run(prepared(InferHead("m", b""), text, LIMITS, _free))


@in_loop
async def test_small_requests_are_served_while_a_large_one_is_read() -> None:
    large = _text([0.25] * 1_000_000).replace(b'"x"', b'"FP32"')
    small = orjson.dumps({"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]})
    upstream = FakeUpstream()
    async with serving(upstream) as running:
        pool = HttpPool("127.0.0.1", running.gateway.http_port)
        reading = asyncio.create_task(pool.request("POST", "/v2/models/echo/infer", {}, [large], 20.0))
        served = 0
        while not reading.done():
            response = await pool.request("POST", "/v2/models/digits/infer", {}, [small], 20.0)
            assert response.status == 200
            served += not reading.done()
        assert (await reading).status == 200
        await pool.aclose()
    assert served > 10
    assert len(upstream.requests[-1][0].inputs[0].data) in (12, 4_000_000)
