"""A comparison of the 99th percentiles."""

from __future__ import annotations

import math

from services.core.analysis import bounds
from services.core.analysis.checks.sides import Numbers, Sides, milliseconds
from services.core.analysis.verdict import Check, Outcome
from services.core.counts.histogram import BUCKET_COUNT, LatencyHistogram, upper_bound_s

P99 = 0.99


def p99(sides: Sides, max_ratio: float, floor_s: float) -> Check:
    """Is the candidate's p99 latency more than ``max_ratio`` times stable's, and by more than ``floor_s``?"""
    stable, candidate = sides.stable.latency, sides.candidate.latency
    estimate, stable_estimate = candidate.quantile(P99), stable.quantile(P99)
    lower, stable_upper = _at_least(candidate, sides.alpha), _at_most(stable, sides.alpha)
    numbers: Numbers = {
        "candidate_answers": candidate.total,
        "candidate_p99_s": estimate,
        "candidate_p99_lower_s": lower,
        "stable_answers": stable.total,
        "stable_p99_s": stable_estimate,
        "stable_p99_upper_s": stable_upper,
        "max_p99_ratio": max_ratio,
        "p99_floor_s": floor_s,
        "alpha": sides.alpha,
        "beta": sides.beta,
    }
    if estimate is None or stable_estimate is None:
        return Check("p99", Outcome.INCONCLUSIVE, numbers, "p99: one side has no answers")

    def allowed(stable_s: float) -> float:
        return max(max_ratio * stable_s, stable_s + floor_s)

    text = (
        f"p99: candidate {milliseconds(estimate)} (surely at least {milliseconds(lower)}), stable "
        f"{milliseconds(stable_estimate)} (surely at most {milliseconds(stable_upper)}), allowed {max_ratio:g} times "
        f"stable's and {milliseconds(floor_s)} in any case"
    )
    if lower is not None and stable_upper is not None and lower > allowed(stable_upper):
        return Check("p99", Outcome.FAIL, numbers, text)
    if not sides.final:
        within = estimate <= allowed(stable_estimate)
        return Check("p99", Outcome.PASS if within else Outcome.INCONCLUSIVE, numbers, text)
    upper, stable_lower = _at_most(candidate, sides.beta), _at_least(stable, sides.beta)
    numbers |= {"candidate_p99_upper_s": upper, "stable_p99_lower_s": stable_lower}
    text += f"; candidate surely at most {milliseconds(upper)}, stable surely at least {milliseconds(stable_lower)}"
    within = upper is not None and stable_lower is not None and upper <= allowed(stable_lower)
    return Check("p99", Outcome.PASS if within else Outcome.INCONCLUSIVE, numbers, text)


def _at_least(histogram: LatencyHistogram, alpha: float) -> float | None:
    """Return what the p99 surely is at least: the lower edge of the bucket of the observation that bounds it."""
    rank = bounds.rank_below_quantile(histogram.total, P99, alpha)
    if rank is None:
        return None
    index = _bucket_at_rank(histogram, rank)
    return upper_bound_s(index - 1) if index else 0.0


def _at_most(histogram: LatencyHistogram, alpha: float) -> float | None:
    """Return what the p99 surely is at most: the upper edge of that bucket; None for the open last one."""
    rank = bounds.rank_above_quantile(histogram.total, P99, alpha)
    if rank is None:
        return None
    edge = upper_bound_s(_bucket_at_rank(histogram, rank))
    return edge if math.isfinite(edge) else None


def _bucket_at_rank(histogram: LatencyHistogram, rank: int) -> int:
    seen = 0
    for index in sorted(histogram.counts):
        seen += histogram.counts[index]
        if seen >= rank:
            return index
    return BUCKET_COUNT - 1
