"""Requests and answers in Triton's HTTP form with binary tensors. Pure: bytes in, values out.

A body is a JSON header followed by the raw tensors in the header's order; ``Inference-Header-Content-Length`` tells
where the header ends. Source: Triton's binary tensor data extension,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md

Requests to a model mostly have the same names, datatypes and shapes, and so do its answers: the parts of a header that
depend on nothing else are remembered by exactly that.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from services.core.errors import InvalidRequest, UpstreamFailure
from services.core.inference import InferRequest, InferResponse, ModelSchema, Parameter, TensorSpec
from services.core.tensor import ITEM_SIZE, Tensor
from services.triton.faults import Nonsense
from services.triton.instances import at_once_of
from services.triton.merging.rules import merging_of
from services.triton.merging.settings import MergeSettings
from services.triton.shared_memory.region import InMemory
from services.triton.warmup_sample import sample_of

HEADER_LENGTH = b"inference-header-content-length"
_MAX_REMEMBERED_BYTES = 8 * 1024
_TIMEOUT = "timeout"
_EMPTY_FINAL = "triton_enable_empty_final_response"

# Name, datatype, shape and size of an input; name and classes of a requested output.
_InputKey = tuple[str, str, tuple[int, ...], int]
_OutputKey = tuple[str, int]


def encode_request(
    request: InferRequest, timeout_us: int = 0, memory: InMemory | None = None
) -> tuple[int, list[bytes | memoryview]]:
    """Return the length of the JSON header and the body, in parts, of a request that wants binary outputs.

    Args:
        request: The request.
        timeout_us: Microseconds that are left for it, told to Triton unless the client's own are fewer; 0 for no bound.
        memory: Where inputs are that Triton reads from shared memory; None for none.

    Raises:
        InvalidRequest: A parameter has no JSON form that Triton reads.
    """
    inputs = request.inputs
    try:
        described = (
            _described(
                tuple([(tensor.name, tensor.datatype, tensor.shape, len(tensor.data)) for tensor in inputs]),
                tuple([(output.name, output.classes) for output in request.outputs]) if request.outputs else (),
            )
            if memory is None
            else _described_in_memory(request, memory)
        )
        if request.id or request.parameters or request.outputs:
            head = b"%b%b}" % (described, _particulars(request, timeout_us))
        elif timeout_us:
            head = b'%b,"parameters":{"binary_data_output":true,"timeout":%d}}' % (described, timeout_us)
        else:
            head = described + b',"parameters":{"binary_data_output":true}}'
    except TypeError as error:
        raise InvalidRequest(
            f"the request has a parameter, name or id that JSON cannot carry: {error}; "
            "send valid Unicode and integers of at most 64 bits"
        ) from error
    if memory is None:
        return len(head), [head, *[tensor.data for tensor in inputs]]
    return len(head), [head, *[tensor.data for tensor, at in zip(inputs, memory.begins, strict=True) if at is None]]


def decode_response(headers: Mapping[bytes, bytes], body: bytes, request: InferRequest) -> InferResponse:
    """Return the answer, its tensors as slices of ``body``.

    Args:
        headers: The answer's headers by lower-case name.
        body: Its body.
        request: What was asked.

    Raises:
        UpstreamFailure: The body is not what its header says.
    """
    try:
        return _decode_response(headers, body, request)
    except (ValueError, KeyError, TypeError) as error:
        words = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise Nonsense(f"Triton's answer for model '{request.model}' makes no sense: {words}") from error


def decode_schema(
    model: str,
    version: int,
    metadata: Mapping[str, Any],
    config: Mapping[str, Any],
    merging: MergeSettings | None = None,
) -> ModelSchema:
    """Return a version's schema from Triton's metadata (shapes with batch dimension) and configuration documents.

    Args:
        model: Model name.
        version: Version number.
        metadata: Triton's metadata of it.
        config: Triton's configuration of it.
        merging: When requests for it may be merged; None for never.

    Raises:
        UpstreamFailure: A document lacks what every Triton sends.
    """
    try:
        optional = {tensor["name"] for tensor in config.get("input", ()) if tensor.get("optional")}
        labels = {tensor["name"] for tensor in config.get("output", ()) if tensor.get("label_filename")}
        inputs = {tensor["name"]: _spec(tensor, tensor["name"] in optional, False) for tensor in metadata["inputs"]}
        outputs = {tensor["name"]: _spec(tensor, False, tensor["name"] in labels) for tensor in metadata["outputs"]}
        max_batch_size = int(config.get("max_batch_size", 0))
        decoupled = bool(config.get("model_transaction_policy", {}).get("decoupled", False))
        alone = not decoupled and "sequence_batching" not in config
        sample = sample_of(config, inputs, max_batch_size) if alone else ()
        cached = bool(config.get("response_cache", {}).get("enable", False))
        at_once = at_once_of(config)
        together = None if merging is None else merging_of(config, merging)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UpstreamFailure(
            f"Triton's description of model '{model}' version {version} makes no sense: {error!r}"
        ) from error
    return ModelSchema(model, version, inputs, outputs, max_batch_size, decoupled, sample, together, cached, at_once)


@lru_cache(maxsize=1024)
def _described(inputs: tuple[_InputKey, ...], outputs: tuple[_OutputKey, ...]) -> bytes:
    """Return the part of a request's header that describes its tensors, open at the end."""
    header: dict[str, Any] = {
        "inputs": [
            {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
            for name, datatype, shape, size in inputs
        ]
    }
    if outputs:
        header["outputs"] = [_requested_output(name, classes) for name, classes in outputs]
    return orjson.dumps(header)[:-1]


def _described_in_memory(request: InferRequest, memory: InMemory) -> bytes:
    """As ``_described``, for a request with inputs in shared memory: no two of them are alike."""
    inputs = [
        {
            "name": tensor.name,
            "shape": tensor.shape,
            "datatype": tensor.datatype,
            "parameters": {"binary_data_size": len(tensor.data)}
            if at is None
            else {
                "shared_memory_region": memory.region,
                "shared_memory_offset": at,
                "shared_memory_byte_size": len(tensor.data),
            },
        }
        for tensor, at in zip(request.inputs, memory.begins, strict=True)
    ]
    header: dict[str, Any] = {"inputs": inputs}
    if request.outputs:
        header["outputs"] = [_requested_output(output.name, output.classes) for output in request.outputs]
    return orjson.dumps(header)[:-1]


def _particulars(request: InferRequest, timeout_us: int) -> bytes:
    """Return the rest of a request's header that has an id, parameters or requested outputs."""
    parameters = request.parameters
    if _EMPTY_FINAL in parameters:
        # It is about streams; Triton takes it with any request over gRPC, and with none over HTTP.
        parameters = {name: value for name, value in parameters.items() if name != _EMPTY_FINAL}
    if not request.outputs:
        parameters = {**parameters, "binary_data_output": True}
    if timeout_us:
        own = parameters.get(_TIMEOUT)
        parameters = {**parameters, _TIMEOUT: min(own, timeout_us) if isinstance(own, int) and own else timeout_us}
    identity = b',"id":' + orjson.dumps(request.id) if request.id else b""
    return identity + (b',"parameters":' + orjson.dumps(parameters) if parameters else b"")


class _Output(NamedTuple):
    """One output of an answer, and where in the body it lies."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Answer(NamedTuple):
    """What the header of an answer says, checked against itself; ``end`` is the body's length."""

    model: str
    version: int
    id: str
    outputs: tuple[_Output, ...]
    parameters: Mapping[str, Parameter]
    end: int


def _decode_response(headers: Mapping[bytes, bytes], body: bytes, request: InferRequest) -> InferResponse:
    length = len(body)
    said = headers.get(HEADER_LENGTH)
    offset = length if said is None else int(said)
    if not 0 <= offset <= length:
        raise ValueError(f"its JSON header should have {offset} bytes, but only {length} came")
    # With an id each header is another: remembering it would only drive out what comes again.
    known = offset <= _MAX_REMEMBERED_BYTES and not request.id
    answer = _known_answer(body[:offset]) if known else _answer(body[:offset])
    if answer.end != length:
        raise ValueError(_mismatch(answer, length))
    view = memoryview(body)
    outputs = [Tensor(name, datatype, shape, view[begin:end]) for name, datatype, shape, begin, end in answer.outputs]
    parameters = dict(answer.parameters) if answer.parameters else {}
    return InferResponse(answer.model, answer.version, answer.id, outputs, parameters)


def _answer(head: bytes) -> _Answer:
    header = orjson.loads(head)
    outputs: list[_Output] = []
    begin = len(head)
    for output in header["outputs"]:
        size = _binary_size(output)
        if size < 0:
            raise ValueError(f"output '{output['name']}' has {size} bytes")
        found = _Output(output["name"], output["datatype"], tuple(output["shape"]), begin, begin + size)
        _check_size(found)
        outputs.append(found)
        begin = found.end
    parameters = _scalars(header.get("parameters"))
    version = int(header["model_version"])
    return _Answer(header["model_name"], version, header.get("id", ""), tuple(outputs), parameters, begin)


_known_answer = lru_cache(maxsize=1024)(_answer)


def _mismatch(answer: _Answer, length: int) -> str:
    for output in answer.outputs:
        if output.end > length:
            size, came = output.end - output.begin, max(0, length - output.begin)
            return f"output '{output.name}' has {size} bytes, but only {came} came"
    return f"{length - answer.end} bytes follow the last output"


def _requested_output(name: str, classes: int) -> dict[str, Any]:
    parameters: dict[str, Any] = {"binary_data": True}
    if classes:
        parameters["classification"] = classes
    return {"name": name, "parameters": parameters}


def _binary_size(output: Mapping[str, Any]) -> int:
    parameters = output.get("parameters")
    if parameters is not None and "binary_data_size" in parameters:
        return int(parameters["binary_data_size"])
    # Triton sends an output without elements as JSON whatever was asked for.
    if output.get("data") == []:
        return 0
    raise ValueError(f"output '{output['name']}' came as JSON although binary data was asked for")


def _check_size(output: _Output) -> None:
    item_size = ITEM_SIZE.get(output.datatype, 0)
    if item_size is None:
        return
    if item_size == 0:
        raise ValueError(f"output '{output.name}' has the unknown datatype {output.datatype}")
    expected = item_size
    for dim in output.shape:
        expected *= dim
    if expected != output.end - output.begin:
        raise ValueError(
            f"output '{output.name}' of {output.datatype} {list(output.shape)} should have {expected} bytes, "
            f"but {output.end - output.begin} came"
        )


def _spec(tensor: Mapping[str, Any], optional: bool, labels: bool) -> TensorSpec:
    return TensorSpec(tensor["name"], tensor["datatype"], tuple(map(int, tensor["shape"])), optional, labels)


def _scalars(parameters: Mapping[str, Any] | None) -> dict[str, Parameter]:
    if not parameters:
        return {}
    return {name: value for name, value in parameters.items() if isinstance(value, bool | int | float | str)}
