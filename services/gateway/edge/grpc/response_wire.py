"""``ModelInferResponse`` as bytes, put together from parts that protobuf wrote. Pure.

The tensors are not copied, and what is the same in every answer of a model version is written once. Fields are in
protobuf's order, so the bytes are those that a serializer would have written.
"""

from __future__ import annotations

from functools import lru_cache

from tritonclient.grpc import service_pb2

from services.core.inference import InferResponse, Parameter
from services.gateway.edge.grpc.codec import set_parameter
from services.gateway.edge.http2.stream import Buffer

_ID, _RAW = b"\x1a", b"\x32"
_ONE_BYTE = [bytes((size,)) for size in range(128)]


def encode_response(response: InferResponse) -> list[Buffer]:
    """Return the message in parts."""
    parts: list[Buffer] = [_model(response.model, response.version)]
    if response.id:
        id_ = response.id.encode()
        parts += (_ID, _varint(len(id_)), id_)
    if response.parameters:
        parts.append(_parameters(response.parameters))
    outputs = response.outputs
    for tensor in outputs:
        parts.append(_output(tensor.name, tensor.datatype, tensor.shape))
    for tensor in outputs:
        data = tensor.data
        parts += (_RAW, _varint(len(data)), data)
    return parts


def field_head(tag: int, size: int) -> bytes:
    """Return what precedes ``size`` bytes of a field."""
    return bytes((tag,)) + _varint(size)


@lru_cache(maxsize=1024)
def _model(name: str, version: int) -> bytes:
    written: bytes = service_pb2.ModelInferResponse(model_name=name, model_version=str(version)).SerializeToString()
    return written


@lru_cache(maxsize=4096)
def _output(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    message = service_pb2.ModelInferResponse()
    message.outputs.add(name=name, datatype=datatype, shape=shape)
    written: bytes = message.SerializeToString()
    return written


def _parameters(parameters: dict[str, Parameter]) -> bytes:
    message = service_pb2.ModelInferResponse()
    for name, value in parameters.items():
        set_parameter(message.parameters[name], value)
    written: bytes = message.SerializeToString()
    return written


def _varint(value: int) -> bytes:
    if value < 128:  # noqa: PLR2004 - seven bits in each byte
        return _ONE_BYTE[value]
    coded = bytearray()
    while value >= 128:  # noqa: PLR2004 - as above
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    coded.append(value)
    return bytes(coded)
