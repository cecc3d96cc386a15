"""``ModelInferRequest`` messages in the internal form: raw contents, and typed contents of every datatype. Pure."""

from __future__ import annotations

import struct
from typing import Any, Final

from services.core.errors import Forbidden, InvalidRequest
from services.core.inference import InferRequest, Parameter, RequestedOutput
from services.core.tensor import ITEM_SIZE, Tensor, element_count
from services.gateway.catalog import version_number
from services.gateway.limits import Limits

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
_INT64_MAX = (1 << 63) - 1


def decode(message: Any, limits: Limits) -> InferRequest:
    """Turn a ``ModelInferRequest`` into the internal form.

    Raises:
        InvalidRequest: It is not a request of the protocol.
        Forbidden: It wants shared memory.
        NotFound: Its version is no version.
    """
    _check_bounds(message, limits)
    request = InferRequest(message.model_name, version_number(message.model_version), message.id)
    raw = message.raw_input_contents
    if raw:
        request.inputs = _raw_inputs(message.inputs, raw)
    else:
        request.inputs = [_typed_input(tensor, limits) for tensor in message.inputs]
    if message.parameters:
        request.parameters = {name: _parameter(value, name) for name, value in message.parameters.items()}
        # REST's wish about the form of its answer; tritonclient does not send it over gRPC, and here it has no meaning.
        request.parameters.pop("binary_data_output", None)
    if message.outputs:
        request.outputs = [_output(output) for output in message.outputs]
    return request


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


def _typed_input(tensor: Any, limits: Limits) -> Tensor:
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
    if count > limits.max_json_values:
        raise InvalidRequest(
            f"input '{name}' holds {count} elements in {field}, of which at most {limits.max_json_values} are taken; "
            "send raw_input_contents"
        )
    if datatype == "BYTES":
        checked.data = b"".join([len(value).to_bytes(_LENGTH_BYTES, "little") + value for value in values])
        return checked
    try:
        checked.data = struct.pack(f"<{count}{code}", *values)
    except struct.error as error:
        raise InvalidRequest(f"input '{name}' holds a number that is out of the range of {datatype}") from error
    return checked


def _check_bounds(message: Any, limits: Limits) -> None:
    for what, found, most in (
        ("inputs", len(message.inputs), limits.max_inputs),
        ("outputs", len(message.outputs), limits.max_outputs),
        ("parameters", len(message.parameters), limits.max_parameters),
        ("bytes of its model's name", len(message.model_name), limits.max_name_bytes),
        ("bytes of its id", len(message.id), limits.max_name_bytes),
    ):
        if found > most:
            raise InvalidRequest(f"the request has {found} {what}; at most {most} are taken")
    for tensor in message.inputs:
        if len(tensor.shape) > limits.max_rank:
            raise InvalidRequest(
                f"input '{tensor.name[:80]}' for model '{message.model_name}' has {len(tensor.shape)} dimensions; "
                f"at most {limits.max_rank} are taken"
            )


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


def set_parameter(target: Any, value: Parameter) -> None:
    """Set an ``InferParameter``."""
    if isinstance(value, bool):
        target.bool_param = value
    elif isinstance(value, int):
        if value > _INT64_MAX:
            target.uint64_param = value
        else:
            target.int64_param = value
    elif isinstance(value, float):
        target.double_param = value
    else:
        target.string_param = value
