"""One request after its edge parsed it: route, validate, admit, forward, record. No wire format is known here.

The version is chosen before the request is validated, because each version has an interface of its own and the request
must fit the one that answers. Choosing has no effect on anything, so a refused request leaves no trace but its count.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar

from services.core.errors import (
    INTERNAL,
    OK,
    DeadlineExceeded,
    PenstockError,
    Unavailable,
    Unimplemented,
    UpstreamFailure,
    status_of,
)
from services.core.inference import InferRequest, InferResponse, ModelSchema
from services.core.route import Role
from services.gateway import parameters
from services.gateway.admission import Admission, Slot
from services.gateway.answer_memory import AnswerMemory
from services.gateway.journal import Journal
from services.gateway.limits import Limits
from services.gateway.logs import FIELDS
from services.gateway.metrics.recorder import Recorder, RequestSeries
from services.gateway.metrics.series import RETRIED
from services.gateway.mirroring.mirroring import Mirroring
from services.gateway.observe import observe
from services.gateway.outcomes import CANCELLED, EXPIRED, departed
from services.gateway.routes import Choice, Routes
from services.gateway.schemas import SchemaCache
from services.gateway.sequences import SequencePins
from services.gateway.tracing.context import RequestTrace
from services.gateway.tracing.ended import Ended
from services.gateway.validate import check
from services.triton.upstream import Upstream

Encoded_co = TypeVar("Encoded_co", covariant=True)

# A client's own timer and ours end at the same moment; who is first by this much says nothing.
_SAME_MOMENT_S = 0.02

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Served:
    """An answer, with the part that its version plays now; a decoupled model's request may have several."""

    response: InferResponse
    role: Role
    decoupled: bool = False


class Call(Protocol[Encoded_co]):
    """One request as its edge holds it.

    Attributes:
        protocol: ``rest`` or ``grpc``.
        model: The model that was asked for, known before anything is decoded.
        traceparent: The client's W3C trace context; empty when it sent none.
        tracestate: What vendors added to it, for the exporter; empty for nothing.
    """

    protocol: str
    model: str
    traceparent: str
    tracestate: str

    def decode(self) -> InferRequest:
        """Parse; raises ``InvalidRequest`` or another ``PenstockError``."""
        ...

    def attribute(self, name: str) -> str:
        """Return the first value of a header or metadata key, in any case of letters; empty without one."""
        ...

    def encode(self, served: Served) -> Encoded_co:
        """Turn the answer into the edge's own form."""
        ...


class _Trace:
    """How far a request is, for its counts."""

    __slots__ = ("choice", "deadline", "exchange_s", "forwarded", "marks", "request", "rode_along", "sampled", "series")

    def __init__(self, arrived: float, sampled: RequestTrace | None) -> None:
        self.marks = [arrived]
        self.sampled = sampled
        self.request: InferRequest | None = None
        self.choice: Choice | None = None
        self.series: RequestSeries | None = None
        self.deadline = math.inf
        self.forwarded = False
        self.exchange_s = 0.0
        self.rode_along = False


class Pipeline:
    """Answers inference requests.

    Args:
        upstream: Where models run.
        routes: Which version answers.
        schemas: What versions take.
        admission: How many may be forwarded at once.
        recorder: Where everything is counted.
        journal: Who tells of single requests: spans and log lines.
        limits: Bounds on requests and on their time.
        mirroring: Who sends copies of answered requests elsewhere; None where no route is ever mirrored.
        answers: Remembers who answered requests of A/B tests; None where no route is ever one.
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
        journal: Journal | None = None,
        limits: Limits | None = None,
        mirroring: Mirroring | None = None,
        answers: AnswerMemory | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._upstream = upstream
        self._routes = routes
        self._schemas = schemas
        self._admission = admission
        self._recorder = recorder
        self._journal = journal or Journal()
        self._limits = limits or Limits()
        self._mirroring = mirroring
        self._answered = answers
        self._clock = clock
        self._sequences = SequencePins()

    async def serve(self, call: Call[Encoded_co]) -> Encoded_co:
        """Answer one request that has arrived completely, and count it, whatever happens.

        Raises:
            PenstockError: What to tell the client; a bare one for a defect of ours, whose details are in the log.
        """
        trace = _Trace(self._clock(), self._journal.begin(call.traceparent, call.tracestate))
        try:
            answer = await self._answer(call, trace)
        except BaseException as error:
            if (told := self._failed(call, trace, error)) is error:
                raise
            raise told from error
        self._count(call, trace, OK.outcome)
        return answer

    async def stream(self, call: Call[Encoded_co]) -> AsyncGenerator[Encoded_co, None]:
        """Answer one request of a stream: any number of responses for a decoupled model, one for any other.

        Whoever takes the responses closes the generator (``aclosing``), which ends the request in Triton too.

        Raises:
            PenstockError: As ``serve``, before any response or between two.
        """
        trace = _Trace(self._clock(), self._journal.begin(call.traceparent, call.tracestate))
        try:
            async with aclosing(self._answers(call, trace)) as answers:
                async for answer in answers:
                    yield answer
        except GeneratorExit:
            self._count(call, trace, CANCELLED)
            raise
        except BaseException as error:
            if (told := self._failed(call, trace, error)) is error:
                raise
            raise told from error
        self._count(call, trace, OK.outcome)

    def refused(self, protocol: str, model: str, error: PenstockError) -> None:
        """Count a request that its edge refused before it was complete."""
        known = model if self._routes.knows(model) else ""
        self._recorder.requests(protocol, known, None, "").finish(status_of(error).outcome, 0.0)

    async def _answer(self, call: Call[Encoded_co], trace: _Trace) -> Encoded_co:
        request, schema, choice = await self._prepared(call, trace)
        if schema.decoupled:
            raise Unimplemented(
                f"model '{request.model}' is decoupled: a request may have any number of responses; "
                "send it with ModelStreamInfer over gRPC"
            )
        return await self._one(call, trace, request, schema, choice)

    async def _answers(self, call: Call[Encoded_co], trace: _Trace) -> AsyncGenerator[Encoded_co, None]:
        request, schema, choice = await self._prepared(call, trace)
        if not schema.decoupled:
            yield await self._one(call, trace, request, schema, choice)
            return
        slot = await self._admitted(trace, request, choice, schema)
        begun, outcome = self._clock(), CANCELLED
        try:
            async with aclosing(self._streamed(request, choice.version, _left(trace.deadline, begun))) as responses:
                async for response in responses:
                    self._observe(response, schema, choice)
                    yield call.encode(Served(response, choice.role, decoupled=True))
            outcome = OK.outcome
        except PenstockError as error:
            outcome = status_of(error).outcome
            raise
        finally:
            # How long a stream takes says how much it had to say, and nothing about how busy Triton is.
            slot.leave(0.0, outcome)
        # A stream's answers are encoded between the exchange's parts: all of it is one, and nothing is left for after.
        trace.marks += [end := self._clock(), end]
        trace.exchange_s = end - begun
        if choice.mirror is not None and self._mirroring is not None:
            self._mirroring.skip_stream(request.model, choice)

    async def _prepared(self, call: Call[Encoded_co], trace: _Trace) -> tuple[InferRequest, ModelSchema, Choice]:
        """Decode, route and validate."""
        trace.request = request = call.decode()
        # Triton traces every request that carries a context: only those that are sampled do.
        request.traceparent = "" if trace.sampled is None else trace.sampled.upstream_traceparent
        wishes = parameters.take(request, self._limits) if request.parameters else parameters.NOTHING
        trace.deadline = trace.marks[0] + self._bound_s(request.deadline_s, wishes.timeout_s)
        trace.choice = choice = self._choice(request, wishes.key or request.key)
        trace.series = self._recorder.requests(call.protocol, request.model, choice.version, choice.role)
        trace.series.begin()

        schema = self._schemas.get(request.model, choice.version)
        if schema is None:
            left_s = _left(trace.deadline, self._clock())
            schema = await self._schemas.fetch(request.model, choice.version, left_s)
        check(request, schema, self._limits)
        trace.marks.append(self._clock())
        return request, schema, choice

    def _choice(self, request: InferRequest, key: str | None) -> Choice:
        choice = self._routes.pick(request.model, request.version, key)
        if request.sequence is None or choice.role is Role.PINNED:
            return choice
        start, end = (request.parameters.get(f"sequence_{flag}") is True for flag in ("start", "end"))
        route = self._routes.route(request.model)
        return self._sequences.choose(route, request.sequence, choice, start=start, end=end)

    async def _admitted(self, trace: _Trace, request: InferRequest, choice: Choice, schema: ModelSchema) -> Slot:
        """Wait for a place in flight."""
        slot = self._admission.enter(request.model, choice.version, decoupled=schema.decoupled, at_once=schema.at_once)
        if slot is None:
            slot = await self._admission.wait(
                request.model, choice.version, deadline=trace.deadline, priority=request.priority
            )
        now = self._clock()
        trace.marks.append(now)
        if now >= trace.deadline:
            slot.leave(0.0, EXPIRED)
            _left(trace.deadline, now)
        trace.forwarded = True
        return slot

    async def _one(
        self, call: Call[Encoded_co], trace: _Trace, request: InferRequest, schema: ModelSchema, choice: Choice
    ) -> Encoded_co:
        """Admit, forward, observe and encode one request that has one answer."""
        clock, mark = self._clock, trace.marks.append
        slot = await self._admitted(trace, request, choice, schema)
        begun, outcome = trace.marks[-1], CANCELLED
        try:
            response = await self._forward(request, choice.version, _left(trace.deadline, begun))
            outcome = OK.outcome
        except PenstockError as error:
            outcome = status_of(error).outcome
            raise
        finally:
            now = clock()
            slot.leave(now - begun, outcome)
        mark(now)
        trace.exchange_s, trace.rode_along = response.exchange_s, response.rode_along

        self._observe(response, schema, choice)
        answer = call.encode(Served(response, choice.role))
        mark(clock())
        if choice.mirror is not None and self._mirroring is not None:
            self._mirroring.offer(call, request, response, schema, choice, forward_s=now - begun)
        if choice.test is not None and request.id and self._answered is not None:
            self._answered.remember(request.model, choice.test, request.id, choice.version)
        return answer

    async def _streamed(
        self, request: InferRequest, version: int, timeout_s: float
    ) -> AsyncGenerator[InferResponse, None]:
        try:
            async for response in self._upstream.stream(request, version, timeout_s):
                response.id = request.id
                yield response
        except Unavailable:
            self._schemas.forget(request.model, version)
            raise

    async def _forward(self, request: InferRequest, version: int, timeout_s: float) -> InferResponse:
        try:
            response = await self._upstream.infer(request, version, timeout_s)
        except Unavailable:  # it may be that Triton has another version now of what this number stands for
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
        return min([self._limits.request_timeout_s, *(wish for wish in wishes if wish is not None)])

    def _failed(self, call: Call[Encoded_co], trace: _Trace, error: BaseException) -> BaseException:
        """Count a request that got no answer, and return what to tell its client."""
        if isinstance(error, asyncio.CancelledError):
            late = self._clock() > trace.deadline - _SAME_MOMENT_S
            self._count(call, trace, departed(forwarded=trace.forwarded, late=late), error)
        elif isinstance(error, DeadlineExceeded):
            self._count(call, trace, status_of(error).outcome if trace.forwarded else EXPIRED, error)
        elif isinstance(error, PenstockError) or not isinstance(error, Exception):
            self._count(call, trace, status_of(error).outcome, error)
        else:
            incident = uuid.uuid4().hex[:12]
            fields = {"incident": incident, "protocol": call.protocol, "model": call.model}
            if trace.sampled is not None:
                fields |= {"trace_id": f"{trace.sampled.trace_id:032x}", "span_id": f"{trace.sampled.server_id:016x}"}
            words = "incident %s: a %s request for model %r"
            _log.error(words, incident, call.protocol, call.model, exc_info=error, extra={FIELDS: fields})
            told = PenstockError(f"the gateway failed at this request (incident {incident}); its log has the details")
            self._count(call, trace, INTERNAL.outcome, told)
            return told
        return error

    def _count(self, call: Call[Encoded_co], trace: _Trace, outcome: str, error: BaseException | None = None) -> None:
        series, marks = trace.series, trace.marks
        if series is None:
            known = call.model if self._routes.knows(call.model) else ""
            series = self._recorder.requests(call.protocol, known, None, "")
        else:
            series.end()
        if outcome == OK.outcome:
            ended = marks[-1]
            series.answered(marks, trace.exchange_s, rode_along=trace.rode_along)
            if trace.choice is not None and trace.request is not None and len(trace.request.attempts) > 1:
                self._recorder.add(RETRIED, call.model, str(trace.choice.version))
        else:
            ended = self._clock()
        duration_s = ended - marks[0]
        series.finish(outcome, duration_s)
        if trace.sampled is not None or duration_s >= self._journal.from_s or error is not None:
            self._tell(call, trace, outcome, ended, error)

    def _tell(
        self, call: Call[Encoded_co], trace: _Trace, outcome: str, ended: float, error: BaseException | None
    ) -> None:
        """Tell of one request what the counts do not: its spans, its line in the log."""
        if trace.sampled is None and not self._journal.wants(outcome, ended - trace.marks[0]):
            return
        request, choice = trace.request, trace.choice
        self._journal.ended(
            Ended(
                protocol=call.protocol,
                model=call.model,
                version=None if choice is None else choice.version,
                role="" if choice is None else choice.role,
                outcome=outcome,
                request_id="" if request is None else request.id,
                marks=trace.marks,
                ended=ended,
                attempts=() if request is None else request.attempts,
                trace=trace.sampled,
                traceparent=call.traceparent,
                error="" if error is None else str(error),
            )
        )


def _left(deadline: float, now: float) -> float:
    left_s = deadline - now
    if left_s <= 0:
        raise DeadlineExceeded("the request's time was over before it could be forwarded; allow more time")
    return left_s
