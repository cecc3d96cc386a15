"""A sampled request arrives at the collector as one tree of spans whose times add up; any other costs nothing."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.core.errors import Overloaded, Unavailable
from services.core.inference import Attempt, InferRequest
from services.core.tensor import Tensor
from services.gateway.admission import Admission
from services.gateway.journal import Journal
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.slab import SlabWriter, create_slab_file
from services.gateway.pipeline import Pipeline, Served
from services.gateway.routes import Routes
from services.gateway.schemas import SchemaCache
from services.gateway.tracing.context import RequestTrace, Sampler, joined_tracestate, parse
from services.gateway.tracing.ended import Ended
from services.gateway.tracing.export import SpanExport
from services.gateway.tracing.settings import TracingSettings
from tests.fakes import aio
from tests.fakes.otlp_receiver import OtlpReceiver, Received, otlp_receiver
from tests.fakes.upstream import FakeUpstream, standard_table

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
NOT_SAMPLED = f"00-{TRACE}-{SPAN}-00"


class ImageCall:
    """A request for ``digits`` as an edge would hold it."""

    def __init__(self, traceparent: str = "", protocol: str = "rest", model: str = "digits") -> None:
        self.protocol = protocol
        self.model = model
        self.traceparent = traceparent
        self.tracestate = "vendor=1"
        self.request = InferRequest(model, id="mine", inputs=[Tensor("image", "FP32", (1, 3), bytes(12))])

    def decode(self) -> InferRequest:
        return self.request

    def attribute(self, name: str) -> str:
        return ""

    def encode(self, served: Served) -> Served:
        return served


class Counted(dict[str, int]):
    """How many requests became what."""

    def __call__(self, result: str, count: int) -> None:
        self[result] = self.get(result, 0) + count


@asynccontextmanager
async def tracing_pipeline(
    folder: Path, collector: OtlpReceiver, upstream: FakeUpstream, counted: Counted, ratio: float = 0.0, **bounds: float
) -> AsyncIterator[Pipeline]:
    """A pipeline whose sampled requests go to the collector."""
    settings = TracingSettings(endpoint=collector.endpoint, sample_ratio=ratio, period_s=0.05, **bounds)  # type: ignore[arg-type]
    create_slab_file(folder / "slab")
    slab = SlabWriter(folder / "slab")
    routes = Routes()
    routes.replace(standard_table())
    schemas = SchemaCache(upstream, max_waiting=8)
    export = SpanExport(settings, "worker-1", counted)
    running = asyncio.create_task(export.run())
    try:
        yield Pipeline(
            upstream=upstream,
            routes=routes,
            schemas=schemas,
            admission=Admission(publish=slab.set_in_flight),
            recorder=Recorder(slab),
            journal=Journal(sampler=Sampler(ratio, random.Random(1)), spans=export),
        )
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await export.aclose()
        await schemas.aclose()


def named(spans: list[Received]) -> dict[str, Received]:
    """Return spans by name."""
    assert len({span.name for span in spans}) == len(spans)
    return {span.name: span for span in spans}


@pytest.mark.parametrize(
    ("protocol", "name", "about"),
    [
        ("rest", "POST /v2/models/{model}/infer", {"http.request.method": "POST", "http.response.status_code": 200}),
        ("grpc", "inference.GRPCInferenceService/ModelInfer", {"rpc.system": "grpc", "rpc.grpc.status_code": 0}),
    ],
)
def test_a_sampled_request_arrives_as_a_tree_whose_times_add_up(
    tmp_path: Path, protocol: str, name: str, about: dict[str, object]
) -> None:
    counted = Counted()
    upstream = FakeUpstream(delay_s=lambda: 0.02)

    async def go() -> None:
        async with tracing_pipeline(tmp_path, collector, upstream, counted) as pipeline:
            before = time.time_ns()
            await pipeline.serve(ImageCall(SAMPLED, protocol))
            after = time.time_ns()
            await aio.until(lambda: collector.spans)
        spans = named(collector.spans)
        assert set(spans) == {name, "edge", "admission", "forward", "answer"}
        server = spans.pop(name)
        assert (server.trace_id, server.parent_id, server.kind) == (TRACE, SPAN, 2)
        assert {span.trace_id for span in spans.values()} == {TRACE}
        assert {span.parent_id for span in spans.values()} == {server.span_id}
        assert len({span.span_id for span in spans.values()} | {server.span_id}) == 5
        # On the clock of the world, without gaps, the stages fill the request.
        assert before <= server.begin_ns <= server.end_ns <= after + 1_000_000
        ends = [spans[stage] for stage in ("edge", "admission", "forward", "answer")]
        assert ends[0].begin_ns == server.begin_ns
        assert ends[-1].end_ns == server.end_ns
        assert all(one.end_ns == other.begin_ns for one, other in itertools.pairwise(ends))
        assert spans["forward"].end_ns - spans["forward"].begin_ns >= 20_000_000
        ours: dict[str, object] = {"penstock.model.name": "digits", "penstock.outcome": "ok"}
        ours |= {"penstock.request.id": "mine", "penstock.model.version": 1, "penstock.role": "stable"}
        assert ours.items() <= server.attributes.items()
        assert about.items() <= server.attributes.items()
        assert (server.service, server.tracestate) == ("penstock-gateway", "vendor=1")
        # Triton is told that its spans belong to the way there.
        request, _version = upstream.requests[0]
        assert request.traceparent == f"00-{TRACE}-{spans['forward'].span_id}-01"
        assert counted == {"exported": 1, "dropped": 0}

    with otlp_receiver() as collector:
        aio.run(go())


@pytest.mark.parametrize("traceparent", ["", NOT_SAMPLED, "00-junk", SAMPLED.upper()])
def test_a_request_that_nobody_samples_has_no_spans_and_tells_triton_nothing(tmp_path: Path, traceparent: str) -> None:
    upstream = FakeUpstream()

    async def go() -> None:
        async with tracing_pipeline(tmp_path, collector, upstream, Counted()) as pipeline:
            call = ImageCall(traceparent)
            call.request.traceparent = SAMPLED  # whatever an edge may have put there
            await pipeline.serve(call)
        assert collector.spans == []
        assert upstream.requests[0][0].traceparent == ""

    with otlp_receiver() as collector:
        aio.run(go())


def test_the_ratio_samples_requests_without_a_trace_and_never_overrules_a_caller(tmp_path: Path) -> None:
    counted = Counted()

    async def go() -> None:
        async with tracing_pipeline(tmp_path, collector, FakeUpstream(), counted, ratio=1.0) as pipeline:
            await pipeline.serve(ImageCall())
            await pipeline.serve(ImageCall(NOT_SAMPLED))
            await pipeline.serve(ImageCall("a trace that makes no sense"))
            await aio.until(lambda: counted.get("exported") == 2)
        servers = [span for span in collector.spans if span.kind == 2]
        assert [span.parent_id for span in servers] == ["", ""]
        assert len({span.trace_id for span in servers} - {TRACE}) == 2

    with otlp_receiver() as collector:
        aio.run(go())


def test_a_failure_is_an_error_of_the_stage_it_happened_in(tmp_path: Path) -> None:
    upstream = FakeUpstream()

    async def go() -> None:
        async with tracing_pipeline(tmp_path, collector, upstream, Counted()) as pipeline:
            await pipeline.serve(ImageCall())  # the schema is known from here on
            upstream.error = Overloaded("full")
            with pytest.raises(Overloaded):
                await pipeline.serve(ImageCall(SAMPLED))
            upstream.error = Unavailable("gone")
            with pytest.raises(Unavailable):
                await pipeline.serve(ImageCall(SAMPLED))
            await aio.until(lambda: len(collector.spans) == 8)
        refused, failed = named(collector.spans[:4]), named(collector.spans[4:])
        for spans in (refused, failed):
            assert set(spans) == {"POST /v2/models/{model}/infer", "edge", "admission", "forward"}
        server = failed["POST /v2/models/{model}/infer"]
        assert server.error
        assert server.attributes["error.type"] == "unavailable"
        assert server.attributes["http.response.status_code"] == 503
        assert failed["forward"].error
        assert failed["forward"].end_ns == server.end_ns
        # A refusal is no fault of the server.
        assert not refused["POST /v2/models/{model}/infer"].error

    with otlp_receiver() as collector:
        aio.run(go())


def test_every_attempt_has_a_span_of_its_own_where_there_were_several() -> None:
    counted = Counted()
    trace = RequestTrace(int(TRACE, 16), int(SPAN, 16), "vendor=1,other=2", 7, 8)
    now = time.perf_counter()
    marks = [now, now + 0.001, now + 0.002, now + 0.030, now + 0.031]
    attempts = [
        Attempt("10.0.0.1:8000", now + 0.003, now + 0.010, "unavailable"),
        Attempt("[::1]:9000", now + 0.011, now + 0.029, "ok"),
    ]
    request = Ended("rest", "digits", 1, "stable", "ok", "", marks, marks[-1], attempts, trace, SAMPLED, "")

    async def go() -> None:
        export = SpanExport(TracingSettings(endpoint=collector.endpoint), "worker-1", counted)
        export.offer(request, trace)
        await export.aclose()

    with otlp_receiver() as collector:
        aio.run(go())
    forward = next(span for span in collector.spans if span.name == "forward")
    first, second = (span for span in collector.spans if span.name == "attempt")
    assert forward.span_id == f"{8:016x}"
    assert {first.parent_id, second.parent_id} == {forward.span_id}
    assert (first.kind, forward.kind) == (3, 1)
    assert (first.error, second.error) == (True, False)
    assert first.attributes["server.address"] == "10.0.0.1"
    assert (second.attributes["server.address"], second.attributes["server.port"]) == ("::1", 9000)
    assert forward.begin_ns < first.begin_ns < first.end_ns < second.begin_ns < second.end_ns < forward.end_ns
    assert {span.tracestate for span in collector.spans} == {"vendor=1,other=2"}


def test_a_collector_that_hangs_costs_spans_and_never_a_request(tmp_path: Path) -> None:
    counted = Counted()

    async def go() -> None:
        bounds = {"max_queue": 3, "max_batch": 2, "export_timeout_s": 1.0}
        collector.hold.clear()
        async with tracing_pipeline(tmp_path, collector, FakeUpstream(), counted, **bounds) as pipeline:
            async with asyncio.timeout(5):
                for _ in range(50):
                    await pipeline.serve(ImageCall(SAMPLED))
        assert sum(counted.values()) == 50
        assert counted["dropped"] >= 43

    with otlp_receiver() as collector:
        aio.run(go())


def test_a_collector_that_refuses_is_counted(tmp_path: Path) -> None:
    counted = Counted()

    async def go() -> None:
        collector.status = 400
        async with tracing_pipeline(tmp_path, collector, FakeUpstream(), counted) as pipeline:
            await pipeline.serve(ImageCall(SAMPLED))
            await aio.until(lambda: counted.get("failed") == 1)

    with otlp_receiver() as collector:
        aio.run(go())


def test_what_waits_is_sent_at_the_end(tmp_path: Path) -> None:
    counted = Counted()

    async def go() -> None:
        export = SpanExport(TracingSettings(endpoint=collector.endpoint, period_s=100.0), "worker-1", counted)
        running = asyncio.create_task(export.run())
        trace = RequestTrace(1, 0, "", 2, 3)
        for _ in range(5):
            export.offer(Ended("grpc", "m", 1, "", "ok", "", [1.0, 2.0], 2.0, (), trace, "", ""), trace)
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await export.aclose()
        export.offer(Ended("grpc", "m", 1, "", "ok", "", [1.0, 2.0], 2.0, (), trace, "", ""), trace)

    with otlp_receiver() as collector:
        aio.run(go())
    assert counted == {"exported": 5, "dropped": 1}


@pytest.mark.parametrize(
    "tracestate", ["=", ",,,", "a=\x00", "\xff=\xfe", "a=1" * 100, ", ".join(f"k{i}=v" for i in range(40))]
)
def test_a_tracestate_that_makes_no_sense_costs_no_span(tracestate: str) -> None:
    counted = Counted()
    trace = RequestTrace(int(TRACE, 16), int(SPAN, 16), tracestate, 7, 8)
    request = Ended("rest", "\udc80", 1, "stable", "ok", "\x00", [1.0, 2.0], 2.0, (), trace, SAMPLED, "")

    async def go() -> None:
        export = SpanExport(TracingSettings(endpoint=collector.endpoint), "worker-1", counted)
        export.offer(request, trace)
        await export.aclose()

    with otlp_receiver() as collector:
        aio.run(go())
    assert counted == {"exported": 1, "dropped": 0}


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        SAMPLED[:-1],
        SAMPLED + "0",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-0g",
        f" {SAMPLED}",
        f"{SAMPLED}\n",
        SAMPLED.replace("a", "A"),
        f"01-{TRACE}-{SPAN}-01more",
    ],
)
def test_a_malformed_traceparent_is_none_at_all(traceparent: str) -> None:
    assert parse(traceparent) is None


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        (SAMPLED, True),
        (NOT_SAMPLED, False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what the future brings", True),
    ],
)
def test_the_flag_and_later_versions_are_understood(traceparent: str, sampled: bool) -> None:
    parent = parse(traceparent)
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.sampled) == (int(TRACE, 16), int(SPAN, 16), sampled)


def test_tracestate_is_joined_from_its_headers_and_bounded() -> None:
    one = joined_tracestate("", b" a=1 ")
    assert joined_tracestate(one, b"b=2") == "a=1,b=2"
    assert joined_tracestate(one, b"c=" + b"x" * 600) == one


def test_the_ratio_is_the_share_that_is_sampled() -> None:
    sampler = Sampler(0.25, random.Random(5))
    share = sum(sampler.begin("") is not None for _ in range(10_000)) / 10_000
    assert 0.23 < share < 0.27
    assert Sampler(0.0).begin("") is None
