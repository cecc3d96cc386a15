import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.controller.api.grpc_server import GrpcServer, Services
from services.controller.api.grpc_services import FeedbackService, RouteService, StatisticsService
from services.controller.election.leadership import Leader, Mandate
from services.controller.feedback import FeedbackIntake
from services.controller.gateways.fleet import Fleet
from services.controller.gateways.route_board import RouteBoard
from services.controller.ledger import Ledger
from services.controller.storage.store import RouteBook
from services.core.errors import ConfigurationError
from services.core.route import Route
from services.pb.penstock.v1 import routes_pb2, routes_pb2_grpc, statistics_pb2, statistics_pb2_grpc
from tests.fakes.clock import FakeClock
from tests.fakes.control_plane import ControlPlane
from tests.fakes.store import FakeStore

pytestmark = pytest.mark.anyio
WAIT_S = 20.0


def no_feedback() -> FeedbackService:
    """Return a sink of outcomes in a controller that has no rollouts."""
    mandate = Mandate(Leader("me", "here:9000", "here:9001"), FakeClock(), epoch=1)
    return FeedbackService(FeedbackIntake(Ledger(FakeStore(), RouteBoard(), mandate, FakeClock()), mandate))


class Served:
    """A server on loopback with everything behind it."""

    def __init__(self) -> None:
        self.board = RouteBoard()
        self.fleet = Fleet(FakeClock(), lambda: self.board.generation, max_workers=2)
        self.mandate = Mandate(Leader("me", "here:9000", "here:9001"), FakeClock(), epoch=1)
        self.routes = RouteService(self.board, self.mandate, max_watchers=2)
        statistics = StatisticsService(self.fleet, self.board, self.mandate)
        self.rollouts = ControlPlane().rollouts()
        self.services = Services(self.routes, statistics, no_feedback(), self.rollouts)
        self.server = GrpcServer(self.services, "127.0.0.1", 0)
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.server.port}")

    def watch(self, instance: str = "worker-1") -> grpc.aio.UnaryStreamCall:
        stub = routes_pb2_grpc.RouteServiceStub(self.channel)
        return stub.WatchRoutes(routes_pb2.WatchRoutesRequest(instance=instance))

    async def report(self, **fields: Any) -> Any:
        stub = statistics_pb2_grpc.StatisticsServiceStub(self.channel)
        return await stub.ReportStatistics(statistics_pb2.StatisticsReport(**fields), timeout=WAIT_S)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.server.start()
    yield served
    served.board.close()
    await served.channel.close()
    await served.server.stop()


def book(generation: int, weight: int) -> RouteBook:
    return RouteBook(generation, {"m": Route("m", 1, 2, weight, frozenset({1, 2}))}, {"m": generation})


async def test_a_watch_gets_the_whole_table_at_once_and_again_after_every_change(served: Served) -> None:
    served.board.publish(book(7, 5))
    call = served.watch()
    async with asyncio.timeout(WAIT_S):
        first = await call.read()
        assert (first.generation, first.routes[0].weight_percent, first.routes[0].changed) == (7, 5, 7)
        served.board.publish(book(8, 25))
        second = await call.read()
    assert (second.generation, second.routes[0].weight_percent, second.routes[0].changed) == (8, 25, 8)
    call.cancel()


async def test_a_watch_before_the_first_table_waits_and_sends_no_empty_one(served: Served) -> None:
    call = served.watch()
    reading = asyncio.ensure_future(call.read())
    await served.report(instance="worker-1", sequence=1)
    assert not reading.done()
    served.board.publish(book(7, 5))
    async with asyncio.timeout(WAIT_S):
        assert (await reading).generation == 7
    call.cancel()


async def test_the_streams_end_with_the_controller(served: Served) -> None:
    served.board.publish(book(7, 5))
    call = served.watch()
    async with asyncio.timeout(WAIT_S):
        await call.read()
        served.board.close()
        assert await call.read() is grpc.aio.EOF


async def test_watches_are_bounded_and_one_that_went_away_makes_room(served: Served) -> None:
    served.board.publish(book(7, 5))
    calls = [served.watch(f"worker-{index}") for index in range(2)]
    async with asyncio.timeout(WAIT_S):
        for call in calls:
            await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await served.watch("one-too-many").read()
        assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        calls[0].cancel()
        while served.routes.watchers == 2:  # noqa: ASYNC110 - the end of a stream is not announced
            await asyncio.sleep(0.01)
        again = served.watch("worker-3")
        assert (await again.read()).generation == 7
    again.cancel()
    calls[1].cancel()


async def test_a_report_is_kept_and_answered_with_the_newest_generation(served: Served) -> None:
    assert (await served.report(instance="worker-1", sequence=1)).generation == 0
    served.board.publish(book(7, 5))
    receipt = await served.report(
        instance="worker-1",
        sequence=2,
        served_generation=7,
        tallies=[statistics_pb2.Tally(model="m", version=1, role="stable", requests=12)],
    )
    assert receipt.generation == 7
    assert served.fleet.sightings("m", 1, 2)["worker-1"].stable.requests == 12


async def test_a_wrong_report_is_refused_with_words_and_one_worker_too_many_too(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await served.report(instance="")
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "instance" in (refusal.value.details() or "")
    for index in range(2):
        await served.report(instance=f"worker-{index}", sequence=1)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await served.report(instance="worker-9", sequence=1)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_health_is_served(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    for service in ("", "penstock.v1.RouteService", "penstock.v1.StatisticsService", "penstock.v1.RolloutService"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_port_in_use_is_refused_with_words(served: Served) -> None:
    with pytest.raises(ConfigurationError, match=str(served.server.port)):
        GrpcServer(served.services, "127.0.0.1", served.server.port)
