"""Requests in gRPC's forms, and damage that only protobuf can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from tests.differential.asks import NUMPY, Ask, Input, raw_to_texts

_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
_ALL_FIELDS = sorted({*_FIELDS.values()})


@dataclass(frozen=True)
class GrpcRequest:
    """One call: a method of the inference service and its messages, as bytes; one message unless it is a stream."""

    method: str
    messages: tuple[bytes, ...]
    about: Ask | None = None
    notes: tuple[str, ...] = ()


def _typed(contents: Any, field: str, tensor: Input) -> None:
    target = getattr(contents, field)
    if tensor.datatype == "BYTES":
        target.extend(raw_to_texts(tensor.data))
    elif tensor.datatype == "BOOL":
        target.extend(bool(byte) for byte in tensor.data)
    else:
        dtype = np.dtype(NUMPY.get(tensor.datatype, "<u2"))
        whole = len(tensor.data) // dtype.itemsize * dtype.itemsize
        target.extend(np.frombuffer(tensor.data[:whole], dtype).tolist())


def _set(target: Any, value: Any, *, wide: bool = False) -> None:
    if isinstance(value, bool):
        target.bool_param = value
    elif isinstance(value, int):
        if value >= 1 << 63 or (wide and value >= 0):
            target.uint64_param = value
        else:
            target.int64_param = value
    elif isinstance(value, float):
        target.double_param = value
    elif isinstance(value, str):
        target.string_param = value


def message(ask: Ask, *, raw: bool) -> Any:
    """Return a ``ModelInferRequest``."""
    found = service_pb2.ModelInferRequest(model_name=ask.model, model_version=ask.version, id=ask.id or "")
    for name, value in ask.parameters.items():
        _set(found.parameters[name], value, wide=name == "priority")
    for tensor in ask.inputs:
        item = found.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            found.raw_input_contents.append(tensor.data)
        elif tensor.datatype in _FIELDS:
            try:
                _typed(item.contents, _FIELDS[tensor.datatype], tensor)
            except (ValueError, TypeError):
                item.contents.ClearField(_FIELDS[tensor.datatype])
    for wanted in ask.outputs:
        output = found.outputs.add(name=wanted.name)
        if wanted.classes is not None:
            output.parameters["classification"].int64_param = wanted.classes
    return found


def _add_raw(draw: st.DrawFn, found: Any) -> None:
    found.raw_input_contents.append(draw(st.sampled_from([b"", b"\0\0\0\0"])))


def _drop_raw(_draw: st.DrawFn, found: Any) -> None:
    if found.raw_input_contents:
        del found.raw_input_contents[-1]


def _other_contents(draw: st.DrawFn, found: Any) -> None:
    if found.inputs:
        value = getattr(found.inputs[0].contents, draw(st.sampled_from(_ALL_FIELDS)))
        kinds: list[Any] = [1, 1.5, True, b"x"]
        for kind in kinds:
            try:
                value.append(kind)
            except (TypeError, ValueError):
                continue
            return


def _out_of_range(_draw: st.DrawFn, found: Any) -> None:
    for item in found.inputs:
        for field, value in (("int_contents", 70_000), ("uint_contents", 70_000)):
            contents = getattr(item.contents, field)
            if contents:
                contents[0] = value
                return


def _empty_parameter(_draw: st.DrawFn, found: Any) -> None:
    found.parameters["empty"].SetInParent()


def _odd_parameter(draw: st.DrawFn, found: Any) -> None:
    name = draw(st.sampled_from(["priority", "timeout", "sequence_id", "sequence_start", "x", "größe"]))
    _set(found.parameters[name], draw(st.sampled_from([-1, 1, 1 << 63, (1 << 64) - 1, 0.5, "2", True, "größe"])))


def _odd_class_count(draw: st.DrawFn, found: Any) -> None:
    if found.outputs:
        _set(found.outputs[0].parameters["classification"], draw(st.sampled_from([True, 1.5, "2", "", (1 << 64) - 1])))


def _input_parameter(draw: st.DrawFn, found: Any) -> None:
    if found.inputs:
        name = draw(st.sampled_from(["binary_data_size", "x", "data"]))
        _set(found.inputs[0].parameters[name], draw(st.sampled_from([4, "x", True])))


_DAMAGE = (
    _add_raw, _drop_raw, _other_contents, _out_of_range, _empty_parameter, _odd_parameter, _odd_class_count,
    _input_parameter,
)  # fmt: skip


@st.composite
def inference(draw: st.DrawFn, asks: st.SearchStrategy[Ask], *, raw: bool, damaged: bool) -> GrpcRequest:
    """Return a ``ModelInfer`` call with raw or typed contents."""
    ask = draw(asks)
    found = message(ask, raw=raw)
    notes: tuple[str, ...] = ("raw",) if raw else ("typed",)
    if damaged:
        harm = draw(st.sampled_from(_DAMAGE))
        harm(draw, found)
        notes = (*notes, harm.__name__.strip("_"))
    data = found.SerializeToString()
    if damaged and draw(st.integers(0, 9)) == 0:
        data = draw(st.sampled_from([data[:-1], data + b"\xff", data + b"\xfa\x3e\x01x", b""]))
        notes = (*notes, "bytes")
    return GrpcRequest("ModelInfer", (data,), ask, notes)


_NAMES = st.sampled_from(["echo", "pair", "labelled", "repeat", "nobody", "größe", ""])
_VERSIONS = st.sampled_from(["", "1", "2", "9", "0", "-1", "x", "01", "9" * 30])
_REQUESTS = {
    "ServerLive": service_pb2.ServerLiveRequest,
    "ServerReady": service_pb2.ServerReadyRequest,
    "ServerMetadata": service_pb2.ServerMetadataRequest,
    "ModelReady": service_pb2.ModelReadyRequest,
    "ModelMetadata": service_pb2.ModelMetadataRequest,
    "ModelConfig": service_pb2.ModelConfigRequest,
    "ModelStatistics": service_pb2.ModelStatisticsRequest,
    "RepositoryIndex": service_pb2.RepositoryIndexRequest,
}


@st.composite
def documents(draw: st.DrawFn) -> GrpcRequest:
    """Return a call of anything but inference."""
    method = draw(st.sampled_from(sorted(_REQUESTS)))
    fields: dict[str, Any] = {}
    if method.startswith("Model"):
        fields = {"name": draw(_NAMES), "version": draw(_VERSIONS)}
    elif method == "RepositoryIndex":
        fields = {"ready": draw(st.booleans()), "repository_name": draw(st.sampled_from(["", "x"]))}
    return GrpcRequest(
        method, (_REQUESTS[method](**fields).SerializeToString(),), None, tuple(map(str, fields.values()))
    )
