"""A model behind Triton's dynamic batching, in virtual time: which rates keep an SLO follows from the queue alone."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from loadtest.schedule import Process, offsets
from loadtest.tune.configuration import Configuration
from loadtest.tune.goodput import Window
from loadtest.tune.target import Slo


@dataclass
class SimulatedModel:
    """A model with a known knee.

    Attributes:
        base_s: Time of a batch of any size.
        row_s: Time of each of its rows.
        cores: Instances that run at the same time; more of them slow each other down.
        fails: Configurations that Triton does not load.
        offered: Windows that were offered, as a measure of cost.
    """

    base_s: float
    row_s: float
    cores: int
    fails: frozenset[Configuration] = frozenset()
    offered: int = field(default=0)

    def offer(self, configuration: Configuration, rate: float, slo: Slo, seed: int = 1) -> Window:
        """Return what a rate gives."""
        self.offered += 1
        due = list(offsets(Process.POISSON, rate, seed, max(1.0, 400 / rate)))
        slow = sum(latency > slo.bound_s for latency in self._latencies(configuration, due))
        latencies = self._latencies(configuration, due)
        return Window(rate, len(due), slow, slo.tolerated(len(due)), slo.quantile_s(latencies))

    def _latencies(self, configuration: Configuration, due: list[float]) -> list[float]:
        """Return each request's latency: the batcher takes what waits, or waits for more, when an instance is free."""
        slowdown = max(1.0, configuration.instances / self.cores)
        preferred = configuration.preferred_sizes or [1]
        free = [0.0] * configuration.instances
        latencies: list[float] = []
        at = 0
        while at < len(due):
            begin = max(due[at], heapq.heappop(free))
            waiting = self._waiting(due, at, begin, configuration.max_batch)
            if waiting < min(preferred):  # for what is preferred it waits as long as the delay allows
                begin = max(begin, self._until(due, at, min(preferred), configuration.delay_us * 1e-6))
                waiting = self._waiting(due, at, begin, configuration.max_batch)
            size = max((size for size in preferred if size <= waiting), default=waiting)
            size = waiting if configuration.preferred_sizes == [] else size
            end = begin + (self.base_s + self.row_s * size) * slowdown
            latencies += [end - due[one] for one in range(at, at + size)]
            heapq.heappush(free, end)
            at += size
        return latencies

    def _waiting(self, due: list[float], at: int, now: float, most: int) -> int:
        count = 0
        while at + count < len(due) and due[at + count] <= now and count < most:
            count += 1
        return max(1, count)

    def _until(self, due: list[float], at: int, wanted: int, delay_s: float) -> float:
        last = at + wanted - 1
        return min(due[last] if last < len(due) else due[at] + delay_s, due[at] + delay_s)
