"""ModelInfer messages to and from the internal form; raw contents and typed contents of every datatype."""

from __future__ import annotations

import struct
from typing import Any, Final

from tritonclient.grpc import service_pb2

from services.core.errors import Forbidden, InvalidRequest
from services.core.inference import InferRequest, Parameter, RequestedOutput
from services.core.tensor import ITEM_SIZE, Tensor, element_count
from services.gateway.catalog import version_number
from services.gateway.pipeline import Served

# Typed contents by datatype: the field that carries them, and the code by which struct packs and checks one element.
_CONTENTS: Final = {
    "BOOL": ("bool_contents", "?"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
    "BYTES": ("bytes_contents", ""),
}
_SHARED_MEMORY = "shared_memory_region"
_MAX_CLASSES = (1 << 31) - 1
_LENGTH_BYTES = 4


def decode(message: Any) -> InferRequest:
    """Parse a ``ModelInferRequest``.

    Raises:
        InvalidRequest: It is not a request of the protocol.
        Forbidden: It wants shared memory.
        NotFound: Its version is no version.
    """
    request = InferRequest(message.model_name, version_number(message.model_version), message.id)
    raw = message.raw_input_contents
    if raw:
        request.inputs = _raw_inputs(message.inputs, raw)
    else:
        request.inputs = [_typed_input(tensor) for tensor in message.inputs]
    if message.parameters:
        request.parameters = {name: _parameter(value, name) for name, value in message.parameters.items()}
        # REST's wish about the form of its answer; tritonclient does not send it over gRPC, and here it has no meaning.
        request.parameters.pop("binary_data_output", None)
    if message.outputs:
        request.outputs = [_output(output) for output in message.outputs]
    return request


def encode(served: Served) -> Any:
    """Return a ``ModelInferResponse`` with raw contents, as Triton answers."""
    response = served.response
    message = service_pb2.ModelInferResponse(
        model_name=response.model, model_version=str(response.version), id=response.id
    )
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(bytes(tensor.data))
    for name, value in response.parameters.items():
        _set_parameter(message.parameters[name], value)
    return message


def _raw_inputs(inputs: Any, raw: Any) -> list[Tensor]:
    if len(raw) != len(inputs):
        raise InvalidRequest(
            f"raw_input_contents has {len(raw)} entries for {len(inputs)} inputs; send one for each, in their order"
        )
    tensors = []
    for tensor, data in zip(inputs, raw, strict=True):
        if tensor.HasField("contents"):
            raise InvalidRequest(f"input '{tensor.name}' has contents and raw_input_contents; send one of them")
        tensors.append(_tensor(tensor, data))
    return tensors


def _typed_input(tensor: Any) -> Tensor:
    name, datatype = tensor.name, tensor.datatype
    checked = _tensor(tensor, b"")
    if datatype not in _CONTENTS:
        raise InvalidRequest(f"input '{name}' is {datatype}, which has no typed contents; send raw_input_contents")
    field, code = _CONTENTS[datatype]
    contents = tensor.contents
    wrong = [descriptor.name for descriptor, _ in contents.ListFields() if descriptor.name != field]
    if wrong:
        raise InvalidRequest(
            f"input '{name}' is {datatype} and takes its contents in {field}; found {', '.join(wrong)}"
        )
    values = getattr(contents, field)
    count = element_count(checked.shape, name)
    if len(values) != count:
        raise InvalidRequest(
            f"input '{name}' holds {len(values)} elements in {field}; its shape {list(checked.shape)} needs {count}"
        )
    if datatype == "BYTES":
        checked.data = b"".join([len(value).to_bytes(_LENGTH_BYTES, "little") + value for value in values])
        return checked
    try:
        checked.data = struct.pack(f"<{count}{code}", *values)
    except struct.error as error:
        raise InvalidRequest(f"input '{name}' holds a number that is out of the range of {datatype}") from error
    return checked


def _tensor(tensor: Any, data: bytes) -> Tensor:
    if tensor.datatype not in ITEM_SIZE:
        raise InvalidRequest(
            f"input '{tensor.name}' has datatype '{tensor.datatype}'; expected one of {', '.join(ITEM_SIZE)}"
        )
    if tensor.parameters and _SHARED_MEMORY in tensor.parameters:
        raise Forbidden(
            f"input '{tensor.name}' wants shared memory, which the gateway does not open to clients; send the data"
        )
    return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)


def _output(output: Any) -> RequestedOutput:
    name = output.name
    if not output.parameters:
        return RequestedOutput(name)
    if _SHARED_MEMORY in output.parameters:
        raise Forbidden(f"output '{name}' wants shared memory, which the gateway does not open to clients")
    classes: Parameter = 0
    if "classification" in output.parameters:
        classes = _parameter(output.parameters["classification"], "classification")
    if type(classes) is not int or not 0 <= classes <= _MAX_CLASSES:
        raise InvalidRequest(f"'classification' of output '{name}' is {classes!r}; expected a number of classes")
    return RequestedOutput(name, classes)


def _parameter(value: Any, name: str) -> Parameter:
    choice = value.WhichOneof("parameter_choice")
    if choice is None:
        raise InvalidRequest(f"parameter '{name}' has no value; set one of its fields")
    found: Parameter = getattr(value, choice)
    return found


def _set_parameter(target: Any, value: Parameter) -> None:
    if isinstance(value, bool):
        target.bool_param = value
    elif isinstance(value, int):
        target.int64_param = value
    elif isinstance(value, float):
        target.double_param = value
    else:
        target.string_param = value
