"""The control protocol over gRPC: route tables out, statistics in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from services.controller.fleet import Fleet
from services.controller.route_board import RouteBoard
from services.controller.wire import checked_instance, report_from, table_message
from services.core.errors import Overloaded, PenstockError, status_of
from services.pb.penstock.v1 import routes_pb2, routes_pb2_grpc, statistics_pb2, statistics_pb2_grpc

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class RouteService(routes_pb2_grpc.RouteServiceServicer):  # type: ignore[misc] # generated code has no types
    """Streams the whole route table to every worker, at once and after every change.

    Args:
        board: Where the newest table is.
        max_watchers: Bound on the streams.
    """

    def __init__(self, board: RouteBoard, max_watchers: int = 1024) -> None:
        self._board = board
        self._max_watchers = max_watchers
        self.watchers = 0

    async def WatchRoutes(  # noqa: N802 - the name is the protocol's
        self, request: routes_pb2.WatchRoutesRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[routes_pb2.RouteTable]:
        """Send tables until the worker or the controller goes away; a slow worker gets only the newest."""
        try:
            checked_instance(request.instance)
            if self.watchers >= self._max_watchers:
                raise Overloaded(f"{self._max_watchers} workers watch already; that is the limit")
        except PenstockError as error:
            await _abort(context, error)
        self.watchers += 1
        try:
            generation = -1
            while (book := await self._board.newer_than(generation)) is not None:
                generation = book.generation
                yield table_message(book.table)
        finally:
            self.watchers -= 1


class StatisticsService(statistics_pb2_grpc.StatisticsServiceServicer):  # type: ignore[misc] # as above
    """Takes in what the workers saw.

    Args:
        fleet: Keeps the last report of every worker.
        board: Where the newest table is; its generation is the receipt.
    """

    def __init__(self, fleet: Fleet, board: RouteBoard) -> None:
        self._fleet = fleet
        self._board = board

    async def ReportStatistics(  # noqa: N802 - the name is the protocol's
        self, request: statistics_pb2.StatisticsReport, context: grpc.aio.ServicerContext
    ) -> statistics_pb2.StatisticsReceipt:
        """Take in one report."""
        try:
            self._fleet.report(report_from(request))
        except PenstockError as error:
            await _abort(context, error)
        book = self._board.book
        return statistics_pb2.StatisticsReceipt(generation=book.generation if book else 0)


async def _abort(context: grpc.aio.ServicerContext, error: PenstockError) -> None:
    await context.abort(_CODES[status_of(error).grpc], error.message)
