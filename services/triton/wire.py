"""Requests and answers in Triton's HTTP form with binary tensors. Pure: bytes in, values out.

A body is a JSON header followed by the raw tensors in the header's order; ``Inference-Header-Content-Length`` tells
where the header ends. Source: Triton's binary tensor data extension,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from services.core.errors import InvalidRequest, UpstreamFailure
from services.core.inference import InferRequest, InferResponse, ModelSchema, Parameter, TensorSpec
from services.core.tensor import ITEM_SIZE, Tensor

HEADER_LENGTH = "Inference-Header-Content-Length"
_HEADER_LENGTH_LOWER = b"inference-header-content-length"


def encode_request(request: InferRequest) -> tuple[dict[str, str], list[bytes | memoryview]]:
    """Return the HTTP headers and the body, in parts, of one inference request that wants binary outputs.

    Raises:
        InvalidRequest: A parameter has no JSON form that Triton reads.
    """
    inputs = []
    parts: list[bytes | memoryview] = [b""]
    for tensor in request.inputs:
        parts.append(tensor.data)
        inputs.append(
            {
                "name": tensor.name,
                "shape": tensor.shape,
                "datatype": tensor.datatype,
                "parameters": {"binary_data_size": len(tensor.data)},
            }
        )
    header: dict[str, Any] = {"inputs": inputs}
    if request.id:
        header["id"] = request.id
    if request.outputs:
        header["outputs"] = [_requested_output(output.name, output.classes) for output in request.outputs]
        if request.parameters:
            header["parameters"] = request.parameters
    else:
        header["parameters"] = {**request.parameters, "binary_data_output": True}
    try:
        head = orjson.dumps(header)
    except TypeError as error:
        raise InvalidRequest(
            f"the request has a parameter, name or id that JSON cannot carry: {error}; "
            "send valid Unicode and integers of at most 64 bits"
        ) from error
    parts[0] = head
    return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}, parts


def decode_response(raw_headers: Iterable[tuple[bytes, bytes]], body: bytes, model: str) -> InferResponse:
    """Return the answer, its tensors as slices of ``body``.

    Raises:
        UpstreamFailure: The body is not what its header says.
    """
    try:
        return _decode_response(raw_headers, body)
    except (ValueError, KeyError, TypeError) as error:
        words = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UpstreamFailure(f"Triton's answer for model '{model}' makes no sense: {words}") from error


def decode_schema(model: str, version: int, metadata: Mapping[str, Any], config: Mapping[str, Any]) -> ModelSchema:
    """Return a version's schema from Triton's metadata (shapes with batch dimension) and configuration documents.

    Raises:
        UpstreamFailure: A document lacks what every Triton sends.
    """
    try:
        optional = {tensor["name"] for tensor in config.get("input", ()) if tensor.get("optional")}
        labels = {tensor["name"] for tensor in config.get("output", ()) if tensor.get("label_filename")}
        inputs = [_spec(tensor, tensor["name"] in optional, False) for tensor in metadata["inputs"]]
        outputs = [_spec(tensor, False, tensor["name"] in labels) for tensor in metadata["outputs"]]
        return ModelSchema(
            model,
            version,
            {spec.name: spec for spec in inputs},
            {spec.name: spec for spec in outputs},
            int(config.get("max_batch_size", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UpstreamFailure(
            f"Triton's description of model '{model}' version {version} makes no sense: {error!r}"
        ) from error


def _decode_response(raw_headers: Iterable[tuple[bytes, bytes]], body: bytes) -> InferResponse:
    length = len(body)
    offset = length
    for name, value in raw_headers:
        if name.lower() == _HEADER_LENGTH_LOWER:
            offset = int(value)
    if not 0 <= offset <= length:
        raise ValueError(f"its JSON header should have {offset} bytes, but only {length} came")
    view = memoryview(body)
    header = orjson.loads(view[:offset])
    outputs: list[Tensor] = []
    for output in header["outputs"]:
        end = offset + _binary_size(output)
        if not offset <= end <= length:
            raise ValueError(f"output '{output['name']}' has {end - offset} bytes, but only {length - offset} came")
        tensor = Tensor(output["name"], output["datatype"], tuple(output["shape"]), view[offset:end])
        _check_size(tensor)
        outputs.append(tensor)
        offset = end
    if offset != length:
        raise ValueError(f"{length - offset} bytes follow the last output")
    parameters = _scalars(header.get("parameters"))
    return InferResponse(header["model_name"], int(header["model_version"]), header.get("id", ""), outputs, parameters)


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


def _check_size(tensor: Tensor) -> None:
    item_size = ITEM_SIZE.get(tensor.datatype, 0)
    if item_size is None:
        return
    if item_size == 0:
        raise ValueError(f"output '{tensor.name}' has the unknown datatype {tensor.datatype}")
    expected = item_size
    for dim in tensor.shape:
        expected *= dim
    if expected != len(tensor.data):
        raise ValueError(
            f"output '{tensor.name}' of {tensor.datatype} {list(tensor.shape)} should have {expected} bytes, "
            f"but {len(tensor.data)} came"
        )


def _spec(tensor: Mapping[str, Any], optional: bool, labels: bool) -> TensorSpec:
    return TensorSpec(tensor["name"], tensor["datatype"], tuple(map(int, tensor["shape"])), optional, labels)


def _scalars(parameters: Mapping[str, Any] | None) -> dict[str, Parameter]:
    if not parameters:
        return {}
    return {name: value for name, value in parameters.items() if isinstance(value, bool | int | float | str)}
