"""Reports a worker's tallies to the controller once a second; a report that is lost is made good by the next."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping

import grpc

from services.core.counts.comparison import Comparison
from services.core.counts.tally import Tally
from services.gateway.control.controllers import Controller, Controllers
from services.gateway.control.messages import report_from
from services.gateway.metrics.comparisons import ComparisonKey
from services.gateway.metrics.tallies import TallyKey
from services.gateway.routes import Routes
from services.pb.penstock.v1 import statistics_pb2, statistics_pb2_grpc

# For longer than the lead is free after its holder froze.
LAST_REPORT_S = 5.0
_LAST_PAUSE_S = 0.2
_SILENT_AFTER = 2
_log = logging.getLogger(__name__)


class StatisticsReporter:
    """Sends reports.

    Args:
        controllers: The controllers; reports go to the one that is followed.
        instance: This worker's name.
        tallies: Gives the present cumulative tallies.
        comparisons: Gives the present cumulative comparisons.
        without_room: Gives the models that cannot be counted completely.
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
        without_room: Callable[[], Collection[str]] = frozenset,
        period_s: float = 1.0,
        timeout_s: float = 2.0,
    ) -> None:
        self._controllers = controllers
        self._instance = instance
        self._tallies = tallies
        self._comparisons = comparisons
        self._without_room = without_room
        self._routes = routes
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._sequence = 0
        self._failures = 0
        self._heard = False

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self.report()
            await asyncio.sleep(self._period_s)

    async def report(self) -> None:
        """Send one report; a failure is logged when it is the first in a row."""
        chosen = self._controllers.chosen
        refusal = await self._send(self._message(), chosen)
        if refusal is None:
            self._failures = 0
            return
        if not self._failures:
            _log.warning("statistics do not reach the controller: %s", refusal)
        self._failures += 1
        if self._failures >= _SILENT_AFTER:
            # One that is frozen takes connections and answers nothing: its stream of routes would only be quiet.
            self._controllers.move_on(chosen)
            self._failures = 0

    async def report_last(self, within_s: float = LAST_REPORT_S) -> None:
        """Send the last report to one controller after the other, until one takes it: nothing will make it good.

        None takes it while the lead changes. Where none ever took a report each is asked once.

        Args:
            within_s: Longest time for all of it.
        """
        message, asked, refusal = self._message(), 0, "no controller answered in time"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._heard or asked < self._controllers.count:
                    chosen, asked = self._controllers.chosen, asked + 1
                    found = await self._send(message, chosen)
                    if found is None:
                        return
                    refusal = found
                    self._controllers.move_on(chosen)
                    await asyncio.sleep(_LAST_PAUSE_S)
        _log.warning("the last report of %s reached no controller: %s", self._instance, refusal)

    def _message(self) -> statistics_pb2.StatisticsReport:
        table = self._routes.table
        self._sequence += 1
        return report_from(
            self._instance,
            self._sequence,
            table.generation if table else 0,
            self._tallies(),
            self._comparisons(),
            without_room=self._without_room(),
        )

    async def _send(self, message: statistics_pb2.StatisticsReport, controller: Controller) -> str | None:
        """Return None when the controller has taken a report, else why it has not."""
        stub = statistics_pb2_grpc.StatisticsServiceStub(controller.channel)
        try:
            await stub.ReportStatistics(message, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            return f"{controller.address}: {error.code().name} {error.details()}"
        self._heard = True
        return None
