"""``POST /v2/models/{model}[/versions/{version}]/infer``: what an inference request says before its body is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from services.core.errors import InvalidRequest, UnsupportedEncoding
from services.core.inference import InferRequest
from services.gateway.catalog import version_number
from services.gateway.edge.compression import DEFLATE, GZIP, inflate, preferred
from services.gateway.edge.fields import first_value
from services.gateway.edge.paced import Slices
from services.gateway.edge.rest.head import Head, Headers
from services.gateway.edge.rest.json_bounds import check_json
from services.gateway.edge.rest.large_json import load_in_slices
from services.gateway.edge.rest.refusal import shown
from services.gateway.edge.rest.request import Forms, parse
from services.gateway.edge.rest.response import LateReply, Reply, encode
from services.gateway.limits import Limits
from services.gateway.pipeline import Served
from services.gateway.tracing.context import joined_tracestate

PROTOCOL = "rest"
ROUTING_KEY_HEADER = b"penstock-routing-key"
TIMEOUT_HEADER = b"penstock-timeout-ms"

# Segments are compared as they were sent: an encoded slash never becomes one.
_PATH = re.compile(rb"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
# https://www.w3.org/TR/trace-context/#traceparent-header; version ff is invalid.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_LONGEST_TRACEPARENT = 128
_NUMBER = re.compile(rb"[0-9]{1,18}")
_MS_PER_S = 1000
# Below this the checks of a JSON text and the parsing take well under a millisecond.
_SMALL_BYTES = 64 * 1024

Buffer = bytes | memoryview


class InferHead:
    """The path and the headers of one inference request.

    Attributes:
        model: Model name.
        version: Version from the path; None for the one that the route table chooses.
        header_length: ``Inference-Header-Content-Length``; None where the whole body is JSON.
        coding: How the body is compressed; empty for not at all.
        accepts: How the answer may be compressed; empty for not at all.
        key: Sticky routing key.
        timeout_s: How long the client waits.
        traceparent: The client's trace context; empty for none.
        tracestate: What vendors added to it; empty for nothing.
        headers: All of its headers, as ``Head`` has them.
    """

    __slots__ = (
        "accepts",
        "coding",
        "header_length",
        "headers",
        "key",
        "model",
        "raw_version",
        "timeout_s",
        "traceparent",
        "tracestate",
        "version",
    )

    def __init__(self, model: str, raw_version: bytes) -> None:
        self.model = model
        self.raw_version = raw_version
        self.version: int | None = None
        self.header_length: int | None = None
        self.coding = b""
        self.accepts = b""
        self.key: str | None = None
        self.timeout_s: float | None = None
        self.traceparent = ""
        self.tracestate = ""
        self.headers: Headers = []


def infer_target(head: Head) -> InferHead | None:
    """Return model and version of an inference request; None for any other request."""
    if head.method != b"POST":
        return None
    path = _PATH.fullmatch(head.path)
    if path is None:
        return None
    return InferHead(_name(path[1]), path[2] or b"")


def read_headers(infer: InferHead, head: Head) -> None:
    """Read the version and the headers that an inference request is about.

    Raises:
        NotFound: The version is no number.
        InvalidRequest: A header makes no sense.
        UnsupportedEncoding: The body has a coding that is not served.
    """
    infer.version = version_number(shown(infer.raw_version))
    infer.headers = head.headers
    for name, value in head.headers:
        reader = _READERS.get(name)
        if reader is not None:
            reader(infer, value)


class RestCall:
    """One REST request as the pipeline sees it.

    Args:
        head: Its path and headers.
        body: The whole body, not compressed.
        limits: Bounds on what it holds.
        document: Its JSON, where that was parsed already.
    """

    __slots__ = ("_body", "_document", "_forms", "_head", "_limits", "model", "protocol", "traceparent", "tracestate")

    def __init__(self, head: InferHead, body: Buffer, limits: Limits, document: dict[str, Any] | None = None) -> None:
        self.protocol = PROTOCOL
        self.model = head.model
        self.traceparent = head.traceparent
        self.tracestate = head.tracestate
        self._head = head
        self._body = body
        self._limits = limits
        self._document = document
        self._forms = Forms(binary=False, by_output={})

    def decode(self) -> InferRequest:
        """Parse the path and the body."""
        head = self._head
        request, self._forms = parse(
            head.model,
            head.version,
            self._body,
            head.header_length,
            limits=self._limits,
            document=self._document,
        )
        request.key = head.key
        request.deadline_s = head.timeout_s
        request.traceparent = head.traceparent
        return request

    def attribute(self, name: str) -> str:
        """Return the first value of a header."""
        return first_value(self._head.headers, name)

    def encode(self, served: Served) -> Reply | LateReply:
        """Encode the answer in the forms that the request asked for."""
        return encode(served, self._forms)


def prepared(head: InferHead, body: Buffer, limits: Limits, hold: Callable[[int], None]) -> Slices[RestCall]:
    """Return the call of a request whose body takes more than a moment to undo, to check or to parse.

    Raises:
        InvalidRequest: It is malformed or beyond a bound.
        PayloadTooLarge: It inflates to too much.
        Overloaded: There is no room for what becomes of it.
    """
    if head.coding:
        body = yield from inflate(head.coding, body, limits, hold)
    length = len(body) if head.header_length is None else head.header_length
    text = body if length >= len(body) else body[:length]
    yield from check_json(text, limits)
    document = None
    if _SMALL_BYTES < length <= len(body):
        document = yield from load_in_slices(text, hold)
    return RestCall(head, body, limits, document)


def needs_preparation(head: InferHead, body: Buffer, limits: Limits) -> bool:
    """Whether a body must go through ``prepared``; one with a short text within the bounds is spared the trip."""
    length = len(body) if head.header_length is None else head.header_length
    if head.coding or length > _SMALL_BYTES:
        return True
    text = bytes(body[:length])
    return text.count(b"[") + text.count(b"{") > limits.max_json_depth or length // 2 >= limits.max_json_values


def _name(raw: bytes) -> str:
    return unquote_to_bytes(raw).decode("utf-8", "backslashreplace") if b"%" in raw else raw.decode("ascii")


def _header_length(infer: InferHead, value: bytes) -> None:
    infer.header_length = _number("Inference-Header-Content-Length", value, "a number of bytes")


def _routing_key(infer: InferHead, value: bytes) -> None:
    infer.key = value.decode("utf-8", "backslashreplace") or None


def _timeout(infer: InferHead, value: bytes) -> None:
    milliseconds = _number(TIMEOUT_HEADER.decode(), value, "a number of milliseconds, 1 or more")
    if not milliseconds:
        raise InvalidRequest(f"{TIMEOUT_HEADER.decode()} is 0; expected a number of milliseconds, 1 or more")
    infer.timeout_s = milliseconds / _MS_PER_S


def _content_coding(infer: InferHead, value: bytes) -> None:
    coding = value.lower()
    if coding in (b"", b"identity"):
        return
    if coding not in (GZIP, DEFLATE):
        raise UnsupportedEncoding(f"Content-Encoding is '{shown(value)}'; send gzip, deflate or no compression")
    infer.coding = coding


def _accepts(infer: InferHead, value: bytes) -> None:
    infer.accepts = preferred(value)


def _traceparent(infer: InferHead, value: bytes) -> None:
    if len(value) <= _LONGEST_TRACEPARENT and _TRACEPARENT.fullmatch(value):
        infer.traceparent = value.decode("latin-1")


def _tracestate(infer: InferHead, value: bytes) -> None:
    infer.tracestate = joined_tracestate(infer.tracestate, value)


_READERS: dict[bytes, Callable[[InferHead, bytes], None]] = {
    b"inference-header-content-length": _header_length,
    ROUTING_KEY_HEADER: _routing_key,
    TIMEOUT_HEADER: _timeout,
    b"content-encoding": _content_coding,
    b"accept-encoding": _accepts,
    b"traceparent": _traceparent,
    b"tracestate": _tracestate,
}


def _number(header: str, value: bytes, expected: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise InvalidRequest(f"{header} is '{shown(value)}'; expected {expected}")
    return int(value)
