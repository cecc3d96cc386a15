"""The control protocol over gRPC: route tables out, statistics in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from services.controller.api.grpc_errors import CODES
from services.controller.election.leadership import Mandate, NotLeading
from services.controller.feedback import FeedbackIntake
from services.controller.gateways.fleet import Fleet
from services.controller.gateways.route_board import RouteBoard
from services.controller.gateways.wire import checked_instance, outcomes_from, report_from, table_message
from services.core.errors import Overloaded, PenstockError, status_of
from services.pb.penstock.v1 import (
    feedback_pb2,
    feedback_pb2_grpc,
    routes_pb2,
    routes_pb2_grpc,
    statistics_pb2,
    statistics_pb2_grpc,
)

# A worker that has no table yet takes one from any controller.
ANY_CONTROLLER = "penstock-any-controller"


class RouteService(routes_pb2_grpc.RouteServiceServicer):  # type: ignore[misc] # generated code has no types
    """Streams the whole route table to every worker, at once and after every change, while this controller leads.

    A follower's table may be behind, and what it does not know of it cannot tell: it refuses, with the leader's
    address, and the worker tries the next controller. Only a worker that has no table at all gets the follower's first.

    Args:
        board: Where the newest table is.
        mandate: Whether this process leads.
        max_watchers: Bound on the streams.
    """

    def __init__(self, board: RouteBoard, mandate: Mandate, max_watchers: int = 1024) -> None:
        self._board = board
        self._mandate = mandate
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
            while (book := await self._board.newer_than(generation, lambda: self._mandate.held)) is not None:
                generation = book.generation
                yield table_message(book.table)
            if not self._mandate.held:
                first = self._board.book
                if generation < 0 and first is not None and first.generation and _takes_any(context):
                    yield table_message(first.table)
                await _abort(context, NotLeading(self._mandate.refusal()))
        finally:
            self.watchers -= 1


class StatisticsService(statistics_pb2_grpc.StatisticsServiceServicer):  # type: ignore[misc] # as above
    """Takes in what the workers saw.

    Args:
        fleet: Keeps the last report of every worker.
        board: Where the newest table is; its generation is the receipt.
        mandate: Whether this process leads: what others are told is no evidence of theirs.
    """

    def __init__(self, fleet: Fleet, board: RouteBoard, mandate: Mandate) -> None:
        self._fleet = fleet
        self._board = board
        self._mandate = mandate

    async def ReportStatistics(  # noqa: N802 - the name is the protocol's
        self, request: statistics_pb2.StatisticsReport, context: grpc.aio.ServicerContext
    ) -> statistics_pb2.StatisticsReceipt:
        """Take in one report."""
        try:
            self._mandate.require()
            self._fleet.report(report_from(request))
        except PenstockError as error:
            await _abort(context, error)
        return statistics_pb2.StatisticsReceipt(generation=self._board.generation)


class FeedbackService(feedback_pb2_grpc.FeedbackServiceServicer):  # type: ignore[misc] # as above
    """Takes in what became of answers.

    Args:
        intake: Checks and stores it.
    """

    def __init__(self, intake: FeedbackIntake) -> None:
        self._intake = intake

    async def ReportOutcomes(  # noqa: N802 - the name is the protocol's
        self, request: feedback_pb2.OutcomeReport, context: grpc.aio.ServicerContext
    ) -> feedback_pb2.OutcomeReceipt:
        """Answer when the outcomes are stored."""
        try:
            taken = await self._intake.take(request.model, outcomes_from(request))
        except PenstockError as error:
            await _abort(context, error)
        return feedback_pb2.OutcomeReceipt(taken=taken)


def _takes_any(context: grpc.aio.ServicerContext) -> bool:
    return any(key == ANY_CONTROLLER for key, _ in context.invocation_metadata() or ())


async def _abort(context: grpc.aio.ServicerContext, error: PenstockError) -> None:
    await context.abort(CODES[status_of(error).grpc], error.message)
