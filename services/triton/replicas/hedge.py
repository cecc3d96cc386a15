"""When a request is worth a second attempt while the first still runs. Pure."""

from __future__ import annotations

import math

from services.triton.replicas.latency import LatencySketch

QUANTILE = 0.95


def hedge_after_s(latencies: LatencySketch, floor_s: float) -> float:
    """Return after how many seconds a request goes to a second replica too; infinity while nobody knows what is usual.

    At the 95th percentile one request in twenty is sent twice, which is what a budget of a fifth can carry, and the
    slowest answers become as fast as a second draw (Dean and Barroso, The Tail at Scale, 2013).
    """
    usual_s = latencies.quantile(QUANTILE)
    return math.inf if usual_s is None else max(usual_s, floor_s)
