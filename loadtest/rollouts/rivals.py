"""What canary tools do instead: a threshold on the last minute, and a significance test that is looked at many times.

Both see the same answers at the same times as the analysis.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.core.counts.histogram import BUCKET_COUNT, LatencyHistogram
from services.core.counts.tally import Tally

_P99 = 0.99
_LEAST = 60
_WINDOW = 60  # looks, one a second


class Rival(Protocol):
    """A rule that decides about a rollback at every look."""

    name: str

    def rolls_back(self, step: int, stable: Tally, candidate: Tally) -> bool:
        """Take in what was answered since the last look and say whether to roll back now.

        Args:
            step: The rollout's step; evidence of one is not mixed with that of another.
            stable: What stable answered.
            candidate: What the candidate answered.
        """
        ...


class Threshold:
    """The p99 of the last minute over a multiple of stable's, or its errors over stable's by more than a share.

    Args:
        max_p99_ratio: The multiple.
        max_error_increase: The share.
    """

    name = "threshold on the last minute"

    def __init__(self, max_p99_ratio: float = 1.2, max_error_increase: float = 0.01) -> None:
        self._max_p99_ratio, self._max_error_increase = max_p99_ratio, max_error_increase
        self._step = -1
        self._minute: deque[tuple[Tally, Tally]] = deque()
        self._stable, self._candidate = Tally(), Tally()

    def rolls_back(self, step: int, stable: Tally, candidate: Tally) -> bool:
        """See ``Rival``."""
        if step != self._step:
            self._step = step
            self._minute.clear()
            self._stable, self._candidate = Tally(), Tally()
        self._minute.append((stable, candidate))
        self._stable += stable
        self._candidate += candidate
        if len(self._minute) > _WINDOW:
            gone, went = self._minute.popleft()
            self._stable -= gone
            self._candidate -= went
        theirs, mine = self._stable, self._candidate
        if min(theirs.requests, mine.requests) < _LEAST:
            return False
        p99, stable_p99 = mine.latency.quantile(_P99), theirs.latency.quantile(_P99)
        slower = p99 is not None and stable_p99 is not None and p99 > self._max_p99_ratio * stable_p99
        more = mine.failed / mine.requests - theirs.failed / theirs.requests > self._max_error_increase
        return slower or more


class MannWhitney:
    """Mann's and Whitney's test on the latencies of the step so far, at 5 %, looked at every time.

    With the correction for ties, as latencies come in buckets of a histogram.
    """

    name = "Mann-Whitney, peeking"
    _CRITICAL = 1.6449  # one-sided at 5 %

    def __init__(self) -> None:
        self._step = -1
        self._counts = np.zeros((2, BUCKET_COUNT))

    def rolls_back(self, step: int, stable: Tally, candidate: Tally) -> bool:
        """See ``Rival``."""
        if step != self._step:
            self._step = step
            self._counts[:] = 0.0
        for side, tally in enumerate((stable, candidate)):
            self._counts[side] += _dense(tally.latency)
        theirs, mine = self._counts
        n, m = theirs.sum(), mine.sum()
        if min(n, m) < _LEAST:
            return False
        both = theirs + mine
        below = np.cumsum(theirs) - theirs
        larger = float((mine * (below + theirs / 2)).sum())
        total = n + m
        ties = float((both**3 - both).sum())
        variance = n * m / 12 * ((total + 1) - ties / (total * (total - 1)))
        return bool(variance > 0 and (larger - n * m / 2) / math.sqrt(variance) > self._CRITICAL)


def _dense(latency: LatencyHistogram) -> npt.NDArray[np.float64]:
    dense = np.zeros(BUCKET_COUNT)
    dense[list(latency.counts)] = list(latency.counts.values())
    return dense
