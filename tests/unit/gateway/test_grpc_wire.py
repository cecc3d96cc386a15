"""The short ways through protobuf give what protobuf gives, for every message and for what is none."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from services.core.errors import InvalidRequest, PenstockError
from services.core.inference import InferRequest, InferResponse
from services.core.tensor import Tensor
from services.gateway.edge.grpc.codec import decode
from services.gateway.edge.grpc.request_wire import RequestWire
from services.gateway.edge.grpc.response_wire import encode_response
from services.gateway.limits import Limits

LIMITS = Limits(max_inputs=6, max_outputs=4, max_parameters=4, max_rank=5, max_name_bytes=64)
names = st.sampled_from(["", "m", "digits", "größe", "x" * 40, "y" * 70])
shapes = st.lists(st.integers(-2, 1 << 40), max_size=6)


@st.composite
def messages(draw: st.DrawFn) -> Any:
    """Return a request of any form, right or wrong."""
    message = service_pb2.ModelInferRequest(
        model_name=draw(names), model_version=draw(st.sampled_from(["", "1", "x"])), id=draw(names)
    )
    for _ in range(draw(st.integers(0, 3))):
        tensor = message.inputs.add(name=draw(names), datatype=draw(st.sampled_from(["FP32", "BYTES", "INT8", "?"])))
        tensor.shape.extend(draw(shapes))
        if draw(st.integers(0, 5)) == 0:
            tensor.contents.int_contents.extend(draw(st.lists(st.integers(-200, 200), max_size=4)))
    for _ in range(draw(st.sampled_from([len(message.inputs)] * 4 + [0, 1]))):
        message.raw_input_contents.append(draw(st.binary(max_size=300)))
    for _ in range(draw(st.integers(0, 2))):
        output = message.outputs.add(name=draw(names))
        if draw(st.booleans()):
            output.parameters["classification"].int64_param = draw(st.integers(-1, 5))
    for name in draw(st.lists(st.sampled_from(["a", "timeout", "binary_data_output"]), max_size=2)):
        message.parameters[name].int64_param = draw(st.integers(0, 9))
    return message


def _outcome(request: Any) -> Any:
    try:
        found: InferRequest = request()
    except PenstockError as error:
        return type(error), str(error)
    for tensor in found.inputs:
        tensor.data = bytes(tensor.data)
    return found


def _reference(data: bytes) -> InferRequest:
    message = service_pb2.ModelInferRequest()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidRequest(f"these {len(data)} bytes are no ModelInfer request in protobuf: {error}") from error
    return decode(message, LIMITS)


@settings(max_examples=150)
@given(st.lists(messages(), min_size=1, max_size=5), st.data())
def test_a_request_read_by_its_template_is_the_request_that_protobuf_reads(
    sent: list[Any], data: st.DataObject
) -> None:
    wire = RequestWire(LIMITS)
    for message in sent:
        for _ in range(2):
            message.id = data.draw(names)
            for position, raw in enumerate(message.raw_input_contents):
                message.raw_input_contents[position] = raw[::-1] + data.draw(st.binary(max_size=3))
            bytes_ = message.SerializeToString()
            found = _outcome(lambda bytes_=bytes_: wire.read(bytes_))
            assert found == _outcome(lambda bytes_=bytes_: _reference(bytes_))
            if isinstance(found, InferRequest):
                found.parameters["spoilt"] = 1
                found.inputs.clear()
                found.outputs.clear()


@settings(max_examples=250)
@given(messages(), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3), st.integers(0, 400))
def test_damaged_requests_are_read_as_protobuf_reads_them(
    message: Any, changes: list[tuple[int, int]], cut: int
) -> None:
    wire = RequestWire(LIMITS)
    whole = bytearray(message.SerializeToString())
    _outcome(lambda: wire.read(bytes(whole)))
    for at, value in changes:
        if whole:
            whole[at % len(whole)] = value
    data = bytes(whole[: len(whole) - cut] if cut % 3 == 0 else whole)
    found, expected = _outcome(lambda: wire.read(data)), _outcome(lambda: _reference(data))
    if isinstance(found, tuple) and ("group" in found[1] or "fields" in found[1]):
        assert found[0] is InvalidRequest
        return  # fields are counted before protobuf sees them, and nobody counts what is in a group
    assert found == expected


@pytest.mark.parametrize("mix", ["raw first", "id last", "id twice", "id between"])
def test_fields_in_an_unusual_order_mean_the_same(mix: str) -> None:
    body = service_pb2.ModelInferRequest(model_name="digits")
    body.inputs.add(name="image", datatype="INT8", shape=[3])
    raw, named = (service_pb2.ModelInferRequest(**one).SerializeToString()
                  for one in ({"raw_input_contents": [b"abc"]}, {"id": "first"}))  # fmt: skip
    other = service_pb2.ModelInferRequest(id="second").SerializeToString()
    parts = {
        "raw first": raw + body.SerializeToString() + named,
        "id last": body.SerializeToString() + raw + named,
        "id twice": other + body.SerializeToString() + named + raw,
        "id between": body.SerializeToString() + named + raw,
    }[mix]
    wire = RequestWire(LIMITS)
    for _ in range(2):
        request = wire.read(parts)
        assert (request.model, request.id) == ("digits", "first")
        assert bytes(request.inputs[0].data) == b"abc"


def test_more_fields_than_a_request_can_have_are_refused_before_protobuf_sees_them() -> None:
    wire = RequestWire(Limits())
    for tiny in (b"\x2a\x00", b"\x3a\x00", b"\x08\x01", b"\xfa\x01\x00"):
        with pytest.raises(InvalidRequest, match="fields"):
            wire.read(tiny * 1_000_000)
    with pytest.raises(InvalidRequest, match="group"):
        wire.read(b"\x0b" + b"\x2a\x00" * 1_000_000)


def test_more_of_anything_than_the_limits_allow_is_refused_with_the_number() -> None:
    wire = RequestWire(LIMITS)
    message = service_pb2.ModelInferRequest(model_name="m", id="i" * 65)
    with pytest.raises(InvalidRequest, match="65 bytes of its id"):
        wire.read(message.SerializeToString())
    message = service_pb2.ModelInferRequest(model_name="m")
    message.inputs.add(name="a", datatype="INT8", shape=[1] * 6)
    message.raw_input_contents.append(b"x")
    with pytest.raises(InvalidRequest, match="6 dimensions"):
        wire.read(message.SerializeToString())
    many = service_pb2.ModelInferRequest(model_name="m")
    many.inputs.add(name="a", datatype="INT8", shape=[40]).contents.int_contents.extend([1] * 40)
    with pytest.raises(InvalidRequest, match="40 elements"):
        decode(many, Limits(max_json_values=39))


@settings(max_examples=200)
@given(
    st.builds(
        InferResponse,
        model=names,
        version=st.integers(1, 1 << 40),
        id=names,
        outputs=st.lists(
            st.builds(
                Tensor,
                name=names,
                datatype=st.sampled_from(["FP32", "BYTES"]),
                shape=st.lists(st.integers(0, 1 << 40), max_size=4).map(tuple),
                data=st.binary(max_size=400),
            ),
            max_size=3,
        ),
        parameters=st.dictionaries(
            names,
            st.one_of(st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(allow_nan=False), names),
            max_size=3,
        ),
    )
)
def test_an_answer_put_together_from_parts_is_the_message_that_protobuf_reads(response: InferResponse) -> None:
    message = service_pb2.ModelInferResponse()
    message.ParseFromString(b"".join(encode_response(response)))
    assert (message.model_name, message.model_version, message.id) == (
        response.model,
        str(response.version),
        response.id,
    )
    assert [(one.name, one.datatype, tuple(one.shape)) for one in message.outputs] == [
        (tensor.name, tensor.datatype, tensor.shape) for tensor in response.outputs
    ]
    assert list(message.raw_output_contents) == [tensor.data for tensor in response.outputs]
    values = {name: getattr(one, one.WhichOneof("parameter_choice")) for name, one in message.parameters.items()}
    assert values == response.parameters
