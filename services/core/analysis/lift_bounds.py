"""How the means of two versions' outcomes compare, at every sample size at once. Pure.

For a share, the evidence about one mean is that of ``bounds``. For other outcomes from 0 to 1 it is that of
empirical Bernstein bounds: exp(l sum(x_i - m) + (log(1 - l) + l) sum((x_i - e_i)^2)), with e_i known before x_i, is
a supermartingale for 0 <= l < 1 (Howard, Ramdas, McAuliffe and Sekhon, Ann. Statist. 49, 2021, theorem 4; the
inequality is Fan, Grama and Liu's, Electron. J. Probab. 20, 2015), and a mixture over l is one too.

Of two versions: if the one's mean is at most f times the other's, then for some m the one's is at most f m and the
other's at least m, and the product of the evidence against these two is a supermartingale. So the least product over
all m ever exceeds 1 / alpha with probability at most alpha. Both factors are log-convex in m, so is the product, and
its least is found by narrowing. That is stronger than comparing two separate bounds, for which alpha would be halved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from services.core.analysis import bounds
from services.core.rollouts.experiment import OutcomeKind, OutcomeSpec
from services.core.rollouts.outcomes import Totals

_TILTS: tuple[float, ...] = tuple(0.9 * math.exp2(-j / 2) for j in range(23))
_COSTS: tuple[float, ...] = tuple(-math.log1p(-tilt) - tilt for tilt in _TILTS)
_LOG_COUNT = math.log(len(_TILTS))
_GOLDEN = (math.sqrt(5) - 1) / 2
_NARROWINGS = 24
_BISECTIONS = 16
# A ratio beyond this many times the estimate, or under the estimate's share of the kind, is not bounded.
_SMALLEST = 1e-3


@dataclass(frozen=True, slots=True)
class Ratio:
    """The mean of an arm's outcomes as a multiple of stable's.

    Attributes:
        estimate: What was seen; None where stable's mean is 0.
        low: Surely at least, but for alpha.
        high: Surely at most, but for alpha; None where the outcomes bound it by nothing.
        log_evidence_above: Logarithm of the evidence that it is over 1.
        log_evidence_below: The same that it is under 1.
    """

    estimate: float | None
    low: float
    high: float | None
    log_evidence_above: float
    log_evidence_below: float


def evidence_above(outcome: OutcomeSpec, totals: Totals, mean: float) -> float:
    """Return the logarithm of the evidence against a mean of no more than ``mean``, on the scale from 0 to 1."""
    if outcome.kind is OutcomeKind.SHARE:
        return bounds.log_evidence(round(totals.total), totals.count, min(1.0, max(0.0, mean)))
    surplus = totals.total - totals.count * min(1.0, max(0.0, mean))
    terms = [tilt * surplus - cost * totals.deviation for tilt, cost in zip(_TILTS, _COSTS, strict=True)]
    highest = max(terms)
    return highest + math.log(sum(math.exp(term - highest) for term in terms)) - _LOG_COUNT


def evidence_below(outcome: OutcomeSpec, totals: Totals, mean: float) -> float:
    """Return the logarithm of the evidence against a mean of no less than ``mean``, on the scale from 0 to 1."""
    # The outcomes seen from the other end of the scale; the deviation is the same from there.
    return evidence_above(outcome, Totals(totals.count, totals.count - totals.total, totals.deviation), 1.0 - mean)


@lru_cache(maxsize=64)
def ratio_of(outcome: OutcomeSpec, arm: Totals, stable: Totals, alpha: float) -> Ratio:
    """Return how an arm's mean compares with stable's.

    Args:
        outcome: What the outcomes are.
        arm: The arm's.
        stable: Stable's.
        alpha: Probability with which each of the two bounds may ever be wrong.
    """
    if arm.mean is None or stable.mean is None:
        return Ratio(None, 0.0, None, 0.0, 0.0)
    above, below = _over(outcome, arm, stable, 1.0), _under(outcome, arm, stable, 1.0)
    mean = outcome.raw(stable.mean)
    if mean <= 0:
        return Ratio(None, 0.0, None, above, below)
    estimate, enough = outcome.raw(arm.mean) / mean, -math.log(alpha)
    low = _nearest(estimate, lambda share: _over(outcome, arm, stable, estimate * share) >= enough)
    high = _nearest(estimate, lambda share: _under(outcome, arm, stable, estimate / share) >= enough)
    return Ratio(estimate, estimate * low, estimate / high if high else None, above, below)


def _nearest(estimate: float, shown: Callable[[float], bool]) -> float:
    """Return the largest share of 1 for which something is shown; 0 where it is for none worth naming."""
    if estimate <= 0 or not shown(_SMALLEST):
        return 0.0
    low, high = _SMALLEST, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if shown(middle) else (low, middle)
    return low


def _over(outcome: OutcomeSpec, arm: Totals, stable: Totals, factor: float) -> float:
    """Return the logarithm of the evidence that the arm's mean is more than so many times stable's."""
    return _least(
        outcome,
        lambda mean: (
            evidence_above(outcome, arm, _on_scale(outcome, factor * mean))
            + evidence_below(outcome, stable, _on_scale(outcome, mean))
        ),
        # A mean under this one would put the arm's under the scale.
        outcome.low / factor if 0 < factor < 1 else outcome.low,
    )


def _under(outcome: OutcomeSpec, arm: Totals, stable: Totals, factor: float) -> float:
    """Return the logarithm of the evidence that the arm's mean is less than so many times stable's."""
    return _least(
        outcome,
        lambda mean: (
            evidence_below(outcome, arm, _on_scale(outcome, factor * mean))
            + evidence_above(outcome, stable, _on_scale(outcome, mean))
        ),
        # A mean over this one would put the arm's over the scale.
        most=outcome.high / factor if factor > 1 else outcome.high,
    )


def _on_scale(outcome: OutcomeSpec, mean: float) -> float:
    return min(1.0, max(0.0, (mean - outcome.low) / (outcome.high - outcome.low)))


def _least(
    outcome: OutcomeSpec, of: Callable[[float], float], least: float | None = None, most: float | None = None
) -> float:
    """Return the least of a convex function over the means that an outcome can have, by golden sections."""
    low = outcome.low if least is None else min(least, outcome.high)
    high = outcome.high if most is None else max(most, outcome.low)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = of(left), of(right)
    for _ in range(_NARROWINGS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = of(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = of(right)
    return min(at_left, at_right)
