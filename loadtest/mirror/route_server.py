"""A controller that does nothing but hand out route tables and keep reports: a mirror can be turned on and off."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc

from services.core.errors import Unavailable
from services.pb.penstock.v1 import routes_pb2, routes_pb2_grpc, statistics_pb2, statistics_pb2_grpc

_THREADS = 16
_LOOK_EVERY_S = 0.05
_STOP_S = 2.0


class RouteServer(routes_pb2_grpc.RouteServiceServicer, statistics_pb2_grpc.StatisticsServiceServicer):  # type: ignore[misc] # generated code has no types
    """Both services of the control protocol, on a free loopback port. A context.

    Args:
        route: What is served at first.

    Attributes:
        address: HOST:PORT.
    """

    def __init__(self, route: routes_pb2.Route) -> None:
        self._table = routes_pb2.RouteTable(generation=1, routes=[route])
        self._reports: dict[str, statistics_pb2.StatisticsReport] = {}
        self._changed = threading.Condition()
        self._over = False
        self._server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix="routes"))
        routes_pb2_grpc.add_RouteServiceServicer_to_server(self, self._server)
        statistics_pb2_grpc.add_StatisticsServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._server.stop(_STOP_S).wait(2 * _STOP_S)

    def publish(self, route: routes_pb2.Route, workers: int, timeout_s: float = 30.0) -> None:
        """Send another route, and wait until so many workers serve with it.

        Raises:
            Unavailable: They did not take it in time.
        """
        with self._changed:
            generation = self._table.generation + 1
            self._table = routes_pb2.RouteTable(generation=generation, routes=[route])
            self._changed.notify_all()
        deadline = time.monotonic() + timeout_s
        while (found := self._serving(generation)) < workers:
            if time.monotonic() > deadline:
                raise Unavailable(f"{found} of {workers} workers took route table {generation} in {timeout_s:g} s")
            time.sleep(_LOOK_EVERY_S)

    def comparisons(self) -> list[Any]:
        """Return the comparisons that every worker last reported, cumulative since its start."""
        with self._changed:
            return [entry for report in self._reports.values() for entry in report.comparisons]

    def _serving(self, generation: int) -> int:
        with self._changed:
            return sum(report.served_generation >= generation for report in self._reports.values())

    def WatchRoutes(self, request: Any, context: Any) -> Iterator[routes_pb2.RouteTable]:  # noqa: N802, ARG002 - the protocol's
        """Send the table at once, and again after every change."""
        sent = 0
        while context.is_active():
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._table.generation > sent, timeout=1.0)  # noqa: B023 - in this round
                if self._over:
                    return
                table = self._table
            if table.generation > sent:
                sent = table.generation
                yield table

    def ReportStatistics(self, request: Any, context: Any) -> statistics_pb2.StatisticsReceipt:  # noqa: N802, ARG002 - as above
        """Keep a report."""
        with self._changed:
            self._reports[request.instance] = request
            return statistics_pb2.StatisticsReceipt(generation=self._table.generation)
