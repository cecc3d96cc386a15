"""A collector of traces: takes OTLP over HTTP, as protobuf or as JSON, and keeps the spans."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Received:
    """One span that came.

    Attributes:
        service: ``service.name`` of its resource.
        name: Its name.
        kind: 1 internal, 2 server, 3 client.
        trace_id: Hexadecimal.
        span_id: Hexadecimal.
        parent_id: Hexadecimal; empty for a root.
        begin_ns: Since 1970.
        end_ns: Since 1970.
        error: Whether its status is an error.
        tracestate: As it came.
        attributes: By name; numbers as numbers.
    """

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    begin_ns: int
    end_ns: int
    error: bool = False
    tracestate: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


class OtlpReceiver:
    """What came, and what to answer.

    Attributes:
        port: Where it listens on 127.0.0.1.
        spans: Everything that came.
        status: HTTP status of the answers.
        hold: While it is not set, answers wait.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.spans: list[Received] = []
        self.status = 200
        self.hold = threading.Event()
        self.hold.set()

    @property
    def endpoint(self) -> str:
        """URL for exporters."""
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def of(self, service: str) -> list[Received]:
        """Return the spans of one service."""
        return [span for span in self.spans if span.service == service]

    def take(self, content_type: str, body: bytes) -> None:
        """Read one export request."""
        if "json" in content_type:
            self.spans += _from_json(json.loads(body))
        else:
            self.spans += _from_protobuf(ExportTraceServiceRequest.FromString(body))


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Run a collector until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.hold.wait(20)
            if receiver.status == 200:
                receiver.take(self.headers["Content-Type"], body)
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Keep the test's output to itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = OtlpReceiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _from_protobuf(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for resource in request.resource_spans:
        service = {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _span(service, span)


def _span(service: str, span: Span) -> Received:
    return Received(
        service,
        span.name,
        span.kind,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        span.trace_state,
        {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in span.attributes},
    )


def _from_json(request: dict[str, Any]) -> Iterator[Received]:
    for resource in request["resourceSpans"]:
        about = {one["key"]: one["value"] for one in resource["resource"]["attributes"]}
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                yield Received(
                    about["service.name"]["stringValue"],
                    span["name"],
                    span["kind"],
                    span["traceId"].lower(),
                    span["spanId"].lower(),
                    span.get("parentSpanId", "").lower(),
                    int(span["startTimeUnixNano"]),
                    int(span["endTimeUnixNano"]),
                )
