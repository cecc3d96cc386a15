"""How sure a share is that was counted in independent trials."""

from __future__ import annotations

import math
from collections.abc import Callable

_BISECTIONS = 60


def confidence_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a binomial share (Clopper and Pearson, Biometrika 26, 1934).

    Args:
        successes: 0 to ``trials``.
        trials: 1 or more.
        confidence: Least probability with which it holds the true share, above 0 and below 1.
    """
    tail = (1 - confidence) / 2

    def at_least(share: float) -> float:
        return sum(_probability(k, trials, share) for k in range(successes, trials + 1))

    def more(share: float) -> float:
        return sum(_probability(k, trials, share) for k in range(successes + 1, trials + 1))

    low = _where(at_least, tail) if successes else 0.0
    high = _where(more, 1 - tail) if successes < trials else 1.0
    return low, high


def _probability(successes: int, trials: int, share: float) -> float:
    ways = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    return math.exp(ways + successes * math.log(share) + (trials - successes) * math.log1p(-share))


def _where(rising: Callable[[float], float], value: float) -> float:
    """Return the share, within 0 and 1, at which a rising function has a value."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if rising(middle) < value:
            low = middle
        else:
            high = middle
    return (low + high) / 2
