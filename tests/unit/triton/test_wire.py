"""Requests and answers in Triton's binary HTTP form."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import InvalidRequest, UpstreamFailure
from services.core.inference import InferRequest, RequestedOutput
from services.core.tensor import Tensor
from services.triton.wire import HEADER_LENGTH, decode_response, decode_schema, encode_request

FOUR = struct.pack("<4f", 1, 2, 3, 4)


def decoded(request: InferRequest) -> tuple[dict[str, Any], bytes]:
    length, parts = encode_request(request)
    body = b"".join(parts)
    header: dict[str, Any] = orjson.loads(body[:length])
    return header, body[length:]


def answer(header: dict[str, Any], data: bytes = b"") -> tuple[dict[bytes, bytes], bytes]:
    head = orjson.dumps(header)
    return {HEADER_LENGTH: str(len(head)).encode()}, head + data


def output(name: str = "Y", datatype: str = "FP32", shape: tuple[int, ...] = (1, 4), size: int = 16) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


def named(*outputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model_name": "m", "model_version": "3", "outputs": outputs, **more}


def test_a_request_names_every_tensor_and_its_size_and_wants_binary_outputs() -> None:
    inputs = [Tensor("A", "FP32", (1, 4), FOUR), Tensor("B", "INT8", (2,), memoryview(b"\x01\x02"))]
    header, data = decoded(InferRequest("m", id="7", inputs=inputs, parameters={"timeout": 5000}))
    assert header == {
        "id": "7",
        "inputs": [
            {"name": "A", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}},
            {"name": "B", "shape": [2], "datatype": "INT8", "parameters": {"binary_data_size": 2}},
        ],
        "parameters": {"timeout": 5000, "binary_data_output": True},
    }
    assert data == FOUR + b"\x01\x02"


def test_a_client_cannot_ask_for_outputs_in_a_form_that_the_gateway_does_not_read() -> None:
    header, _ = decoded(InferRequest("m", parameters={"binary_data_output": False}))
    assert header["parameters"] == {"binary_data_output": True}
    header, _ = decoded(InferRequest("m", outputs=[RequestedOutput("Y")], parameters={"binary_data_output": False}))
    assert header["outputs"] == [{"name": "Y", "parameters": {"binary_data": True}}]


def test_classes_are_asked_for_per_output() -> None:
    header, _ = decoded(InferRequest("m", outputs=[RequestedOutput("Y", 3), RequestedOutput("Z")]))
    assert header["outputs"] == [
        {"name": "Y", "parameters": {"binary_data": True, "classification": 3}},
        {"name": "Z", "parameters": {"binary_data": True}},
    ]
    assert "parameters" not in header


@pytest.mark.parametrize("value", [2**64, "\ud800"], ids=["too large", "half a character"])
def test_what_json_cannot_carry_is_the_clients_mistake(value: int | str) -> None:
    with pytest.raises(InvalidRequest, match="JSON cannot carry"):
        encode_request(InferRequest("m", parameters={"p": value}))


def test_an_answers_tensors_are_slices_of_its_body() -> None:
    headers, body = answer(
        named(output(), output("L", "BYTES", (1,), 5), id="7", parameters={"n": 1, "s": "x", "deep": {}}),
        FOUR + b"\x01\0\0\0a",
    )
    response = decode_response(headers, body, InferRequest("m"))
    assert (response.model, response.version, response.id) == ("m", 3, "7")
    assert response.parameters == {"n": 1, "s": "x"}
    assert [bytes(tensor.data) for tensor in response.outputs] == [FOUR, b"\x01\0\0\0a"]
    first = response.outputs[0]
    assert isinstance(first.data, memoryview)
    assert first.data.obj is body
    assert first.shape == (1, 4)


def test_an_output_without_elements_may_come_as_json() -> None:
    empty = {"name": "Y", "datatype": "FP32", "shape": [0, 4], "data": []}
    response = decode_response({}, orjson.dumps(named(empty)), InferRequest("m"))
    assert bytes(response.outputs[0].data) == b""


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (named(output(shape=(1, 8), size=32)), FOUR, "has 32 bytes, but only 16 came"),
        (named(output()), FOUR + b"more", "4 bytes follow"),
        (named(output(shape=(1, 5))), FOUR, "should have 20 bytes, but 16 came"),
        (named(output(size=-4)), FOUR, "has -4 bytes"),
        (named(output(datatype="FP12")), FOUR, "unknown datatype FP12"),
        (named({"name": "Y", "datatype": "FP32", "shape": [1], "data": [1.0]}), b"", "came as JSON"),
        ({"model_name": "m", "model_version": "3"}, b"", "no 'outputs'"),
        (named(output(), model_version="x") | {"model_version": "x"}, FOUR, "invalid literal"),
    ],
)
def test_an_answer_that_contradicts_itself_is_the_upstreams_failure(
    header: dict[str, Any], data: bytes, words: str
) -> None:
    with pytest.raises(UpstreamFailure, match=words):
        decode_response(*answer(header, data), InferRequest("m"))


@pytest.mark.parametrize("length", [b"-1", b"999999", b"nonsense"])
def test_a_header_length_that_cannot_be_is_the_upstreams_failure(length: bytes) -> None:
    with pytest.raises(UpstreamFailure):
        decode_response({HEADER_LENGTH: length}, b"{}", InferRequest("m"))


@given(st.binary(max_size=200), st.integers(-5, 210))
def test_no_bytes_make_the_decoder_fail_in_another_way(body: bytes, length: int) -> None:
    with pytest.raises(UpstreamFailure):
        decode_response({HEADER_LENGTH: str(length).encode()}, body, InferRequest("m"))


def test_the_schema_joins_metadata_and_configuration() -> None:
    metadata = {
        "inputs": [
            {"name": "X", "datatype": "FP32", "shape": ["-1", 4]},
            {"name": "O", "datatype": "BYTES", "shape": [1]},
        ],
        "outputs": [{"name": "Y", "datatype": "FP32", "shape": [-1, 10]}],
    }
    config = {
        "max_batch_size": 8,
        "input": [{"name": "O", "optional": True}, {"name": "X"}],
        "output": [{"name": "Y", "label_filename": "labels.txt"}],
        "dynamic_batching": {},
        "instance_group": [{"count": 2}],
    }
    schema = decode_schema("m", 2, metadata, config)
    assert schema.at_once == 16
    assert schema.max_batch_size == 8
    assert schema.inputs["X"].dims == (-1, 4)
    assert not schema.inputs["X"].optional
    assert schema.inputs["O"].optional
    assert schema.outputs["Y"].labels


@pytest.mark.parametrize(("metadata", "config"), [({}, {}), ({"inputs": [{}], "outputs": []}, {}), ({"inputs": 3}, {})])
def test_documents_that_describe_no_model_are_the_upstreams_failure(
    metadata: dict[str, Any], config: dict[str, Any]
) -> None:
    with pytest.raises(UpstreamFailure, match="makes no sense"):
        decode_schema("m", 1, metadata, config)
