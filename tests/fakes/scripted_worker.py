"""A gateway worker without clients: speaks the real control protocol and reports answers that it made up."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import grpc

from services.core.histogram import bucket_index
from services.pb.penstock.v1 import routes_pb2, routes_pb2_grpc, statistics_pb2, statistics_pb2_grpc

_PERIOD_S = 0.1
_PER_PERIOD = 100
_BUCKET = bucket_index(0.010)


class ScriptedWorker:
    """Answers 100 requests of one model every 0.1 s by the table that it has. Used as a context.

    Args:
        port: The controller's gRPC port.
        model: The model.
    """

    def __init__(self, port: int, model: str) -> None:
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{port}",
            options=[("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300)],
        )
        self._model = model
        self._stopped = threading.Event()
        self._route: routes_pb2.Route | None = None
        self._generation = 0
        self._counts: dict[tuple[int, str], int] = {}
        self._threads = [threading.Thread(target=self._watch), threading.Thread(target=self._report)]
        self.weights: list[int] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._channel.close()
        for thread in self._threads:
            thread.join(10.0)
            assert not thread.is_alive()

    def _watch(self) -> None:
        stub = routes_pb2_grpc.RouteServiceStub(self._channel)
        while not self._stopped.wait(_PERIOD_S):
            try:
                for table in stub.WatchRoutes(routes_pb2.WatchRoutesRequest(instance="scripted")):
                    if table.generation >= self._generation:
                        self._route = next((r for r in table.routes if r.model == self._model), None)
                        self._generation = table.generation
                        if self._route is not None:
                            self.weights.append(self._route.weight_percent)
            except (grpc.RpcError, ValueError):  # the controller is away, or the channel is closed: try again, or stop
                continue

    def _report(self) -> None:
        stub = statistics_pb2_grpc.StatisticsServiceStub(self._channel)
        sequence = 0
        while not self._stopped.wait(_PERIOD_S):
            generation = self._answer()
            sequence += 1
            message = statistics_pb2.StatisticsReport(
                instance="scripted",
                sequence=sequence,
                served_generation=generation,
                tallies=[
                    statistics_pb2.Tally(
                        model=self._model,
                        version=version,
                        role=role,
                        requests=count,
                        latency=statistics_pb2.Histogram(bucket=[_BUCKET], count=[count], sum_s=0.01 * count),
                    )
                    for (version, role), count in self._counts.items()
                ],
            )
            try:
                stub.ReportStatistics(message, timeout=2.0)
            except (grpc.RpcError, ValueError):  # as above; a lost report changes nothing
                continue

    def _answer(self) -> int:
        route, generation = self._route, self._generation
        if route is not None:
            mine = _PER_PERIOD * route.weight_percent // 100
            self._count(route.stable, "stable", _PER_PERIOD - mine)
            if route.candidate:
                self._count(route.candidate, "candidate", mine)
        return generation

    def _count(self, version: int, role: str, requests: int) -> None:
        self._counts[version, role] = self._counts.get((version, role), 0) + requests
