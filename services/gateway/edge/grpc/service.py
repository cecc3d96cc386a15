"""The allow-list of methods, and the first look at every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.core.errors import Unimplemented, UnsupportedEncoding
from services.gateway.edge.grpc.head import IDENTITY, GrpcHead, read_grpc_head
from services.gateway.edge.grpc.status import UNSUPPORTED_ENCODING, error_trailers, http_refusal
from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.head import Head
from services.gateway.edge.http2.stream import Receiver, Stream
from services.gateway.limits import Limits

Method = Callable[[Connection, Stream], Receiver]

_ENCODINGS = (IDENTITY, b"gzip", b"deflate")


class GrpcService:
    """The application behind the HTTP/2 connections.

    Args:
        methods: What begins a call, by path; every other path is refused.
        limits: Bounds.
    """

    def __init__(self, methods: Mapping[str, Method], limits: Limits) -> None:
        self._methods = methods
        self._limits = limits

    def read(self, head: Head) -> Any:
        """Read what gRPC needs of a head."""
        return read_grpc_head(head, self._limits)

    def begin(self, connection: Connection, stream: Stream, ended: bool) -> None:
        """Begin a call."""
        head: GrpcHead = stream.head
        method = self._methods.get(head.path)
        if method is None or head.http_status or head.refusal is not None or head.encoding not in _ENCODINGS:
            self._refuse(connection, stream, head)
            return
        stream.receiver = receiver = method(connection, stream)
        if ended:
            receiver.data(b"", True)

    def _refuse(self, connection: Connection, stream: Stream, head: GrpcHead) -> None:
        if head.http_status:
            block = http_refusal(head.http_status)
        elif head.refusal is not None:
            block = error_trailers(head.refusal, begun=False)
        elif head.path not in self._methods:
            block = error_trailers(Unimplemented(f"there is no method {head.path[:200]}"), begun=False)
        else:
            coding = head.encoding[:40].decode("ascii", "backslashreplace")
            error = UnsupportedEncoding(f"grpc-encoding is '{coding}'; expected identity, gzip or deflate")
            block = error_trailers(error, begun=False, extra=UNSUPPORTED_ENCODING)
        connection.sender.head(stream, block, end=True)
