"""Whether the workers' memory grows with the requests that they serve: a slope, its confidence, a verdict.

Resident memory moves in steps and drifts, so neighbouring samples are not independent: the least-squares slope's
standard error is taken at the effective number of samples of its residuals (first-order autocorrelation r,
n (1 - r) / (1 + r)), as for any AR(1) series.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loadtest.bench.measure import GATEWAY, Case, Measurement
from loadtest.bench.part import Part
from services.core.errors import PenstockError

CONCURRENCY = 32
LOOKS = 100
# The first requests fill caches and the allocator's arenas; growth there says nothing.
SETTLING_SHARE = 0.2
LEAST_SAMPLES = 12
# 95 % of a normal distribution on both sides.
Z = 1.96
MIB = 1024 * 1024
# What may be called flat: growth that takes ten million requests to fill 50 MiB.
TOLERANCE_BYTES_PER_MILLION = 5 * MIB
FLAT, GROWING, OPEN = "flat", "growing", "undecided"


@dataclass(frozen=True, slots=True)
class Growth:
    """How one worker's resident memory changes, in bytes per million requests of the whole gateway.

    Attributes:
        slope: Estimate.
        least: Lower end of its 95 % confidence interval.
        most: Upper end.
        first_bytes: Resident memory at the first sample that counts.
        last_bytes: At the last.
    """

    slope: float
    least: float
    most: float
    first_bytes: int
    last_bytes: int

    @property
    def verdict(self) -> str:
        """Flat or growing only where the whole interval is on one side of the tolerance."""
        if self.most <= TOLERANCE_BYTES_PER_MILLION:
            return FLAT
        return GROWING if self.least > TOLERANCE_BYTES_PER_MILLION else OPEN


def growth(requests: Sequence[int], resident_bytes: Sequence[int]) -> Growth:
    """Estimate the growth from samples, the first part of which is left out.

    Args:
        requests: Requests served at each sample, ascending.
        resident_bytes: Resident memory at each.

    Raises:
        PenstockError: There are too few samples.
    """
    skipped = int(len(requests) * SETTLING_SHARE)
    x = np.asarray(requests[skipped:], np.float64) / 1e6
    y = np.asarray(resident_bytes[skipped:], np.float64)
    if len(x) < LEAST_SAMPLES:
        raise PenstockError(f"{len(x)} samples of memory after warm-up, expected at least {LEAST_SAMPLES}: send more")
    centred = x - x.mean()
    slope = float((centred @ y) / (centred @ centred))
    rest = y - y.mean() - slope * centred
    squares = float(rest @ rest)
    r = min(0.99, max(0.0, float(rest[1:] @ rest[:-1]) / squares)) if squares > 0 else 0.0
    effective = max(3.0, len(x) * (1 - r) / (1 + r))
    error = math.sqrt(squares / (effective - 2) / float(centred @ centred) * len(x) / effective)
    return Growth(slope, slope - Z * error, slope + Z * error, int(y[0]), int(y[-1]))


def watch(
    measurement: Measurement, gateway: Part, protocols: Sequence[str], total: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Send that many requests through the gateway, the protocols in turn, and watch each worker's resident memory.

    Returns:
        Samples, growth and verdict of each worker, and the verdict on all of them, as JSON-able values.

    Raises:
        PenstockError: A request failed, a worker ended, or there are too few requests to say anything.
    """
    pids = sorted(worker.pid for worker in gateway.workers())
    chunk = max(1, total // LOOKS)
    sent: list[int] = []
    resident: dict[int, list[int]] = {pid: [] for pid in pids}
    while not sent or sent[-1] < total:
        protocol = protocols[len(sent) % len(protocols)]
        shot = measurement.shoot(Case(protocol, CONCURRENCY), GATEWAY, max(CONCURRENCY, chunk))
        sent.append((sent[-1] if sent else 0) + shot.requests)
        alive = {worker.pid: worker.memory_info().rss for worker in gateway.workers()}
        if sorted(alive) != pids:
            raise PenstockError(f"workers were {pids} and are {sorted(alive)}: one ended after {sent[-1]} requests")
        for pid in pids:
            resident[pid].append(int(alive[pid]))
        if len(sent) % 10 == 0:
            sizes = ", ".join(f"{size / MIB:.1f} MiB" for size in alive.values())
            say(f"{sent[-1]:,} of {total:,} requests: {sizes}")
    found = [growth(sent, resident[pid]) for pid in pids]
    verdicts = [one.verdict for one in found]
    return {
        "requests": sent,
        "workers": [
            {"pid": pid, "resident_bytes": resident[pid], **asdict(one), "verdict": one.verdict}
            for pid, one in zip(pids, found, strict=True)
        ],
        "verdict": GROWING if GROWING in verdicts else OPEN if OPEN in verdicts else FLAT,
    }


def sentences(result: dict[str, Any]) -> str:
    """Return the result in words, a line for each worker."""
    lines = [
        f"worker {number + 1}: {one['first_bytes'] / MIB:.1f} -> {one['last_bytes'] / MIB:.1f} MiB; "
        f"{one['slope'] / MIB:+.2f} MiB per million requests (95 %: {one['least'] / MIB:+.2f} to "
        f"{one['most'] / MIB:+.2f}): {one['verdict']}"
        for number, one in enumerate(result["workers"])
    ]
    bound = TOLERANCE_BYTES_PER_MILLION / MIB
    lines.append(
        f"{result['requests'][-1]:,} requests at {CONCURRENCY} connections, every one a success, first "
        f"{SETTLING_SHARE:.0%} not counted; flat means at most {bound:g} MiB per million: {result['verdict']}"
    )
    return "\n".join(lines) + "\n"
