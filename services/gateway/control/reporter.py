"""Reports a worker's tallies to the controller once a second; a report that is lost is made good by the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import grpc

from services.core.counts.comparison import Comparison
from services.core.counts.tally import Tally
from services.gateway.control.controllers import Controllers
from services.gateway.control.messages import report_from
from services.gateway.metrics.comparisons import ComparisonKey
from services.gateway.metrics.tallies import TallyKey
from services.gateway.routes import Routes
from services.pb.penstock.v1 import statistics_pb2_grpc

_SILENT_AFTER = 2
_log = logging.getLogger(__name__)


class StatisticsReporter:
    """Sends reports.

    Args:
        controllers: The controllers; reports go to the one that is followed.
        instance: This worker's name.
        tallies: Gives the present cumulative tallies.
        comparisons: Gives the present cumulative comparisons.
        routes: For the generation that is served.
        period_s: Time from one report to the next.
        timeout_s: Longest time for one report.
    """

    def __init__(
        self,
        controllers: Controllers,
        instance: str,
        tallies: Callable[[], Mapping[TallyKey, Tally]],
        routes: Routes,
        *,
        comparisons: Callable[[], Mapping[ComparisonKey, Comparison]] = dict,
        period_s: float = 1.0,
        timeout_s: float = 2.0,
    ) -> None:
        self._controllers = controllers
        self._instance = instance
        self._tallies = tallies
        self._comparisons = comparisons
        self._routes = routes
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._sequence = 0
        self._failures = 0

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self.report()
            await asyncio.sleep(self._period_s)

    async def report(self) -> None:
        """Send one report; a failure is logged when it is the first in a row."""
        table = self._routes.table
        self._sequence += 1
        generation = table.generation if table else 0
        message = report_from(self._instance, self._sequence, generation, self._tallies(), self._comparisons())
        chosen = self._controllers.chosen
        stub = statistics_pb2_grpc.StatisticsServiceStub(chosen.channel)
        try:
            await stub.ReportStatistics(message, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            if not self._failures:
                _log.warning("statistics do not reach the controller: %s %s", error.code().name, error.details())
            self._failures += 1
            if self._failures >= _SILENT_AFTER:
                # One that is frozen takes connections and answers nothing: its stream of routes would only be quiet.
                self._controllers.move_on(chosen)
                self._failures = 0
            return
        self._failures = 0
