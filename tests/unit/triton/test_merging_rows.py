"""Requests as one, and its answer as theirs: everybody gets exactly what is theirs."""

from __future__ import annotations

import math
from dataclasses import replace
from struct import pack
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.inference import InferRequest, InferResponse, Merging, RequestedOutput
from services.core.tensor import ITEM_SIZE, Tensor
from services.triton.faults import Nonsense
from services.triton.merging.rows import divided, joined, parted, signature_of

NAMES = "abcd"


def string(data: bytes) -> bytes:
    return pack("<I", len(data)) + data


@st.composite
def tensors(draw: st.DrawFn, name: str, datatype: str, shape: tuple[int, ...]) -> Tensor:
    size, count = ITEM_SIZE[datatype], math.prod(shape)
    if size is None:
        data = b"".join(string(draw(st.binary(max_size=5))) for _ in range(count))
    else:
        data = draw(st.binary(min_size=count * size, max_size=count * size))
    return Tensor(name, datatype, shape, memoryview(data) if draw(st.booleans()) else data)


@st.composite
def alike(draw: st.DrawFn) -> list[InferRequest]:
    """Several requests of one signature."""
    row_shapes = st.lists(st.integers(0, 3), max_size=2).map(tuple)
    kinds = draw(st.lists(st.tuples(st.sampled_from(list(ITEM_SIZE)), row_shapes), min_size=1, max_size=4))
    rows = draw(st.lists(st.integers(1, 4), min_size=2, max_size=5))
    outputs = [RequestedOutput("y", 2)] if draw(st.booleans()) else []
    return [
        InferRequest(
            "m",
            id=f"id {number}",
            inputs=[
                draw(tensors(name, datatype, (count, *row_shape)))
                for name, (datatype, row_shape) in zip(NAMES, kinds, strict=False)
            ],
            outputs=list(outputs),
        )
        for number, count in enumerate(rows)
    ]


def plain(tensor: Tensor) -> tuple[str, str, tuple[int, ...], bytes]:
    return tensor.name, tensor.datatype, tensor.shape, bytes(tensor.data)


def answer_of(*outputs: Tensor) -> InferResponse:
    return InferResponse("m", 3, "", list(outputs), {"p": 1}, "r:1", exchange_s=0.25)


@given(alike())
def test_everybody_gets_exactly_their_own_rows_back(requests: list[InferRequest]) -> None:
    assert len({signature_of(request) for request in requests}) == 1
    one = joined(requests)
    rows = [request.inputs[0].shape[0] for request in requests]
    assert not one.id
    assert one.outputs == requests[0].outputs
    assert {tensor.shape[0] for tensor in one.inputs} == {sum(rows)}
    parts = parted(answer_of(*one.inputs), rows)
    assert [[plain(tensor) for tensor in part.outputs] for part in parts] == [
        [plain(tensor) for tensor in request.inputs] for request in requests
    ]


@given(alike())
def test_one_answer_of_several_counts_as_the_exchange_and_all_say_where_they_come_from(
    requests: list[InferRequest],
) -> None:
    parts = parted(answer_of(*joined(requests).inputs), [request.inputs[0].shape[0] for request in requests])
    for part in parts:
        assert (part.model, part.version, part.id, part.replica, part.exchange_s) == ("m", 3, "", "r:1", 0.25)
        assert part.parameters == {"p": 1}
    parts[0].parameters["p"] = 2
    assert parts[1].parameters == {"p": 1}, "nobody writes into another's answer"


@given(alike(), st.integers(-2, 2).filter(bool))
def test_another_number_of_rows_than_were_sent_makes_no_sense(requests: list[InferRequest], more: int) -> None:
    rows = [request.inputs[0].shape[0] for request in requests]
    outputs = joined(requests).inputs
    rows[-1] += more
    if rows[-1] < 1:
        rows[-1] = rows[-1] + 10
    with pytest.raises(Nonsense, match="expected one row for each row"):
        parted(answer_of(*outputs), rows)


def test_an_output_without_rows_makes_no_sense() -> None:
    with pytest.raises(Nonsense, match="has shape \\[\\] for a batch of 2"):
        parted(answer_of(Tensor("y", "FP32", (), b"1234")), [1, 1])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        string(b"a"),
        string(b"a") + string(b"b") + string(b"c"),
        string(b"a") + string(b"b") + b"x",
        string(b"a") + b"\x02\x00\x00",
        string(b"a") + pack("<I", 7) + b"short",
        pack("<I", 0xFFFFFFFF) + string(b"b"),
    ],
    ids=repr,
)
def test_bytes_that_are_not_what_their_shape_says_make_no_sense(data: bytes) -> None:
    with pytest.raises(Nonsense, match="other BYTES elements"):
        parted(answer_of(Tensor("y", "BYTES", (2, 1), data)), [1, 1])


def test_an_answer_without_outputs_is_one_for_everybody() -> None:
    assert [part.outputs for part in parted(answer_of(), [1, 2])] == [[], []]


BASE = InferRequest("m", inputs=[Tensor("a", "FP32", (1, 2), b"8 bytes."), Tensor("b", "INT8", (1,), b"1")])


@pytest.mark.parametrize(
    "apart",
    [
        replace(BASE, parameters={"priority": 1}),
        replace(BASE, parameters={"mine": False}),
        replace(BASE, parameters={"timeout": 1000, "mine": False}),
        replace(BASE, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
        replace(BASE, sequence="1"),
        replace(BASE, inputs=[]),
    ],
    ids=["priority", "parameter", "timeout and another", "trace", "sequence", "no inputs"],
)
def test_what_triton_treats_by_itself_stays_by_itself(apart: InferRequest) -> None:
    assert signature_of(apart) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, inputs=[Tensor("a", "FP32", (1, 3), b"12 bytes...."), BASE.inputs[1]]),
        replace(BASE, inputs=[Tensor("a", "INT32", (1, 2), b"8 bytes."), BASE.inputs[1]]),
        replace(BASE, inputs=[Tensor("c", "FP32", (1, 2), b"8 bytes."), BASE.inputs[1]]),
        replace(BASE, inputs=[Tensor("a", "FP32", (1, 2, 1), b"8 bytes."), BASE.inputs[1]]),
        replace(BASE, inputs=BASE.inputs[:1]),
        replace(BASE, inputs=BASE.inputs[::-1]),
        replace(BASE, outputs=[RequestedOutput("y")]),
        replace(BASE, outputs=[RequestedOutput("y", 2)]),
    ],
    ids=["shape", "datatype", "name", "rank", "optional left out", "order", "outputs", "classes"],
)
def test_what_differs_in_anything_but_rows_is_not_alike(other: InferRequest) -> None:
    assert signature_of(other) not in (None, signature_of(BASE))


def test_rows_ids_keys_and_deadlines_may_differ() -> None:
    more = [Tensor("a", "FP32", (2, 2), b"16 bytes........"), Tensor("b", "INT8", (2,), b"12")]
    other = replace(BASE, inputs=more, id="x", key="k", deadline_s=1.0)
    assert signature_of(other) == signature_of(BASE)


def test_a_timeout_is_kept_here_and_keeps_nobody_apart() -> None:
    hurried = replace(BASE, parameters={"timeout": 1000})
    assert signature_of(hurried) == signature_of(BASE)
    assert joined([hurried, BASE]).parameters == {}


class Case(NamedTuple):
    sizes: list[tuple[int, int]]
    merging: Merging
    max_requests: int
    max_bytes: int
    max_rows: int

    @property
    def parts(self) -> list[list[int]]:
        return divided(self.sizes, self.merging, self.max_requests, self.max_bytes, self.max_rows)


@st.composite
def cases(draw: st.DrawFn, *, preferred: bool) -> Case:
    rows = draw(st.integers(2, 32))
    sizes = draw(st.sets(st.integers(2, rows), min_size=1, max_size=4)) if preferred else ()
    return Case(
        draw(st.lists(st.tuples(st.integers(1, 34), st.integers(0, 1000)), max_size=40)),
        Merging(rows, tuple(sorted(sizes)), draw(st.integers(1, 5))),
        draw(st.integers(2, 12)),
        draw(st.integers(1, 6000)),
        draw(st.one_of(st.just(1000), st.integers(2, 34))),
    )


EITHER = st.one_of(cases(preferred=False), cases(preferred=True))


@given(EITHER)
def test_every_request_is_in_exactly_one_part_and_in_its_order(case: Case) -> None:
    assert [place for part in case.parts for place in part] == list(range(len(case.sizes)))
    assert all(case.parts)


@given(EITHER)
def test_no_part_is_beyond_a_bound(case: Case) -> None:
    for part in case.parts:
        if len(part) > 1:
            assert len(part) <= case.max_requests
            assert sum(case.sizes[place][0] for place in part) <= min(case.merging.rows, case.max_rows)
            assert sum(case.sizes[place][1] for place in part) <= case.max_bytes


@given(cases(preferred=False))
def test_no_instance_gets_more_than_its_share_while_others_idle(case: Case) -> None:
    share = math.ceil(sum(rows for rows, _ in case.sizes) / case.merging.instances)
    for part in case.parts:
        assert len(part) == 1 or sum(case.sizes[place][0] for place in part) <= share


@given(cases(preferred=True))
def test_where_sizes_are_preferred_no_others_are_made(case: Case) -> None:
    for part in case.parts:
        assert len(part) == 1 or sum(case.sizes[place][0] for place in part) in case.merging.sizes


@pytest.mark.parametrize(
    ("rows", "merging", "parts"),
    [
        ([1] * 5, Merging(8), [5]),
        ([1] * 10, Merging(4), [4, 4, 2]),
        ([1] * 8, Merging(8, (), 4), [2, 2, 2, 2]),
        ([1] * 3, Merging(8, (), 4), [1, 1, 1]),
        ([3, 3, 3], Merging(8), [2, 1]),
        ([9, 1, 1], Merging(8), [1, 2]),
        ([1] * 11, Merging(8, (4, 8)), [8, 1, 1, 1]),
        ([1] * 7, Merging(8, (4,)), [4, 1, 1, 1]),
        ([3, 1, 2, 2], Merging(8, (4,)), [2, 2]),
        ([3, 2, 2], Merging(8, (4,)), [1, 2]),
        ([], Merging(8), []),
    ],
)
def test_as_many_as_fit_go_together(rows: list[int], merging: Merging, parts: list[int]) -> None:
    assert [len(part) for part in divided([(count, 1) for count in rows], merging, 64, 1000, 1000)] == parts


def test_bytes_and_requests_are_bounded_exactly() -> None:
    assert [len(part) for part in divided([(1, 10)] * 6, Merging(8), 64, 30, 1000)] == [3, 3]
    assert [len(part) for part in divided([(1, 10)] * 6, Merging(8), 4, 1000, 1000)] == [4, 2]
    assert [len(part) for part in divided([(1, 31), (1, 1), (1, 1)], Merging(8), 4, 30, 1000)] == [1, 2]
    assert [len(part) for part in divided([(1, 10)] * 6, Merging(8, (4,)), 3, 1000, 1000)] == [1] * 6
    assert [len(part) for part in divided([(1, 10)] * 6, Merging(8, (2, 4)), 64, 30, 1000)] == [2, 2, 2]


def test_rows_are_bounded_by_more_than_the_version() -> None:
    assert [len(part) for part in divided([(1, 10)] * 6, Merging(8), 64, 1000, 4)] == [4, 2]
    assert [len(part) for part in divided([(1, 10)] * 6, Merging(8, (2, 4)), 64, 1000, 3)] == [2, 2, 2]
    assert [len(part) for part in divided([(1, 10)] * 6, Merging(8, (4,)), 64, 1000, 3)] == [1] * 6
