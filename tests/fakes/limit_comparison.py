"""Limits side by side in front of a simulated Triton: ``python -m tests.fakes.limit_comparison``.

``Vegas``, ``Gradient2`` and ``Aimd`` follow Netflix's concurrency-limits with its default settings, sampled at every
request; they are here only to show why the gateway has none of them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

from services.core.errors import OK
from services.core.limit import KneeLimit
from tests.fakes.batching_server import AnyLimit, FixedLimit, Server, Worker, best_fixed, simulate

MOST = 512


class Vegas:
    """Estimates the queue as limit * (1 - shortest latency / latency) and holds it between two bounds."""

    def __init__(self) -> None:
        self._limit = 20.0
        self._shortest_s = math.inf
        self._count = 0

    @property
    def value(self) -> int:
        return int(self._limit)

    def pressed(self, now: float) -> None:
        """Ignore it."""

    def left(self, now: float, duration_s: float, in_flight: int, outcome: str) -> None:
        self._count += 1
        if self._count >= 30 * self._limit * 0.75:
            self._count, self._shortest_s = 0, duration_s
            return
        if duration_s < self._shortest_s:
            self._shortest_s = duration_s
            return
        step = max(1.0, math.log10(self._limit))
        queue = math.ceil(self._limit * (1 - self._shortest_s / duration_s))
        if outcome != OK.outcome:
            self._limit -= step
        elif in_flight * 2 >= self._limit:
            if queue <= step:
                self._limit += 6 * step
            elif queue < 3 * step:
                self._limit += step
            elif queue > 6 * step:
                self._limit -= step
        self._limit = max(1.0, min(MOST, self._limit))


class Gradient2:
    """Multiplies by long-term over present latency and allows for a queue of four."""

    def __init__(self) -> None:
        self._limit = 20.0
        self._long_s = 0.0

    @property
    def value(self) -> int:
        return int(self._limit)

    def pressed(self, now: float) -> None:
        """Ignore it."""

    def left(self, now: float, duration_s: float, in_flight: int, outcome: str) -> None:
        self._long_s += (duration_s - self._long_s) * (2 / 601 if self._long_s else 1.0)
        if self._long_s / duration_s > 2:
            self._long_s *= 0.9
        if in_flight >= self._limit / 2:
            gradient = max(0.5, min(1.0, self._long_s / duration_s))
            self._limit += 0.2 * (self._limit * gradient + 4 - self._limit)
            self._limit = max(20.0, min(MOST, self._limit))


class Aimd:
    """One more for every request in time, nine tenths for one that is not."""

    def __init__(self) -> None:
        self._limit = 20.0

    @property
    def value(self) -> int:
        return int(self._limit)

    def pressed(self, now: float) -> None:
        """Ignore it."""

    def left(self, now: float, duration_s: float, in_flight: int, outcome: str) -> None:
        if outcome != OK.outcome:
            self._limit *= 0.9
        elif in_flight * 2 >= self._limit:
            self._limit += 1
        self._limit = max(20.0, min(MOST, self._limit))


SERVERS = {
    "batches of 32 on a GPU": Server(max_batch=32, base_s=0.020, row_s=0.0001),
    "batches of 8, six instances": Server(instances=lambda _: 6, max_batch=8, base_s=0.020, row_s=0.0005),
    "rows cost most, batches of 64": Server(max_batch=64, base_s=0.003, row_s=0.001, noise=0.3),
    "no batching": Server(max_batch=1, base_s=0.007, row_s=0.0, noise=0.3),
    "bimodal requests": Server(heavy=0.1, heavy_rows=40),
    "noisy machine": Server(noise=0.4, stall=0.05),
}
LIMITS: dict[str, Callable[[], AnyLimit]] = {
    "knee": KneeLimit,
    "vegas": Vegas,
    "gradient2": Gradient2,
    "aimd": Aimd,
}


def compare(server: Server, make: Callable[[], AnyLimit], best: tuple[int, float], seconds: float, seed: int) -> str:
    """Return throughput as a share of the best, mean limit and p99 in Triton, after ten seconds."""
    worker = Worker(make())
    simulate(server, [worker], seconds, seed=seed)
    share = worker.throughput(10, seconds) / best[1]
    p99_ms = worker.quantile_s(0.99, 10, seconds) * 1e3
    return f"{share:6.0%} at {worker.mean_limit(10, seconds):4.0f}, p99 {p99_ms:5.0f} ms"


def main(seconds: float = 60.0) -> None:
    """Print a table."""
    for name, server in SERVERS.items():
        best = best_fixed(server)
        ideal = compare(server, lambda best=best: FixedLimit(best[0]), best, seconds, 1)  # type: ignore[misc]
        sys.stdout.write(f"{name}: {best[1]:.0f}/s at most\n  {'best fixed':10} {ideal}\n")
        for label, make in LIMITS.items():
            sys.stdout.write(f"  {label:10} {compare(server, make, best, seconds, 1)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
