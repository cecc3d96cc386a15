"""One request after its edge parsed it: route, validate, admit, forward, record. No wire format is known here.

The version is chosen before the request is validated, because each version has an interface of its own and the request
must fit the one that answers. Choosing has no effect on anything, so a refused request leaves no trace but its count.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from services.core.errors import OK, DeadlineExceeded, NotFound, PenstockError, Unavailable, UpstreamFailure, status_of
from services.core.inference import InferRequest, InferResponse, ModelSchema
from services.core.route import Role
from services.gateway import parameters
from services.gateway.admission import Admission
from services.gateway.metrics.recorder import Recorder
from services.gateway.observe import observe
from services.gateway.routes import Choice, Routes
from services.gateway.schemas import SchemaCache
from services.gateway.validate import check
from services.triton.upstream import Upstream

Encoded_co = TypeVar("Encoded_co", covariant=True)

# Outcomes that are no error of ours: the client went away; the client's time was over before Triton was asked.
CANCELLED = "cancelled"
EXPIRED = "expired"
# A client's own timer and ours end at the same moment; who is first by this much says nothing.
_SAME_MOMENT_S = 0.02

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Served:
    """An answer, with the part that its version plays now."""

    response: InferResponse
    role: Role


class Call(Protocol[Encoded_co]):
    """One request as its edge holds it.

    Attributes:
        protocol: ``rest`` or ``grpc``.
        model: The model that was asked for, known before anything is decoded.
    """

    protocol: str
    model: str

    def decode(self) -> InferRequest:
        """Parse; raises ``InvalidRequest`` or another ``PenstockError``."""
        ...

    def encode(self, served: Served) -> Encoded_co:
        """Turn the answer into the edge's own form."""
        ...


class _Trace:
    """How far a request is, for its counts."""

    __slots__ = ("choice", "deadline", "forwarded", "marks")

    def __init__(self, arrived: float) -> None:
        self.marks = [arrived]
        self.choice: Choice | None = None
        self.deadline: float | None = None
        self.forwarded = False


class Pipeline:
    """Answers inference requests.

    Args:
        upstream: Where models run.
        routes: Which version answers.
        schemas: What versions take.
        admission: How many may be forwarded at once.
        recorder: Where everything is counted.
        default_timeout_s: Bound on a request whose client set none, and upper limit for those that did.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        *,
        upstream: Upstream,
        routes: Routes,
        schemas: SchemaCache,
        admission: Admission,
        recorder: Recorder,
        default_timeout_s: float = 30.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._upstream = upstream
        self._routes = routes
        self._schemas = schemas
        self._admission = admission
        self._recorder = recorder
        self._default_timeout_s = default_timeout_s
        self._clock = clock

    async def serve(self, call: Call[Encoded_co]) -> Encoded_co:
        """Answer one request that has arrived completely, and count it, whatever happens.

        Raises:
            PenstockError: What to tell the client; a bare one for a defect of ours, whose details are in the log.
        """
        trace = _Trace(self._clock())
        try:
            answer = await self._answer(call, trace)
        except asyncio.CancelledError:
            late = trace.deadline is not None and self._clock() > trace.deadline - _SAME_MOMENT_S
            self._count(call, trace, status_of(DeadlineExceeded()).outcome if late else CANCELLED)
            raise
        except DeadlineExceeded as error:
            self._count(call, trace, status_of(error).outcome if trace.forwarded else EXPIRED)
            raise
        except PenstockError as error:
            self._count(call, trace, status_of(error).outcome)
            raise
        except Exception as error:
            self._count(call, trace, status_of(error).outcome)
            incident = uuid.uuid4().hex[:12]
            _log.exception("incident %s: a %s request for model %r", incident, call.protocol, call.model)
            raise PenstockError(
                f"the gateway failed at this request (incident {incident}); its log has the details"
            ) from error
        self._count(call, trace, OK.outcome)
        return answer

    def refused(self, protocol: str, model: str, error: PenstockError) -> None:
        """Count a request that its edge refused before it was complete."""
        now = self._clock()
        known = model if self._routes.knows(model) else ""
        self._recorder.requests(protocol, known, None, "").finish(status_of(error).outcome, (now,), now)

    async def _answer(self, call: Call[Encoded_co], trace: _Trace) -> Encoded_co:
        clock, mark = self._clock, trace.marks.append
        request = call.decode()
        wishes = parameters.take(request) if request.parameters else parameters.NOTHING
        trace.deadline = trace.marks[0] + self._bound_s(request.deadline_s, wishes.timeout_s)
        mark(clock())

        trace.choice = choice = self._routes.pick(request.model, request.version, wishes.key or request.key)
        mark(clock())

        schema = self._schemas.get(request.model, choice.version)
        if schema is None:
            left_s = _left(trace.deadline, clock())
            schema = await self._schemas.fetch(request.model, choice.version, left_s)
        check(request, schema)
        mark(clock())

        self._admission.enter()
        try:
            now = clock()
            mark(now)
            left_s = _left(trace.deadline, now)
            trace.forwarded = True
            response = await self._forward(request, choice.version, left_s)
        finally:
            self._admission.leave()
        mark(clock())

        self._observe(response, schema, choice)
        answer = call.encode(Served(response, choice.role))
        mark(clock())
        return answer

    async def _forward(self, request: InferRequest, version: int, timeout_s: float) -> InferResponse:
        try:
            response = await self._upstream.infer(request, version, timeout_s)
        except NotFound as error:
            self._schemas.forget(request.model, version)
            raise Unavailable(f"Triton does not have what the route table says: {error}") from error
        except Unavailable:
            self._schemas.forget(request.model, version)
            raise
        if response.version != version:
            raise UpstreamFailure(
                f"version {version} of model '{request.model}' was asked, and version {response.version} answered"
            )
        response.id = request.id
        return response

    def _observe(self, response: InferResponse, schema: ModelSchema, choice: Choice) -> None:
        observe(response, schema, self._recorder.answers(schema.model, choice.version, choice.role))

    def _bound_s(self, *wishes: float | None) -> float:
        return min([self._default_timeout_s, *(wish for wish in wishes if wish is not None)])

    def _count(self, call: Call[Encoded_co], trace: _Trace, outcome: str) -> None:
        choice = trace.choice
        if choice is not None:
            series = self._recorder.requests(call.protocol, call.model, choice.version, choice.role)
        else:
            known = call.model if self._routes.knows(call.model) else ""
            series = self._recorder.requests(call.protocol, known, None, "")
        series.finish(outcome, trace.marks, self._clock())


def _left(deadline: float, now: float) -> float:
    left_s = deadline - now
    if left_s <= 0:
        raise DeadlineExceeded("the request's time was over before it could be forwarded; allow more time")
    return left_s
