"""How fast a precision is against FP32: measured in turns, in one run, at the batch size that is served.

Two runs one after the other compare the machine's moods. Here the models take turns within milliseconds, in changing
order, and each round gives one ratio; the median of the ratios is what the gate sees, with its spread beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeVar

ROUNDS = 15
SLICE_S = 0.01  # long against the clock's resolution, short against a neighbour's burst of work
MAX_REPEATS = 10_000

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Timing:
    """One model against the baseline.

    Attributes:
        seconds: Median time of one inference.
        ratio: Median of baseline's time over this one's.
        ratio_low: 10th percentile of that ratio over the rounds.
        ratio_high: 90th percentile.
        rounds: Number of rounds.
    """

    seconds: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int


def compare(
    runs: Mapping[Name, Callable[[], object]],
    baseline: Name,
    *,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, Timing]:
    """Time functions against one of them.

    Args:
        runs: One inference each, by name.
        baseline: The name that the others are compared with.
        rounds: How often each takes its turn.
        clock: Seconds that only grow.
    """
    repeats = {name: _repeats(run, clock) for name, run in runs.items()}
    seconds: dict[Name, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for _ in range(rounds):
        for name in order:
            seconds[name].append(_slice(runs[name], repeats[name], clock))
        order.reverse()  # who runs right after whom changes, so that neither gains from the other's warm cache
    return {name: _timing(seconds[baseline], mine) for name, mine in seconds.items()}


def _repeats(run: Callable[[], object], clock: Callable[[], float]) -> int:
    """Return how many inferences fill a slice; the first, cold one is thrown away."""
    run()
    once = min(_slice(run, 1, clock) for _ in range(3))
    return max(1, min(MAX_REPEATS, round(SLICE_S / max(once, 1e-9))))


def _slice(run: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        run()
    return (clock() - start) / repeats


def _timing(baseline: list[float], mine: list[float]) -> Timing:
    ratios = [theirs / own for theirs, own in zip(baseline, mine, strict=True)]
    deciles = quantiles(ratios, n=10, method="inclusive")
    return Timing(median(mine), median(ratios), deciles[0], deciles[-1], len(ratios))
