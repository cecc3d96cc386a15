"""What gRPC says in a request's head: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.core.errors import InvalidRequest, PayloadTooLarge, PenstockError
from services.gateway.edge.http2.head import Head
from services.gateway.limits import Limits
from services.gateway.tracing.context import joined_tracestate

ROUTING_KEY = b"penstock-routing-key"
IDENTITY = b"identity"
_CONTENT_TYPE = re.compile(rb"application/grpc(?:\+proto)?(?:[ \t]*;.*)?", re.IGNORECASE)
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


@dataclass(slots=True)
class GrpcHead:
    """One request's head.

    Attributes:
        path: ``/package.Service/Method``.
        http_status: Not 0 when this is no gRPC request: the HTTP status to refuse it with.
        refusal: What is wrong with its metadata; None when nothing is.
        timeout_s: Seconds that the client gives; None for no deadline.
        encoding: How its messages may be compressed.
        accepts: Which compression it takes.
        key: Sticky routing key, or None.
        traceparent: W3C trace context; empty for none.
        tracestate: What vendors added to it; empty for nothing.
        fields: All of its metadata, names in lower case.
        errors_as_status: Whether an error ends a stream of inference with a status, instead of being a message.
    """

    path: str
    http_status: int = 0
    refusal: PenstockError | None = None
    timeout_s: float | None = None
    encoding: bytes = IDENTITY
    accepts: tuple[bytes, ...] = ()
    key: str | None = None
    traceparent: str = ""
    tracestate: str = ""
    fields: Sequence[tuple[bytes, bytes]] = ()
    errors_as_status: bool = False


def read_grpc_head(head: Head, limits: Limits) -> GrpcHead:
    """Read what gRPC needs; metadata that the gateway does not use, binary ones above all, are passed over."""
    found = GrpcHead(head.pseudo[b":path"].decode("ascii", "backslashreplace"), fields=head.fields)
    if head.pseudo[b":method"] != b"POST":
        found.http_status = 405
        return found
    content_type = b""
    for name, value in head.fields:
        if name == b"content-type":
            content_type = value
        elif name == b"grpc-timeout":
            found.timeout_s = _timeout_s(value, found)
        elif name == b"grpc-encoding":
            found.encoding = value.strip().lower()
        elif name == b"grpc-accept-encoding":
            found.accepts = tuple(coding.strip().lower() for coding in value.split(b","))
        elif name == ROUTING_KEY:
            found.key = value.decode("utf-8", "backslashreplace") or None
        elif name in (b"traceparent", b"tracestate"):
            _read_trace(found, name, value)
        elif name == b"triton_grpc_error":
            found.errors_as_status = value == b"true"
    if not _CONTENT_TYPE.fullmatch(content_type):
        found.http_status = 415
    elif head.size > limits.max_header_bytes or len(head.fields) > limits.max_headers:
        found.refusal = PayloadTooLarge(
            f"the metadata are {head.size} bytes in {len(head.fields)} fields; at most {limits.max_header_bytes} bytes "
            f"and {limits.max_headers} fields are taken"
        )
    return found


def _read_trace(found: GrpcHead, name: bytes, value: bytes) -> None:
    if name == b"traceparent":
        found.traceparent = value.decode("ascii", "replace")
    else:
        found.tracestate = joined_tracestate(found.tracestate, value)


def _timeout_s(value: bytes, found: GrpcHead) -> float | None:
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        found.refusal = InvalidRequest(
            f"grpc-timeout is {value[:40]!r}; expected up to eight digits and one of the units H, M, S, m, u, n"
        )
        return None
    return int(match[1]) * _UNIT_S[match[2]]
