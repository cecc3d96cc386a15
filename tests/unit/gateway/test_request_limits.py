"""Whatever a client sends in numbers, names and texts has a bound, and a bound of its own in the settings."""

from __future__ import annotations

from typing import Any

import pytest

from services.core.errors import InvalidRequest
from services.core.inference import InferRequest, ModelSchema, RequestedOutput, TensorSpec
from services.core.tensor import Tensor
from services.gateway import parameters
from services.gateway.limits import Limits
from services.gateway.validate import check

SCHEMA = ModelSchema(
    "m",
    1,
    {name: TensorSpec(name, "INT8", (-1, -1), optional=True) for name in "xyz"}
    | {"text": TensorSpec("text", "BYTES", (-1,), optional=True)},
    {name: TensorSpec(name, "INT8", (-1,)) for name in "abc"},
    0,
)
TIGHT = Limits(
    max_inputs=2, max_outputs=2, max_dimension=5, max_strings=3, max_string_bytes=4, max_name_bytes=8, max_parameters=2,
    max_parameter_bytes=6,
)  # fmt: skip


def _int8(name: str = "x", shape: tuple[int, ...] = (1, 1)) -> Tensor:
    return Tensor(name, "INT8", shape, b"\0" * (shape[0] * shape[1]))


def _texts(*texts: bytes) -> Tensor:
    data = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return Tensor("text", "BYTES", (len(texts),), data)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"inputs": [_int8("x"), _int8("y"), _int8("z")]}, "3 inputs"),
        ({"inputs": [_int8()], "outputs": [RequestedOutput(name) for name in "abc"]}, "3 outputs"),
        ({"inputs": [_int8(shape=(1, 6))]}, "at most 5"),
        ({"inputs": [_int8(shape=(0, 6))]}, "at most 5"),
        ({"inputs": [_texts(b"", b"", b"", b"")]}, "4 BYTES elements"),
        ({"inputs": [_texts(b"12345")]}, "at most 4 bytes"),
        ({"inputs": [_int8()], "id": "123456789"}, "id has 9 characters"),
        ({"inputs": [_int8()], "id": "ääääü"}, "id has 5 characters"),
    ],
)
def test_a_request_beyond_a_bound_is_refused_and_one_at_it_is_not(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check(InferRequest("m", **fields), SCHEMA, TIGHT)
    check(InferRequest("m", **fields), SCHEMA)


def test_a_request_at_every_bound_is_taken() -> None:
    outputs = [RequestedOutput("a"), RequestedOutput("b")]
    inputs = [_int8(shape=(5, 5)), _texts(b"1234", b"", b"")]
    check(InferRequest("m", id="ääää", inputs=inputs, outputs=outputs), SCHEMA, TIGHT)
    parameters.take(InferRequest("m", parameters={"12345678": 1, "b": "123456"}), TIGHT)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a": 1, "b": 2, "c": 3}, "3 parameters"),
        ({"123456789": 1}, "9 characters"),
        ({"ääääü": 1}, "5 characters"),
        ({"a": "1234567"}, "text of 7 characters"),
        ({"routing_key": "x"}, "11 characters"),
    ],
)
def test_parameters_beyond_a_bound_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parameters.take(InferRequest("m", parameters=dict(given)), TIGHT)
    parameters.take(InferRequest("m", parameters=dict(given)))


def test_a_parameter_whose_name_triton_would_cut_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="NUL"):
        parameters.take(InferRequest("m", parameters={"a\0b": 1}))


def test_an_output_that_is_asked_for_twice_is_asked_for_as_it_was_first() -> None:
    request = InferRequest(
        "m", inputs=[_int8()], outputs=[RequestedOutput("a", 2), RequestedOutput("b"), RequestedOutput("a")]
    )
    check(request, SCHEMA)
    assert request.outputs == [RequestedOutput("a", 2), RequestedOutput("b")]


def test_a_flood_of_empty_texts_is_not_counted_to_its_end() -> None:
    with pytest.raises(InvalidRequest, match="holds more"):
        check(InferRequest("m", inputs=[Tensor("text", "BYTES", (2,), b"\0" * 40_000_000)]), SCHEMA)
