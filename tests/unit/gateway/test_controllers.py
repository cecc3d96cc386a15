"""A worker that knows several controllers finds the one that leads, and leaves one that does not."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from services.controller.api.grpc_services import ANY_CONTROLLER as SERVED_ANY
from services.controller.api.grpc_services import RouteService, StatisticsService
from services.controller.election.leadership import Leader, Mandate
from services.controller.gateways.fleet import Fleet
from services.controller.gateways.route_board import RouteBoard
from services.controller.storage.store import RouteBook
from services.core.route import Route, RouteTable
from services.gateway.control.controllers import ANY_CONTROLLER, Controllers
from services.gateway.control.reporter import StatisticsReporter
from services.gateway.control.route_watch import RouteWatch
from services.gateway.routes import Routes
from services.pb.penstock.v1 import routes_pb2_grpc, statistics_pb2_grpc
from services.process.ports import choose_free_port
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import eventually, in_loop


class OneController:
    """The control protocol of one controller, that leads or not."""

    def __init__(self, board: RouteBoard) -> None:
        self.board = board
        self.mandate = Mandate(Leader("c", "here:9000", "here:9001"), FakeClock())
        self.fleet = Fleet(FakeClock(), lambda: board.generation)
        self.server = grpc.aio.server()
        routes = RouteService(board, self.mandate)
        routes_pb2_grpc.add_RouteServiceServicer_to_server(routes, self.server)
        statistics = StatisticsService(self.fleet, board, self.mandate)
        statistics_pb2_grpc.add_StatisticsServiceServicer_to_server(statistics, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def lead(self) -> None:
        self.mandate.grant(1, float("inf"))

    def follow(self) -> None:
        self.mandate.end("it follows")
        self.board.wake()


def book(generation: int) -> RouteBook:
    return RouteBook(generation, {"m": Route("m", 1, versions=frozenset({1}))}, {"m": generation})


@asynccontextmanager
async def controllers(count: int) -> AsyncIterator[list[OneController]]:
    running = [OneController(RouteBoard()) for _ in range(count)]
    for each in running:
        await each.server.start()
    try:
        yield running
    finally:
        for each in running:
            each.board.close()
            await each.server.stop(None)


@asynccontextmanager
async def worker(addresses: list[str], routes: Routes) -> AsyncIterator[Controllers]:
    known = Controllers(addresses)
    watch = RouteWatch(known, "w", routes, save=lambda _: None)
    reporter = StatisticsReporter(known, "w", dict, routes, period_s=0.05, timeout_s=0.2)
    tasks = [asyncio.create_task(watch.run()), asyncio.create_task(reporter.run())]
    try:
        yield known
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await known.aclose()


@in_loop
async def test_a_worker_goes_round_until_it_finds_the_leader_and_reports_to_it_alone() -> None:
    routes = Routes()
    async with controllers(3) as running:
        for each in running:
            each.board.publish(book(7))
        running[2].lead()
        async with worker([each.address for each in running], routes) as known:
            await eventually(lambda: running[2].fleet.live() == {"w"})
            assert known.chosen.address == running[2].address
            running[2].follow()
            running[0].lead()
            running[0].board.publish(book(8))
            await eventually(lambda: routes.table == book(8).table)
            await eventually(lambda: running[0].fleet.live() == {"w"})
        assert running[1].fleet.live() == frozenset()


@in_loop
async def test_a_worker_without_a_table_takes_one_from_a_follower_and_one_with_a_table_does_not() -> None:
    async with controllers(2) as running:
        running[1].board.publish(book(7))
        routes = Routes()
        async with worker([each.address for each in running], routes):
            await eventually(lambda: routes.table == book(7).table)
        has = Routes()
        newer = RouteTable(9, {"m": Route("m", 2, versions=frozenset({2}))})
        has.replace(newer)
        async with worker([each.address for each in running], has):
            await asyncio.sleep(0.5)
            assert has.table == newer


@in_loop
async def test_a_controller_that_takes_connections_and_answers_nothing_is_left() -> None:
    routes = Routes()
    # The kernel takes the connections, as it does for a process that is frozen.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with controllers(1) as running:
            running[0].board.publish(book(7))
            running[0].lead()
            async with worker([address, running[0].address], routes):
                await eventually(lambda: running[0].fleet.live() == {"w"})
                await eventually(lambda: routes.table == book(7).table)


@in_loop
async def test_the_only_controller_is_never_left() -> None:
    routes = Routes()
    async with worker([f"127.0.0.1:{choose_free_port()}"], routes) as known:
        first = known.chosen
        await asyncio.sleep(0.5)
        assert known.chosen is first
        assert not first.left.is_set()


@in_loop
async def test_the_last_report_goes_round_until_a_controller_leads() -> None:
    async with controllers(3) as running:
        known = Controllers([each.address for each in running])
        reporter = StatisticsReporter(known, "w", dict, Routes(), timeout_s=0.2)
        running[0].lead()
        await reporter.report()
        assert running[0].fleet.live() == {"w"}
        running[0].follow()
        ending = asyncio.create_task(reporter.report_last(within_s=25.0))
        await eventually(lambda: known.chosen.address != running[0].address)
        assert not ending.done()
        running[2].lead()
        await ending
        assert running[2].fleet.live() == {"w"}
        await known.aclose()


@in_loop
async def test_the_last_report_passes_by_a_controller_that_answers_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with controllers(1) as running:
            running[0].lead()
            known = Controllers([f"127.0.0.1:{silent.getsockname()[1]}", running[0].address])
            await StatisticsReporter(known, "w", dict, Routes(), timeout_s=0.2).report_last(within_s=25.0)
            assert running[0].fleet.live() == {"w"}
            await known.aclose()


@in_loop
async def test_nobody_waits_for_controllers_that_never_took_a_report(caplog: pytest.LogCaptureFixture) -> None:
    known = Controllers([f"127.0.0.1:{choose_free_port()}", f"127.0.0.1:{choose_free_port()}"])
    with caplog.at_level(logging.WARNING):
        await StatisticsReporter(known, "w", dict, Routes()).report_last(within_s=3600.0)
    assert "the last report of w reached no controller" in caplog.text
    await known.aclose()


def test_both_sides_mean_the_same_by_any_controller() -> None:
    assert ANY_CONTROLLER == SERVED_ANY
