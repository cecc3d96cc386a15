"""A REST answer: JSON, or a JSON header followed by raw tensors, in the key order of Triton."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from services.core.errors import Overloaded, PenstockError, Unavailable, status_of
from services.gateway.edge.rest.json_tensor import from_raw
from services.gateway.edge.rest.request import Forms
from services.gateway.edge.words import words_of
from services.gateway.pipeline import Served

_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_HEADER_LENGTH = b"inference-header-content-length"
VERSION_HEADER = b"penstock-model-version"
ROLE_HEADER = b"penstock-role"
# Joining costs a copy, a second write a system call.
_JOIN_BELOW_BYTES = 256 * 1024

Headers = list[tuple[bytes, bytes]]
Part = bytes | memoryview


class Reply(NamedTuple):
    """A complete HTTP answer.

    Attributes:
        status: HTTP status code.
        headers: Header names in lower case with their values, ``content-length`` among them.
        parts: The body in pieces.
    """

    status: int
    headers: Headers
    parts: list[Part]


def encode(served: Served, forms: Forms) -> Reply:
    """Encode an answer in the forms that the client wants.

    Raises:
        InvalidRequest: An output has no JSON form and was not asked for as binary data.
    """
    response = served.response
    document: dict[str, Any] = {"id": response.id} if response.id else {}
    document["model_name"] = response.model
    document["model_version"] = str(response.version)
    if response.parameters:
        document["parameters"] = response.parameters
    parts: list[Part] = [b""]
    document["outputs"] = outputs = []
    for tensor in response.outputs:
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if forms.by_output.get(tensor.name, forms.binary):
            output["parameters"] = {"binary_data_size": len(tensor.data)}
            parts.append(tensor.data)
        else:
            output["data"] = from_raw(tensor)
        outputs.append(output)
    head = parts[0] = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    length = len(head)
    headers: Headers = [
        (VERSION_HEADER, b"%d" % response.version),
        (ROLE_HEADER, served.role.encode()),
    ]
    if len(parts) == 1:
        headers += (_JSON, (b"content-length", b"%d" % length))
        return Reply(200, headers, parts)
    total = sum([len(part) for part in parts])
    headers += (_BINARY, (_HEADER_LENGTH, b"%d" % length), (b"content-length", b"%d" % total))
    return Reply(200, headers, [b"".join(parts)] if total < _JOIN_BELOW_BYTES else parts)


def error_reply(error: PenstockError) -> Reply:
    """Encode an error as Triton does: ``{"error": "words"}``."""
    body = orjson.dumps({"error": words_of(error).encode("utf-8", "backslashreplace").decode()})
    headers: Headers = [_JSON, (b"content-length", b"%d" % len(body))]
    if isinstance(error, Overloaded | Unavailable):
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
    return Reply(status_of(error).http, headers, [body])
