"""One trace through a real gateway and a real Triton, as a collector receives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from services.core.address import Address
from services.core.replica_address import ReplicaAddress
from services.core.route import Route, RouteTable
from services.gateway.fleet import Endpoints, Fleet
from services.gateway.settings import Behaviour, GatewaySettings
from services.gateway.tracing.settings import TracingSettings
from services.triton.http import HttpPool
from services.triton.layout import RepositoryLayout
from services.triton.locate import locate
from services.triton.supervisor import TritonPorts, TritonSupervisor
from services.triton.triton_members import TritonConnections
from tests.fakes import aio, onnx_repository
from tests.fakes.controller import FakeController, controlling
from tests.fakes.otlp_receiver import OtlpReceiver, Received, otlp_receiver

pytestmark = pytest.mark.integration

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@asynccontextmanager
async def tracing_triton(folder: Path, collector: OtlpReceiver) -> AsyncIterator[TritonPorts]:
    """Run a Triton with version 1 of ``scale`` that sends its spans to the collector."""
    onnx_repository.scale(folder / "repository", versions=(1,))
    layout = RepositoryLayout(folder / "repository")
    supervisor = TritonSupervisor(
        locate(), layout, folder / "triton", ports=TritonPorts(0, 0, 0), trace_endpoint=collector.endpoint
    )
    async with supervisor:
        ports = supervisor.ports
        connections = TritonConnections(ReplicaAddress("127.0.0.1", ports.http, ports.grpc), layout)
        try:
            await connections.server.load("scale", frozenset({1}))
        finally:
            await connections.aclose()
        yield ports


@asynccontextmanager
async def tracing_gateway(
    folder: Path, triton: TritonPorts, collector: OtlpReceiver, controller: FakeController
) -> AsyncIterator[int]:
    """Run a gateway with one worker that sends its spans to the collector, and return its REST port."""
    behaviour = Behaviour(
        (ReplicaAddress("127.0.0.1", triton.http, triton.grpc),),
        (Address("127.0.0.1", controller.port),),
        tracing=TracingSettings(endpoint=collector.endpoint, period_s=0.1),
    )
    settings = GatewaySettings(behaviour, folder / "gateway", http_port=0, grpc_port=0, metrics_port=0, workers=1)
    announced: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    running = asyncio.create_task(Fleet(settings, announced.set_result).run(stop, asyncio.Event()))
    try:
        await aio.until(lambda: running.done() or announced.done())
        await aio.until((folder / "gateway" / "routes.json").exists)
        yield int(announced.result().rest.rpartition(":")[2])
    finally:
        stop.set()
        await running


@asynccontextmanager
async def routing() -> AsyncIterator[FakeController]:
    """Run a controller that routes ``scale`` to version 1."""
    async with controlling() as controller:
        await controller.publish(RouteTable(1, {"scale": Route("scale", 1, versions=frozenset({1}))}))
        yield controller


async def ask(port: int, traceparent: str) -> None:
    """Send one request."""
    body = orjson.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]})
    pool = HttpPool("127.0.0.1", port)
    headers = {"traceparent": traceparent} if traceparent else {}
    try:
        response = await pool.request("POST", "/v2/models/scale/infer", headers, (body,))
        assert response.status == 200, response.body
    finally:
        await pool.aclose()


def child_of(spans: list[Received], name: str, parent: Received) -> Received:
    """Return the span of a name that has this parent."""
    (found,) = [span for span in spans if span.name == name and span.parent_id == parent.span_id]
    return found


def test_triton_s_spans_hang_under_the_gateway_s_and_nothing_else_is_traced(tmp_path: Path) -> None:
    async def go() -> None:
        async with (
            routing() as controller,
            tracing_triton(tmp_path, collector) as triton,
            tracing_gateway(tmp_path, triton, collector, controller) as port,
        ):
            await ask(port, "")
            await ask(port, f"00-{'1' * 32}-{SPAN}-00")
            await ask(port, f"00-{TRACE}-{SPAN}-01")
            await aio.until(lambda: collector.of("triton") and collector.of("penstock-gateway"))

    with otlp_receiver() as collector:
        aio.run(go(), timeout_s=60.0)
    spans = collector.spans
    assert {span.trace_id for span in spans} == {TRACE}
    (server,) = [span for span in collector.of("penstock-gateway") if span.kind == 2]
    assert server.parent_id == SPAN
    forward = child_of(spans, "forward", server)
    theirs = child_of(collector.of("triton"), "InferRequest", forward)
    compute = child_of(spans, "compute", child_of(spans, "scale", theirs))
    # Both sides tell the time of one machine: each span lies within its parent. Triton's of the whole request may end a
    # moment after it was answered, and so after the gateway's; what it computed before cannot.
    for inner, outer in ((forward, server), (compute, theirs), (compute, forward)):
        assert outer.begin_ns <= inner.begin_ns < inner.end_ns <= outer.end_ns
    assert forward.begin_ns <= theirs.begin_ns
