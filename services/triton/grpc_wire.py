"""Requests and answers in Triton's gRPC form, for streams. Pure: values in, messages out, and back."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import service_pb2

from services.core.inference import InferRequest, InferResponse, Parameter
from services.core.tensor import ITEM_SIZE, Tensor
from services.triton.faults import Nonsense

FINAL = "triton_final_response"
_EMPTY_FINAL = "triton_enable_empty_final_response"
_INT64_MAX = (1 << 63) - 1


def encode_stream_request(request: InferRequest, version: int, timeout_us: int) -> Any:
    """Return the ``ModelInferRequest`` that asks for all of a decoupled model's responses and an end that says so."""
    message = service_pb2.ModelInferRequest(
        model_name=request.model,
        model_version=str(version),
        id=request.id,
        raw_input_contents=[bytes(tensor.data) for tensor in request.inputs],
    )
    for tensor in request.inputs:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    for output in request.outputs:
        wanted = message.outputs.add(name=output.name)
        if output.classes:
            wanted.parameters["classification"].int64_param = output.classes
    for name, value in request.parameters.items():
        _set(message.parameters[name], value)
    own = request.parameters.get("timeout")
    _set(message.parameters["timeout"], min(own, timeout_us) if isinstance(own, int) and own else timeout_us)
    # Always, whatever the client said: without it nobody knows that a response was the last one.
    message.parameters[_EMPTY_FINAL].bool_param = True
    return message


def decode_stream_response(message: Any, model: str, version: int) -> InferResponse:
    """Return one response of a stream; without outputs where Triton only says that there are no more.

    Raises:
        UpstreamFailure: The message contradicts itself, or another version answered.
    """
    if message.model_version != str(version):
        raise Nonsense(f"version {version} of model '{model}' was asked, and version {message.model_version} answered")
    if len(message.outputs) != len(message.raw_output_contents):
        raise Nonsense(
            f"Triton's answer for model '{model}' has {len(message.outputs)} outputs and data for "
            f"{len(message.raw_output_contents)}"
        )
    outputs = []
    for output, data in zip(message.outputs, message.raw_output_contents, strict=True):
        tensor = Tensor(output.name, output.datatype, tuple(output.shape), data)
        _check_size(tensor, model)
        outputs.append(tensor)
    parameters = {name: _value(parameter) for name, parameter in message.parameters.items()}
    final = parameters.pop(FINAL, True) is True
    return InferResponse(message.model_name, version, message.id, outputs, parameters, final=final)


def _check_size(tensor: Tensor, model: str) -> None:
    expected = ITEM_SIZE.get(tensor.datatype, 0)
    if expected is None:
        return
    for dim in tensor.shape:
        expected *= dim
    if expected != len(tensor.data) or tensor.datatype not in ITEM_SIZE:
        raise Nonsense(
            f"Triton's answer for model '{model}': output '{tensor.name}' of {tensor.datatype} {list(tensor.shape)} "
            f"should have {expected} bytes, but {len(tensor.data)} came"
        )


def _set(target: Any, value: Parameter) -> None:
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


def _value(parameter: Any) -> Parameter:
    kind = parameter.WhichOneof("parameter_choice")
    found: Parameter = getattr(parameter, kind) if kind else ""
    return found
