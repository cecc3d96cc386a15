"""A gateway worker without clients, that knows every controller and reports answers that it made up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc

from loadtest.controller_kills.feedback import Feeder, OutcomeBook, Script
from services.core.counts.histogram import bucket_index
from services.core.route import Arm, Role, Route
from services.pb.penstock.v1 import routes_pb2, routes_pb2_grpc, statistics_pb2, statistics_pb2_grpc

_INSTANCE = "worker"
_PERIOD_S = 0.1
_FEED_S = 0.02
_FAST, _SLOW = bucket_index(0.010), bucket_index(0.020)
_TIMEOUT_S = 1.0
_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 300))
_JOIN_S = 15.0


class Split(NamedTuple):
    """What of the traffic stable does not get: the candidate's percent, and versions and percents of further arms."""

    weight_percent: int
    arms: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return ", ".join([f"{self.weight_percent} %", *(f"version {arm} at {weight} %" for arm, weight in self.arms)])


class Sighting(NamedTuple):
    """A route with a candidate that the worker was told to serve, and what was loaded at that moment."""

    model: str
    candidate: int
    split: Split
    versions: frozenset[int]
    loaded: frozenset[int]


class Worker:
    """Answers requests of every model by the table that it has. Used as a context.

    Attributes:
        muted: Whether it reports nothing, as one whose metrics are cut.
        per_period: Requests of each model in 0.1 s.
        failing: Versions whose answers are failures, by model.
        scripts: What becomes of the answers in A/B tests, by model.
        book: Which outcomes were told, and which were acknowledged.
        sightings: Every route with a candidate that it was told to serve, once each time.

    Args:
        addresses: HOST:PORT of every controller's gRPC.
        loaded: Says which versions of a model are ready, for the sightings.
        per_period: See above.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        loaded: Callable[[str], frozenset[int]] = lambda _model: frozenset(),
        *,
        per_period: int = 5000,
    ) -> None:
        self.muted = False
        self.per_period = per_period
        self.failing: dict[str, frozenset[int]] = {}
        self.scripts: dict[str, Script] = {}
        self.book = OutcomeBook()
        self.sightings: list[Sighting] = []
        self._loaded = loaded
        self._channels = [grpc.insecure_channel(address, options=_OPTIONS) for address in addresses]
        self._place = 0
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._routes: dict[str, routes_pb2.Route] = {}
        self._generation = 0
        self._counts: dict[tuple[str, int, str], list[int]] = {}
        self._copies: dict[tuple[str, int, int], list[int]] = {}
        work = (self._watch, self._report, self._feed)
        self._threads = [threading.Thread(target=each, name=each.__name__) for each in work]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for channel in self._channels:
            channel.close()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def answered(self, model: str, version: int, role: Role) -> int:
        """Return how many requests a version has answered in a role."""
        with self._lock:
            return self._counts.get((model, version, role.value), [0, 0])[0]

    def _watch(self) -> None:
        while not self._stopped.wait(_PERIOD_S):
            channel = self._channels[self._place]
            stub = routes_pb2_grpc.RouteServiceStub(channel)
            try:
                for table in stub.WatchRoutes(routes_pb2.WatchRoutesRequest(instance=_INSTANCE)):
                    self._take(table)
            except (grpc.RpcError, ValueError):  # it follows, it is gone, or the channel is closed: go round
                self._place = (self._place + 1) % len(self._channels)

    def _take(self, table: Any) -> None:
        if table.generation < self._generation:
            return
        for route in table.routes:
            if route.candidate:
                split = Split(route.weight_percent, tuple((arm.version, arm.weight_percent) for arm in route.arms))
                seen = (route.model, route.candidate, split, frozenset(route.versions))
                self.sightings.append(Sighting(*seen, self._loaded(route.model)))
        with self._lock:
            self._routes = {route.model: route for route in table.routes}
            self._generation = table.generation

    def _report(self) -> None:
        sequence = 0
        while not self._stopped.wait(_PERIOD_S):
            report = self._answer()
            if self.muted:
                continue
            sequence += 1
            report.sequence = sequence
            stub = statistics_pb2_grpc.StatisticsServiceStub(self._channels[self._place])
            try:
                stub.ReportStatistics(report, timeout=_TIMEOUT_S)
            except (grpc.RpcError, ValueError):  # a lost report changes nothing: counts are cumulative
                continue

    def _feed(self) -> None:
        feeder = Feeder(self.book)
        while not self._stopped.wait(_FEED_S):
            with self._lock:
                tests = [_route_from(route) for route in self._routes.values() if route.experiment]
            feeder.feed(tests, dict(self.scripts), self._channels[self._place])

    def _answer(self) -> Any:
        with self._lock:
            for route in self._routes.values():
                mine = self.per_period * route.weight_percent // 100
                others = {arm.version: self.per_period * arm.weight_percent // 100 for arm in route.arms}
                rest = self.per_period - mine - sum(others.values())
                self._count(route.model, route.stable, Role.STABLE, rest)
                challengers = {route.candidate: mine, **others} if route.candidate else {}
                for version, requests in challengers.items():
                    self._count(route.model, version, Role.CANDIDATE, requests)
                if route.HasField("mirror"):
                    self._copy(route, mine)
            return statistics_pb2.StatisticsReport(
                instance=_INSTANCE,
                served_generation=self._generation,
                tallies=[
                    statistics_pb2.Tally(
                        model=model,
                        version=version,
                        role=role,
                        requests=requests,
                        failed=failed,
                        latency=_latency(requests - failed),
                    )
                    for (model, version, role), (requests, failed) in self._counts.items()
                ],
                comparisons=[
                    statistics_pb2.Comparison(
                        model=model,
                        answered=answered,
                        mirrored=mirrored,
                        all=statistics_pb2.PairCounts(pairs=copies - failed),
                        failed=failed,
                        original=_latency(copies - failed),
                        copy=_latency(copies - failed),
                    )
                    for (model, answered, mirrored), (copies, failed) in self._copies.items()
                ],
            )

    def _count(self, model: str, version: int, role: Role, requests: int) -> None:
        counts = self._counts.setdefault((model, version, role.value), [0, 0])
        counts[0] += requests
        if version in self.failing.get(model, frozenset()):
            counts[1] += requests

    def _copy(self, route: Any, mine: int) -> None:
        """Copy what one version answered to the other, and a part of it to itself."""
        mirror = route.mirror
        to_candidate = mirror.version == route.candidate
        answered = route.stable if to_candidate else route.candidate
        requests = self.per_period - mine if to_candidate else mine
        failing = self.failing.get(route.model, frozenset())
        copies = 0 if answered in failing else requests * mirror.percent // 100
        floor = copies * mirror.floor_percent // 100
        for version, count in ((mirror.version, copies - floor), (answered, floor)):
            counts = self._copies.setdefault((route.model, answered, version), [0, 0])
            counts[0] += count
            counts[1] += count if version in failing else 0


def _route_from(message: Any) -> Route:
    """Return the route of an A/B test."""
    arms = tuple(Arm(arm.version, arm.weight_percent) for arm in message.arms)
    versions = frozenset(message.versions)
    shared = (message.candidate, message.weight_percent, versions)
    return Route(message.model, message.stable, *shared, arms=arms, experiment=True)


def _latency(good: int) -> Any:
    slow = good // 20
    return statistics_pb2.Histogram(bucket=[_FAST, _SLOW], count=[good - slow, slow], sum_s=0.01 * (good + slow))
