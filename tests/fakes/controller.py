"""A controller that hands out scripted route tables and keeps every report, on a real gRPC socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from services.controller.gateways.wire import table_message
from services.core.route import RouteTable
from services.pb.penstock.v1 import routes_pb2, routes_pb2_grpc, statistics_pb2, statistics_pb2_grpc


class FakeController(routes_pb2_grpc.RouteServiceServicer, statistics_pb2_grpc.StatisticsServiceServicer):  # type: ignore[misc]
    """Both services.

    Attributes:
        reports: Every report that came.
        watchers: Instances that ever watched, in order.
        port: Where it listens.
        hesitates_s: How long a watcher waits for its first table.
    """

    def __init__(self) -> None:
        self.reports: list[statistics_pb2.StatisticsReport] = []
        self.watchers: list[str] = []
        self.port = 0
        self.hesitates_s = 0.0
        self._message: routes_pb2.RouteTable | None = None
        self._changed = asyncio.Condition()

    async def publish(self, table: RouteTable | routes_pb2.RouteTable) -> None:
        """Send a table to every watcher, and to later ones at once."""
        async with self._changed:
            self._message = table_message(table) if isinstance(table, RouteTable) else table
            self._changed.notify_all()

    async def WatchRoutes(self, request: Any, _context: Any) -> AsyncIterator[Any]:  # noqa: N802
        self.watchers.append(request.instance)
        sent = None
        await asyncio.sleep(self.hesitates_s)
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda sent=sent: self._message is not sent)  # type: ignore[misc]
                sent = self._message
            yield sent

    async def ReportStatistics(self, request: Any, _context: Any) -> Any:  # noqa: N802
        self.reports.append(request)
        return statistics_pb2.StatisticsReceipt(generation=self._message.generation if self._message else 0)


@asynccontextmanager
async def controlling(port: int = 0, controller: FakeController | None = None) -> AsyncIterator[FakeController]:
    """Run a controller on a port, by default a free one."""
    controller = controller or FakeController()
    server = grpc.aio.server()
    routes_pb2_grpc.add_RouteServiceServicer_to_server(controller, server)
    statistics_pb2_grpc.add_StatisticsServiceServicer_to_server(controller, server)
    controller.port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield controller
    finally:
        await server.stop(None)
