"""Triton with dynamic batching and the gateway workers in front of it, simulated event by event: same seed, same run.

An instance that is free takes up to ``max_batch`` requests from one queue and needs ``base_s`` + ``row_s`` for each.
So latency grows with concurrency long before there is any queueing, which is what makes Triton's limit hard to find.
"""

from __future__ import annotations

import functools
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.core.errors import OK, DeadlineExceeded, status_of

DEADLINE = status_of(DeadlineExceeded()).outcome


class AnyLimit(Protocol):
    """What is simulated: a limit that learns from requests that left, and from those that found it reached."""

    @property
    def value(self) -> int: ...

    def pressed(self, now: float) -> None: ...

    def left(self, now: float, duration_s: float, in_flight: int, outcome: str) -> None: ...


class FixedLimit:
    """A limit that learns nothing."""

    def __init__(self, value: int) -> None:
        self.value = value

    def pressed(self, now: float) -> None:
        """Do nothing."""

    def left(self, now: float, duration_s: float, in_flight: int, outcome: str) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Server:
    """A model.

    Attributes:
        instances: Batches that run at once; a function of time where replicas come and go.
        max_batch: Largest batch.
        base_s: Cost of a batch.
        row_s: Cost of each request in it.
        noise: Sigma of the log-normal factor on each batch.
        stall: Chance that a batch takes ``stall_s`` longer: another process had the core.
        stall_s: How much longer.
        heavy: Share of requests that cost ``heavy_rows`` rows.
        heavy_rows: Their cost.
        slowness: Factor on every duration; a function of time.
        alive: Whether it answers; a function of time.
        way_s: Time on the way to it and back.
    """

    instances: Callable[[float], int] = lambda _: 1
    max_batch: int = 16
    base_s: float = 0.010
    row_s: float = 0.0005
    noise: float = 0.1
    stall: float = 0.0
    stall_s: float = 0.05
    heavy: float = 0.0
    heavy_rows: float = 20.0
    slowness: Callable[[float], float] = lambda _: 1.0
    alive: Callable[[float], bool] = lambda _: True
    way_s: float = 0.001


def always(_: float) -> float:
    """More requests than can be served, at all times."""
    return math.inf


@dataclass
class Worker:
    """A gateway worker.

    Attributes:
        limit: Its limit.
        demand: Requests per second as a function of time; infinite for as many as are let in.
        most_waiting: Requests that wait at the gate; one more is refused.
    """

    limit: AnyLimit
    demand: Callable[[float], float] = always
    most_waiting: int = 16
    in_flight: int = 0
    waiting: int = 0
    served: list[tuple[float, float]] = field(default_factory=list)
    values: list[tuple[float, int]] = field(default_factory=list)
    refused: int = 0
    timed_out: int = 0

    def throughput(self, begin: float, end: float) -> float:
        """Answers per second between two times."""
        return sum(begin <= time < end for time, _ in self.served) / (end - begin)

    def quantile_s(self, q: float, begin: float, end: float) -> float:
        """Quantile of the time in the server, of what was answered between two times."""
        durations = sorted(duration for time, duration in self.served if begin <= time < end)
        return durations[max(0, math.ceil(q * len(durations)) - 1)] if durations else math.inf

    def mean_limit(self, begin: float, end: float) -> float:
        """Mean of the limit between two times, looked at whenever a request left."""
        values = [value for time, value in self.values if begin <= time < end]
        return sum(values) / len(values) if values else math.nan


class _Request:
    __slots__ = ("done", "entered", "rows", "worker")

    def __init__(self, worker: Worker, entered: float, rows: float) -> None:
        self.worker = worker
        self.entered = entered
        self.rows = rows
        self.done = False


class _Simulation:
    def __init__(self, server: Server, workers: Sequence[Worker], seed: int, timeout_s: float) -> None:
        self._server = server
        self._workers = workers
        self._random = random.Random(seed)
        self._timeout_s = timeout_s
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self._queue: deque[_Request] = deque()
        self._running = 0

    def run(self, until: float) -> None:
        for worker in self._workers:
            if worker.demand is always:
                self._at(self._random.random() * 0.01, functools.partial(self._fill, worker))
            else:
                self._at(0.0, functools.partial(self._arrive, worker, count=False))
        self._at(0.0, self._tick)
        while self._events and self._events[0][0] < until:
            now, _, event = heapq.heappop(self._events)
            event(now)

    def _at(self, time: float, event: Callable[[float], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, event))

    def _tick(self, now: float) -> None:
        """Instances and life may change without a request."""
        self._start(now)
        self._at(now + 0.01, self._tick)

    def _arrive(self, worker: Worker, now: float, *, count: bool = True) -> None:
        if count:
            if worker.in_flight >= worker.limit.value:
                worker.limit.pressed(now)
            if worker.waiting < worker.most_waiting:
                worker.waiting += 1
                self._fill(worker, now)
            else:
                worker.refused += 1
        gap = self._random.expovariate(worker.demand(now))
        self._at(now + gap, functools.partial(self._arrive, worker))

    def _fill(self, worker: Worker, now: float) -> None:
        endless = worker.demand is always
        while (endless or worker.waiting) and worker.in_flight < worker.limit.value:
            worker.waiting -= not endless
            worker.in_flight += 1
            rows = self._server.heavy_rows if self._random.random() < self._server.heavy else 1.0
            request = _Request(worker, now, rows)
            self._at(now + self._server.way_s / 2, functools.partial(self._enqueue, request))
            self._at(now + self._timeout_s, functools.partial(self._expire, request))
        if endless:
            worker.limit.pressed(now)

    def _enqueue(self, request: _Request, now: float) -> None:
        self._queue.append(request)
        self._start(now)

    def _expire(self, request: _Request, now: float) -> None:
        if not request.done:
            request.worker.timed_out += 1
            self._leave(request, now, DEADLINE)

    def _start(self, now: float) -> None:
        server = self._server
        while self._queue and server.alive(now) and self._running < server.instances(now):
            batch: list[_Request] = []
            while self._queue and len(batch) < server.max_batch:
                request = self._queue.popleft()
                if not request.done:
                    batch.append(request)
            if not batch:
                return
            cost = server.base_s + server.row_s * sum(request.rows for request in batch)
            cost *= server.slowness(now) * math.exp(self._random.gauss(0.0, server.noise))
            if self._random.random() < server.stall:
                cost += server.stall_s
            self._running += 1
            self._at(now + cost, functools.partial(self._finish, batch))

    def _finish(self, batch: list[_Request], now: float) -> None:
        self._running -= 1
        self._start(now)
        for request in batch:
            leave = functools.partial(self._leave, request, outcome=OK.outcome)
            self._at(now + self._server.way_s / 2, leave)

    def _leave(self, request: _Request, now: float, outcome: str) -> None:
        if request.done:
            return
        request.done = True
        worker = request.worker
        if outcome == OK.outcome:
            worker.served.append((now, now - request.entered))
        worker.limit.left(now, now - request.entered, worker.in_flight, outcome)
        worker.values.append((now, worker.limit.value))
        worker.in_flight -= 1
        self._fill(worker, now)


def simulate(
    server: Server, workers: Sequence[Worker], until: float, *, seed: int = 1, timeout_s: float = 30.0
) -> None:
    """Run ``until`` that many seconds; what happened is in the workers."""
    _Simulation(server, workers, seed, timeout_s).run(until)


def best_fixed(server: Server, *, most: int = 200, seconds: float = 6.0, seed: int = 1) -> tuple[int, float]:
    """Return the smallest fixed limit with 97 % of the throughput that any has, and the most throughput of any."""
    found: dict[int, float] = {}
    value = 1
    while value <= most:
        worker = Worker(FixedLimit(value))
        simulate(server, [worker], seconds, seed=seed)
        found[value] = worker.throughput(seconds / 4, seconds)
        value = max(value + 1, value * 4 // 3)
    most_found = max(found.values())
    return min(value for value, rate in found.items() if rate >= 0.97 * most_found), most_found
