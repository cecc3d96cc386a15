"""What can be wrong with a request whatever its protocol: each function spoils a valid one in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.differential.asks import PARAMETER_VALUES, Ask, Input, Wanted
from tests.fakes.triton_zoo.repository import DATATYPES

Draw = Callable[[st.SearchStrategy[Any]], Any]
_DIMENSIONS = st.sampled_from([-1, 0, 1, 2, 5, 7, -(1 << 63), (1 << 31) - 1])


def _input(draw: Draw, ask: Ask) -> int:
    return int(draw(st.integers(0, len(ask.inputs) - 1)))


def _replaced(ask: Ask, what: str, at: int, **changes: Any) -> Ask:
    inputs = list(ask.inputs)
    inputs[at] = replace(inputs[at], **changes)
    return ask.spoiling(what, inputs=tuple(inputs))


def name_of_input(draw: Draw, ask: Ask) -> Ask:
    return _replaced(ask, "input name", _input(draw, ask), name=draw(st.sampled_from(["", "nobody", "größe", "a/b"])))


def datatype(draw: Draw, ask: Ask) -> Ask:
    found = st.sampled_from([*DATATYPES, "", "FLOAT", "fp32", "TYPE_FP32", "STRING"])
    return _replaced(ask, "datatype", _input(draw, ask), datatype=draw(found))


def rank(draw: Draw, ask: Ask) -> Ask:
    at = _input(draw, ask)
    shape = ask.inputs[at].shape
    return _replaced(ask, "rank", at, shape=draw(st.sampled_from([(), shape[:-1], (*shape, 1), (1, *shape)])))


def dimension(draw: Draw, ask: Ask) -> Ask:
    at = _input(draw, ask)
    shape = list(ask.inputs[at].shape)
    if not shape:
        return ask
    shape[draw(st.integers(0, len(shape) - 1))] = draw(_DIMENSIONS)
    return _replaced(ask, "dimension", at, shape=tuple(shape))


def data(draw: Draw, ask: Ask) -> Ask:
    at = _input(draw, ask)
    found = ask.inputs[at].data
    return _replaced(
        ask, "data", at, data=draw(st.sampled_from([b"", found[:-1], found + b"\0", found * 2, b"\xff" * 9]))
    )


def input_twice(draw: Draw, ask: Ask) -> Ask:
    return ask.spoiling("input twice", inputs=(*ask.inputs, ask.inputs[_input(draw, ask)]))


def input_missing(draw: Draw, ask: Ask) -> Ask:
    at = _input(draw, ask)
    return ask.spoiling("input missing", inputs=ask.inputs[:at] + ask.inputs[at + 1 :])


def input_too_many(_draw: Draw, ask: Ask) -> Ask:
    return ask.spoiling("input too many", inputs=(*ask.inputs, Input("MORE", "INT32", (1,), b"\0" * 4)))


def output_name(draw: Draw, ask: Ask) -> Ask:
    return ask.spoiling("output name", outputs=(*ask.outputs, Wanted(draw(st.sampled_from(["", "nobody", "größe"])))))


def output_twice(_draw: Draw, ask: Ask) -> Ask:
    if not ask.outputs:
        return ask
    return ask.spoiling("output twice", outputs=(*ask.outputs, ask.outputs[0]))


def classes(draw: Draw, ask: Ask) -> Ask:
    if not ask.outputs:
        return ask
    count = draw(st.sampled_from([-1, 0, 1, 2, (1 << 31) - 1, 1 << 31, 1 << 40]))
    return ask.spoiling("classes", outputs=(replace(ask.outputs[0], classes=count), *ask.outputs[1:]))


def model(draw: Draw, ask: Ask) -> Ask:
    return ask.spoiling("model", model=draw(st.sampled_from(["nobody", "Echo", "größe", "echo ", "e%63ho", "a.b"])))


def version(draw: Draw, ask: Ask) -> Ask:
    found = ["0", "-1", "9", "99", "x", "01", "1 ", "1.0", "9223372036854775807", "9223372036854775808", "9" * 30]
    return ask.spoiling("version", version=draw(st.sampled_from(found)))


def parameter(draw: Draw, ask: Ask) -> Ask:
    names = ["priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "triton_secret", "routing_key",
             "triton_enable_empty_final_response", "binary_data_output", "headers", "x" * 1000]  # fmt: skip
    found = {draw(st.sampled_from(names)): draw(PARAMETER_VALUES)}
    return ask.spoiling("parameter", parameters={**ask.parameters, **found})


SPOILERS = (
    name_of_input, datatype, rank, dimension, data, input_twice, input_missing, input_too_many, output_name,
    output_twice, classes, model, version, parameter,
)  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, asks: st.SearchStrategy[Ask]) -> Ask:
    """Return a request with one or two things wrong."""
    ask = draw(asks)
    for spoiler in draw(st.lists(st.sampled_from(SPOILERS), min_size=1, max_size=2)):
        if ask.inputs:
            ask = spoiler(draw, ask)
    return ask
