"""A request's spans, made after its end from the times that were noted on its way.

    <the call>            server: the whole request
    |-- edge              parse, choose the version, validate
    |-- admission         wait for a place
    |-- forward           to Triton and back; a client span where there was one attempt
    |   `-- attempt       client: one for each replica that was tried, where there was more than one
    `-- answer            look at the answer, encode it

A stage that a failed request was in ends with the request. Names follow OpenTelemetry's semantic conventions for HTTP
and RPC servers (https://opentelemetry.io/docs/specs/semconv/); what is ours begins with ``penstock.``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from services.core.errors import INTERNAL, OK, STATUS
from services.core.errors import Status as ErrorStatus
from services.core.inference import Attempt
from services.gateway.metrics.series import STAGES
from services.gateway.tracing.context import RequestTrace
from services.gateway.tracing.ended import Ended

_SCOPE = InstrumentationScope("penstock.gateway")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SPAN_BITS = 64
_NS_PER_S = 1_000_000_000
_FORWARD = "forward"
_BY_OUTCOME: dict[str, ErrorStatus] = {status.outcome: status for status in (OK, INTERNAL, *STATUS.values())}
_RPC_SERVICE, _RPC_METHOD = "inference.GRPCInferenceService", "ModelInfer"


class _Part(NamedTuple):
    """One span: its times are seconds of the request's clock."""

    name: str
    kind: SpanKind
    span_id: int
    parent_id: int
    times: tuple[float, float]
    outcome: str
    attributes: dict[str, Any]


class SpanMaker:
    """Makes spans of requests.

    Args:
        service_name: What the gateway is called.
        instance: What this worker is called.
    """

    def __init__(self, service_name: str, instance: str) -> None:
        self._resource = Resource.create({"service.name": service_name, "service.instance.id": instance})
        self._chance = random.Random()  # noqa: S311 - ids need to be different, not secret

    def spans(self, request: Ended, trace: RequestTrace, epoch_ns: int) -> list[ReadableSpan]:
        """Return the spans of a sampled request, the server's first.

        Args:
            request: The request.
            trace: Its place in its trace.
            epoch_ns: What to add to a time of its clock, in nanoseconds, for the time since 1970.
        """
        return [self._span(part, trace, request.error, epoch_ns) for part in self._parts(request, trace)]

    def _parts(self, request: Ended, trace: RequestTrace) -> Iterator[_Part]:
        name, about = _server(request)
        times = request.marks[0], request.ended
        yield _Part(name, SpanKind.SERVER, trace.server_id, trace.parent_id, times, request.outcome, about)
        for stage, times, outcome in _stages(request):
            if stage != _FORWARD:
                yield _Part(stage, SpanKind.INTERNAL, self._id(), trace.server_id, times, outcome, {})
            elif len(request.attempts) == 1:
                one = request.attempts[0]
                yield _Part(
                    stage, SpanKind.CLIENT, trace.forward_id, trace.server_id, times, one.outcome, _replica(one)
                )
            else:
                yield _Part(stage, SpanKind.INTERNAL, trace.forward_id, trace.server_id, times, outcome, {})
                for one in request.attempts:
                    within = max(times[0], one.begun), min(times[1], one.ended)
                    yield _Part(
                        "attempt", SpanKind.CLIENT, self._id(), trace.forward_id, within, one.outcome, _replica(one)
                    )

    def _span(self, part: _Part, trace: RequestTrace, error: str, epoch_ns: int) -> ReadableSpan:
        state = TraceState.from_header([trace.tracestate]) if trace.tracestate else None
        server = part.kind is SpanKind.SERVER
        parent = SpanContext(trace.trace_id, part.parent_id, is_remote=server, trace_flags=_SAMPLED, trace_state=state)
        begin, end = part.times
        return ReadableSpan(
            part.name,
            context=SpanContext(trace.trace_id, part.span_id, False, _SAMPLED, state),
            parent=parent if part.parent_id else None,
            resource=self._resource,
            attributes=part.attributes,
            kind=part.kind,
            status=_status(part, error if server else ""),
            start_time=epoch_ns + int(begin * _NS_PER_S),
            end_time=epoch_ns + int(end * _NS_PER_S),
            instrumentation_scope=_SCOPE,
        )

    def _id(self) -> int:
        return self._chance.getrandbits(_SPAN_BITS) or 1


def _stages(request: Ended) -> Iterator[tuple[str, tuple[float, float], str]]:
    """Give the stages that a request came to; one that it did not complete ends as the request did."""
    marks: Sequence[float] = request.marks
    for stage, times in zip(STAGES, pairwise(marks), strict=False):
        yield stage, times, OK.outcome
    if request.outcome != OK.outcome and len(marks) <= len(STAGES):
        yield STAGES[len(marks) - 1], (marks[-1], request.ended), request.outcome


def _server(request: Ended) -> tuple[str, dict[str, Any]]:
    status = _BY_OUTCOME.get(request.outcome)
    attributes: dict[str, Any] = {
        "penstock.protocol": request.protocol,
        "penstock.model.name": request.model,
        "penstock.outcome": request.outcome,
        "penstock.attempts": len(request.attempts),
    }
    if request.version is not None:
        attributes["penstock.model.version"] = request.version
        attributes["penstock.role"] = str(request.role)
    if request.request_id:
        attributes["penstock.request.id"] = request.request_id
    if request.attempts:
        attributes["penstock.replica"] = request.attempts[-1].replica
    if request.outcome != OK.outcome:
        attributes["error.type"] = request.outcome
    if request.protocol == "grpc":
        attributes |= {"rpc.system": "grpc", "rpc.service": _RPC_SERVICE, "rpc.method": _RPC_METHOD}
        if status is not None:
            attributes["rpc.grpc.status_code"] = status.grpc
        return f"{_RPC_SERVICE}/{_RPC_METHOD}", attributes
    route = "/v2/models/{model}/infer"
    attributes |= {"http.request.method": "POST", "http.route": route}
    if status is not None:
        attributes["http.response.status_code"] = status.http
    return f"POST {route}", attributes


def _replica(attempt: Attempt) -> dict[str, Any]:
    host, _, port = attempt.replica.rpartition(":")
    attributes: dict[str, Any] = {"penstock.replica": attempt.replica, "penstock.outcome": attempt.outcome}
    if port.isdigit():
        attributes |= {"server.address": host.strip("[]"), "server.port": int(port)}
    return attributes


def _status(part: _Part, words: str) -> Status:
    """Return the status of a span: of a server's own, only what is the server's fault is an error."""
    status = _BY_OUTCOME.get(part.outcome)
    blameless = part.kind is not SpanKind.CLIENT and (status is None or not status.server_fault)
    if part.outcome == OK.outcome or blameless:
        return Status(StatusCode.UNSET)
    return Status(StatusCode.ERROR, words or part.outcome)
