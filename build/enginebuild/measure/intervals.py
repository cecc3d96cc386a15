"""How sure a number is: intervals of shares, of paired differences and of anything that samples can be drawn for."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]

RESAMPLES = 1000
_STEPS = 60  # halvings of an interval of width 2: far beyond a double's resolution


def wilson(right: int, samples: int, confidence: float) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson, 1927); it holds near 0 and 1, where the normal one fails."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = right / samples, z * z / samples
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / samples + spread / (4 * samples)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_loss_bound(lost: int, won: int, samples: int, confidence: float) -> float:
    """Return the upper end of the one-sided score interval of a loss of share between two versions (Tango, 1998).

    Unlike a difference of two intervals it uses that both versions saw the same samples, and unlike a normal interval
    it is not zero where no sample changed sides: nothing lost in 450 samples still allows for 0.6 points at 95 %.

    Args:
        lost: Samples that only the reference has right.
        won: Samples that only the variant has right.
        samples: All samples.
        confidence: One-sided coverage, 0.5 to 1.
    """
    z = NormalDist().inv_cdf(confidence)
    low, high = (lost - won) / samples, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _tango(lost, won, samples, middle) > -z:
            low = middle
        else:
            high = middle
    return high


def _tango(lost: int, won: int, samples: int, difference: float) -> float:
    """Return the score statistic of a true difference of the shares."""
    a = 2 * samples
    b = -lost - won + (2 * samples - lost + won) * difference
    c = -won * difference * (1 - difference)
    q = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = samples * (2 * q + difference * (1 - difference))
    if variance <= 0:
        return 0.0 if lost - won == samples * difference else -math.inf
    return (lost - won - samples * difference) / math.sqrt(variance)


def bootstrap(value: Callable[[Indices], float], samples: int, seed: int, resamples: int = RESAMPLES) -> list[float]:
    """Return the values of a statistic over samples drawn with replacement, sorted; those that are no number left out.

    Args:
        value: The statistic of the samples with these indices.
        samples: How many there are.
        seed: The same seed draws the same samples.
        resamples: How often to draw.
    """
    generator = np.random.default_rng(seed)
    drawn = (float(value(generator.integers(0, samples, samples))) for _ in range(resamples))
    return sorted(number for number in drawn if math.isfinite(number))


def percentile(ordered: list[float], share: float) -> float:
    """Return the value below which a share of the ordered values lies; NaN of none."""
    return float(np.quantile(ordered, share)) if ordered else math.nan
