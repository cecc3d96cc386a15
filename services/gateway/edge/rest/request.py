"""A REST inference request: its body, parsed once into the internal form.

The body is JSON, or a JSON header followed by the raw bytes of the tensors that announce a ``binary_data_size``, in the
header's order. Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import codecs
import json
import re
import reprlib
import sys
from typing import Any, NamedTuple

import orjson

from services.core.errors import Forbidden, InvalidRequest
from services.core.inference import InferRequest, Parameter, RequestedOutput
from services.core.tensor import ITEM_SIZE, Tensor, element_count
from services.gateway.edge.rest.json_tensor import to_raw
from services.gateway.limits import Limits

Buffer = bytes | memoryview

_MAX_CLASSES = (1 << 31) - 1
_SHARED_MEMORY = "shared_memory_region"
_SURROGATE = re.compile(rb"\\u[dD]")

_EXCERPT = reprlib.Repr()
_EXCERPT.maxlist = _EXCERPT.maxdict = 16
_EXCERPT.maxstring = _EXCERPT.maxlong = 60


class Forms(NamedTuple):
    """In which form the client wants each output.

    Attributes:
        binary: Whether outputs that the request does not list are binary.
        by_output: The same for those that it lists, by name; as in Triton, ``binary_data_output`` is not about them.
    """

    binary: bool
    by_output: dict[str, bool]


class RawData(NamedTuple):
    """An input's data that were converted before the rest is looked at.

    Attributes:
        raw: The tensor's bytes.
    """

    raw: bytes


def parse(
    model: str,
    version: int | None,
    body: Buffer,
    header_length: int | None,
    *,
    limits: Limits,
    document: dict[str, Any] | None = None,
) -> tuple[InferRequest, Forms]:
    """Parse a request body.

    Args:
        model: Model name from the path.
        version: Version from the path.
        body: The whole body.
        header_length: ``Inference-Header-Content-Length``, or None where the whole body is JSON.
        limits: Bounds on the numbers of inputs, outputs, parameters and dimensions.
        document: The JSON of the body, where it was parsed before.

    Raises:
        InvalidRequest: It is not a request of the protocol.
        Forbidden: It wants shared memory.
    """
    size = len(body)
    if header_length == 0:
        # Triton's raw binary request: the bytes of the only input, whose description is the schema's to add.
        return InferRequest(model, version, inputs=[Tensor("", "", (), memoryview(body))]), Forms(True, {})
    if header_length is not None and header_length > size:
        raise InvalidRequest(
            f"Inference-Header-Content-Length is {header_length}; expected 1 to {size}, the length of the body, "
            "of which the JSON header is the beginning"
        )
    if document is None:
        document = load(body if header_length is None else body[:header_length])
    request = InferRequest(model, version)
    offset = size if header_length is None else header_length
    request.inputs = _inputs(_list(document.get("inputs"), "inputs", limits.max_inputs), body, offset, limits)
    request.id = _text(document.get("id", ""), "id")
    parameters = document.get("parameters")
    binary = False
    if parameters is not None:
        request.parameters = _parameters(parameters)
        binary = _flag(request.parameters.pop("binary_data_output", False), "binary_data_output")
    outputs = document.get("outputs")
    by_output: dict[str, bool] = {}
    if outputs is not None:
        listed = _list(outputs, "outputs", limits.max_outputs)
        request.outputs = [_output(output, by_output, limits) for output in listed]
    return request, Forms(binary, by_output)


def load(text: Buffer) -> dict[str, Any]:
    """Return the object that a JSON text is.

    Raises:
        InvalidRequest: It is none.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        document = _load_lenient(bytes(text), error)
    if not isinstance(document, dict):
        raise InvalidRequest(f"the request is {_short(document)}; expected an object with 'inputs'")
    return document


def _load_lenient(text: bytes, strict_error: orjson.JSONDecodeError) -> Any:
    """Parse what orjson refuses and Triton does not: a byte order mark; NaN and Infinity, which its clients write."""
    if text.startswith(codecs.BOM_UTF8):
        return load(text[len(codecs.BOM_UTF8) :])
    if b"NaN" in text or b"Infinity" in text:
        try:
            document = json.loads(text.decode())
            if _SURROGATE.search(text):
                json.dumps(document, ensure_ascii=False).encode()  # half a character is text for json, but not UTF-8
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"the request is not valid JSON: {error}") from error
        return document
    raise InvalidRequest(f"the request is not valid JSON: {strict_error}") from strict_error


def _inputs(items: list[Any], body: Buffer, offset: int, limits: Limits) -> list[Tensor]:
    view = memoryview(body)
    size = len(body)
    tensors = []
    for position, item in enumerate(items):
        place = f"inputs[{position}]"
        name = _text(_object(item, place).get("name"), f"{place}.name")
        datatype = item.get("datatype")
        if not isinstance(datatype, str) or datatype not in ITEM_SIZE:
            raise InvalidRequest(f"{place}.datatype is {_short(datatype)}; expected one of {', '.join(ITEM_SIZE)}")
        shape = _shape(item.get("shape"), f"{place}.shape", limits.max_rank)
        binary_size = _binary_size(item.get("parameters"), place, limits)
        if binary_size is None:
            data = item.get("data")
            if type(data) is RawData:
                raw = data.raw
            else:
                raw = to_raw(name, datatype, shape, element_count(shape, name), _list(data, f"{place}.data"))
            tensors.append(Tensor(name, datatype, shape, raw))
            continue
        if "data" in item:
            raise InvalidRequest(f"{place} has both 'data' and 'binary_data_size'; send one of them")
        end = offset + binary_size
        if end > size:
            raise InvalidRequest(
                f"{place} announces {binary_size} bytes of binary data; only {size - offset} are left after the header "
                "and the tensors before it"
            )
        tensors.append(Tensor(name, datatype, shape, view[offset:end]))
        offset = end
    if offset != size:
        raise InvalidRequest(f"{size - offset} bytes follow the last tensor; the sizes must add up to the body")
    return tensors


def _binary_size(parameters: Any, place: str, limits: Limits) -> int | None:
    if parameters is None:
        return None
    if _SHARED_MEMORY in _object(parameters, f"{place}.parameters", limits.max_parameters):
        raise Forbidden(
            f"{place} wants shared memory, which the gateway does not open to clients; send the data itself"
        )
    size = parameters.get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise InvalidRequest(f"{place}.parameters.binary_data_size is {_short(size)}; expected a number of bytes")
    return size


def _output(item: Any, by_output: dict[str, bool], limits: Limits) -> RequestedOutput:
    name = _text(_object(item, "outputs[]").get("name"), "outputs[].name")
    parameters = item.get("parameters")
    if parameters is None:
        by_output.setdefault(name, False)
        return RequestedOutput(name)
    place = f"the parameters of output '{name}'"
    if _SHARED_MEMORY in _object(parameters, place, limits.max_parameters):
        raise Forbidden(f"output '{name}' wants shared memory, which the gateway does not open to clients")
    by_output.setdefault(name, _flag(parameters.get("binary_data", False), f"'binary_data' in {place}"))
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= _MAX_CLASSES:
        raise InvalidRequest(f"'classification' in {place} is {_short(classes)}; expected a number of classes")
    return RequestedOutput(name, classes)


def _parameters(value: Any) -> dict[str, Parameter]:
    for name, parameter in _object(value, "parameters").items():
        if not isinstance(parameter, bool | int | float | str):
            raise InvalidRequest(f"parameter '{name}' is {_short(parameter)}; expected text, a number, true or false")
    return dict(value)


def _shape(value: Any, place: str, max_rank: int) -> tuple[int, ...]:
    shape = tuple(_list(value, place, max_rank))
    for dim in shape:
        if type(dim) is not int:
            raise InvalidRequest(f"{place} is {_short(value)}; expected a list of integers")
    return shape


def _list(value: Any, place: str, most: int = sys.maxsize) -> list[Any]:
    if type(value) is not list:
        raise InvalidRequest(f"'{place}' is {'missing' if value is None else _short(value)}; expected a list")
    if len(value) > most:
        raise InvalidRequest(f"'{place}' has {len(value)} entries; at most {most} are taken")
    return value


def _object(value: Any, place: str, most: int = sys.maxsize) -> dict[str, Any]:
    if type(value) is not dict:
        raise InvalidRequest(f"{place} is {_short(value)}; expected an object")
    if len(value) > most:
        raise InvalidRequest(f"{place} has {len(value)} entries; at most {most} are taken")
    return value


def _text(value: Any, place: str) -> str:
    if type(value) is not str:
        raise InvalidRequest(f"{place} is {'missing' if value is None else _short(value)}; expected text")
    return value


def _flag(value: Any, place: str) -> bool:
    if type(value) is not bool:
        raise InvalidRequest(f"{place} is {_short(value)}; expected true or false")
    return value


def _short(value: Any) -> str:
    """Return a value on one line, however long or deeply nested it is."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = _EXCERPT.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - one line of a message
