"""A REST answer: JSON, or a JSON header followed by raw tensors, in the key order of Triton."""

from __future__ import annotations

import secrets
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

from services.core.errors import Overloaded, PenstockError, Unavailable, status_of
from services.core.tensor import Tensor
from services.gateway.edge.paced import Slices
from services.gateway.edge.rest.json_tensor import check_has_json_form, elements_in_slices, from_raw
from services.gateway.edge.rest.refusal import HttpRefusal
from services.gateway.edge.rest.request import Forms
from services.gateway.edge.words import words_of
from services.gateway.pipeline import Served

VERSION_HEADER = "penstock-model-version"
ROLE_HEADER = "penstock-role"
JSON_FIELD = b"Content-Type: application/json\r\n"
_BINARY_FIELD = b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n"
# Joining costs a copy, a second write a system call.
_JOIN_BELOW_BYTES = 256 * 1024
# Tensors with more bytes are written to JSON while other requests are served.
_LATE_BYTES = 256 * 1024
_OK = 200

Part = bytes | memoryview


class Reply(NamedTuple):
    """A complete HTTP answer.

    Attributes:
        status: HTTP status code.
        fields: Header lines, each ending in CR LF, without those of the framing and the connection.
        parts: The body in pieces.
    """

    status: int
    fields: bytes
    parts: list[Part]


class LateReply(NamedTuple):
    """An answer with large tensors whose JSON is still to be written.

    Attributes:
        origin: Header lines that say which version answered.
        text: The JSON text in pieces; a tensor where its elements belong.
        parts: Tensors in binary form, which follow the text.
    """

    origin: bytes
    text: list[bytes | Tensor]
    parts: list[Part]

    def written_out(self) -> Slices[Reply]:
        """Write the JSON, slice by slice.

        Raises:
            InvalidRequest: A text is no UTF-8.
        """
        pieces: list[bytes] = []
        for piece in self.text:
            if isinstance(piece, Tensor):
                pieces += yield from elements_in_slices(piece)
            else:
                pieces.append(piece)
        return _reply(self.origin, b"".join(pieces), self.parts)


def encode(served: Served, forms: Forms) -> Reply | LateReply:
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
    parts: list[Part] = []
    late: list[tuple[str, Tensor]] = []
    document["outputs"] = outputs = []
    for tensor in response.outputs:
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if forms.by_output.get(tensor.name, forms.binary):
            output["parameters"] = {"binary_data_size": len(tensor.data)}
            parts.append(tensor.data)
        elif len(tensor.data) > _LATE_BYTES:
            check_has_json_form(tensor)
            output["data"] = secrets.token_hex(16)
            late.append((output["data"], tensor))
        else:
            output["data"] = from_raw(tensor)
        outputs.append(output)
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    origin = _origin(response.version, served.role)
    if late:
        return LateReply(origin, _with_gaps(text, late), parts)
    return _reply(origin, text, parts)


def _with_gaps(text: bytes, late: list[tuple[str, Tensor]]) -> list[bytes | Tensor]:
    pieces: list[bytes | Tensor] = []
    for token, tensor in late:
        before, _, text = text.partition(b'"%s"' % token.encode())
        pieces += (before, tensor)
    return [*pieces, text]


def _reply(origin: bytes, text: bytes, parts: list[Part]) -> Reply:
    if parts:
        return Reply(_OK, origin + _BINARY_FIELD % len(text), [text, *parts])
    return Reply(_OK, origin + JSON_FIELD, [text])


def error_reply(error: PenstockError) -> Reply:
    """Encode an error as Triton does: ``{"error": "words"}``."""
    body: list[Part] = [error_body(words_of(error))]
    if isinstance(error, HttpRefusal):
        return Reply(error.status, JSON_FIELD + error.fields, body)
    return Reply(status_of(error).http, JSON_FIELD + retry_after(error), body)


def error_body(words: str) -> bytes:
    """Return the JSON of an error."""
    return orjson.dumps({"error": words.encode("utf-8", "backslashreplace").decode()})


def retry_after(error: PenstockError) -> bytes:
    """Return the header line that says when to try again; empty where trying again does not help."""
    if isinstance(error, Overloaded | Unavailable):
        return b"Retry-After: %d\r\n" % max(1, round(error.retry_after_s))
    return b""


def written(reply: Reply, closing: bytes, *, with_body: bool = True) -> list[Part]:
    """Return an answer as what goes over the connection: one piece, or several where joining would cost more.

    Args:
        reply: The answer.
        closing: The header line about the connection; empty for none.
        with_body: False for the answer to HEAD, which only announces a body.
    """
    parts = reply.parts
    length = len(parts[0]) if len(parts) == 1 else sum([len(part) for part in parts])
    head = b"%sContent-Length: %d\r\n%s\r\n" % (status_line(reply.status) + reply.fields, length, closing)
    if not with_body:
        return [head]
    if length < _JOIN_BELOW_BYTES:
        return [b"".join([head, *parts])]
    return [head, *parts]


@lru_cache(maxsize=128)
def status_line(status: int) -> bytes:
    """Return the first line of an answer."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


@lru_cache(maxsize=1024)
def _origin(version: int, role: str) -> bytes:
    return f"{VERSION_HEADER}: {version}\r\n{ROLE_HEADER}: {role}\r\n".encode()
