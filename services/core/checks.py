"""The single checks of an analysis, each a pure function from two tallies to a ``Check``.

Harm is shown when the candidate's bound on its good side is still worse than stable's bound on its bad side by more
than the tolerance; each of the two bounds is wrong with probability ``alpha`` at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.core import bounds
from services.core.histogram import BUCKET_COUNT, LatencyHistogram, upper_bound_s
from services.core.tally import Tally
from services.core.verdict import Check, Outcome

P99 = 0.99


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared, and how sure each single bound must be.

    Attributes:
        stable: What stable answered.
        candidate: What the candidate answered in the same time.
        alpha: Probability with which each one-sided bound may be wrong.
    """

    stable: Tally
    candidate: Tally
    alpha: float


def contradiction(stable: Tally, candidate: Tally) -> Check | None:
    """Return an error where counts contradict themselves, so that nothing can be concluded from them."""
    for side, tally in (("stable", stable), ("candidate", candidate)):
        if min(tally.requests, tally.failed, tally.non_finite) < 0 or tally.failed > tally.requests:
            return Check(
                "counts",
                Outcome.ERROR,
                {"requests": tally.requests, "failed": tally.failed, "non_finite": tally.non_finite},
                f"the counts of {side} contradict themselves: {tally.failed} failed and {tally.non_finite} not finite "
                f"of {tally.requests} requests",
            )
    return None


def _bad(tally: Tally) -> int:
    return min(tally.requests, tally.failed + tally.non_finite)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def sample(sides: Sides, min_requests: int) -> Check:
    """Are there enough answers on both sides? Failures do not count: an outage is no evidence."""
    numbers = {
        "stable_answers": sides.stable.answers,
        "candidate_answers": sides.candidate.answers,
        "min_requests": min_requests,
    }
    enough = min(numbers["stable_answers"], numbers["candidate_answers"]) >= min_requests
    text = (
        f"the candidate answered {numbers['candidate_answers']} requests and stable {numbers['stable_answers']}; "
        f"at least {min_requests} each were asked for"
    )
    return Check("requests", Outcome.PASS if enough else Outcome.INCONCLUSIVE, numbers, text)


def stable_health(sides: Sides, max_stable_error: float) -> Check:
    """Is stable well enough to compare with? Two versions that both fail are equal, and that proves nothing."""
    n, k = sides.stable.requests, _bad(sides.stable)
    share = k / n if n else None
    numbers = {"stable_requests": n, "stable_bad": k, "stable_share": share, "max_stable_error": max_stable_error}
    if share is None:
        return Check("stable", Outcome.INCONCLUSIVE, numbers, "stable answered nothing to compare with")
    if share > max_stable_error:
        text = (
            f"stable itself gives {_percent(share)} bad answers, more than {_percent(max_stable_error)}: "
            "nothing can be learned from a comparison"
        )
        return Check("stable", Outcome.INCONCLUSIVE, numbers, text)
    return Check("stable", Outcome.PASS, numbers, f"stable gives {_percent(share)} bad answers")


def errors(sides: Sides, max_increase: float) -> Check:
    """Does the candidate give more bad answers, failed or not finite, than stable?"""
    stable_n, stable_k = sides.stable.requests, _bad(sides.stable)
    n, k = sides.candidate.requests, _bad(sides.candidate)
    numbers: dict[str, float | int | None] = {
        "candidate_requests": n,
        "candidate_bad": k,
        "stable_requests": stable_n,
        "stable_bad": stable_k,
        "max_error_increase": max_increase,
        "alpha": sides.alpha,
    }
    if not n or not stable_n:
        return Check("errors", Outcome.INCONCLUSIVE, numbers, "errors: one side has no requests")
    share, stable_share = k / n, stable_k / stable_n
    lower, stable_upper = bounds.lower_share(k, n, sides.alpha), bounds.upper_share(stable_k, stable_n, sides.alpha)
    numbers |= {
        "candidate_share": share,
        "candidate_lower": lower,
        "stable_share": stable_share,
        "stable_upper": stable_upper,
    }
    text = (
        f"bad answers: candidate {_percent(share)} (surely at least {_percent(lower)}), "
        f"stable {_percent(stable_share)} (surely at most {_percent(stable_upper)}), "
        f"allowed increase {_percent(max_increase)}"
    )
    if lower - stable_upper > max_increase:
        return Check("errors", Outcome.FAIL, numbers, text)
    within = share - stable_share <= max_increase
    return Check("errors", Outcome.PASS if within else Outcome.INCONCLUSIVE, numbers, text)


def _bucket_at_rank(histogram: LatencyHistogram, rank: int) -> int:
    seen = 0
    for index in sorted(histogram.counts):
        seen += histogram.counts[index]
        if seen >= rank:
            return index
    return BUCKET_COUNT - 1


def _no_more_than(histogram: LatencyHistogram, rank: int | None) -> float | None:
    """Return the lower edge of the bucket that holds the rank-th smallest observation, seconds."""
    if rank is None:
        return None
    index = _bucket_at_rank(histogram, rank)
    return upper_bound_s(index - 1) if index else 0.0


def _no_less_than(histogram: LatencyHistogram, rank: int | None) -> float | None:
    """Return the upper edge of the bucket that holds the rank-th smallest observation; None for the open last one."""
    if rank is None:
        return None
    edge = upper_bound_s(_bucket_at_rank(histogram, rank))
    return edge if math.isfinite(edge) else None


def _ms(seconds: float | None) -> str:
    return "not bounded yet" if seconds is None else f"{1000 * seconds:.2f} ms"


def p99(sides: Sides, max_ratio: float, floor_s: float) -> Check:
    """Is the candidate's p99 latency more than ``max_ratio`` times stable's, and by more than ``floor_s``?"""
    stable_latency, latency = sides.stable.latency, sides.candidate.latency
    n, stable_n = latency.total, stable_latency.total
    estimate, stable_estimate = latency.quantile(P99), stable_latency.quantile(P99)
    lower = _no_more_than(latency, bounds.rank_below_quantile(n, P99, sides.alpha))
    stable_upper = _no_less_than(stable_latency, bounds.rank_above_quantile(stable_n, P99, sides.alpha))
    numbers: dict[str, float | int | None] = {
        "candidate_answers": n,
        "candidate_p99_s": estimate,
        "candidate_p99_lower_s": lower,
        "stable_answers": stable_n,
        "stable_p99_s": stable_estimate,
        "stable_p99_upper_s": stable_upper,
        "max_p99_ratio": max_ratio,
        "p99_floor_s": floor_s,
        "alpha": sides.alpha,
    }
    if estimate is None or stable_estimate is None:
        return Check("p99", Outcome.INCONCLUSIVE, numbers, "p99: one side has no answers")
    text = (
        f"p99: candidate {_ms(estimate)} (surely at least {_ms(lower)}), stable {_ms(stable_estimate)} "
        f"(surely at most {_ms(stable_upper)}), allowed {max_ratio:g} times stable's and {_ms(floor_s)} in any case"
    )
    if lower is not None and stable_upper is not None and lower > max(max_ratio * stable_upper, stable_upper + floor_s):
        return Check("p99", Outcome.FAIL, numbers, text)
    within = estimate <= max(max_ratio * stable_estimate, stable_estimate + floor_s)
    return Check("p99", Outcome.PASS if within else Outcome.INCONCLUSIVE, numbers, text)


def predictions(sides: Sides, output: str, max_shift: float) -> Check:
    """Does the candidate predict another mix of classes than stable, on the same kind of requests?

    Two equal versions show some distance by chance alone; its expectation is taken off the estimate before it is held
    against the tolerance, so that a model of a thousand classes can pass at all. The items of one request may resemble
    each other, so a side is worth as many draws as it gave answers, however large the batches were.
    """
    name = f"predictions:{output}"
    counts, stable_counts = sides.candidate.predictions.get(output, ()), sides.stable.predictions.get(output, ())
    n, stable_n = sum(counts), sum(stable_counts)
    classes = max(len(counts), len(stable_counts))
    numbers: dict[str, float | int | None] = {
        "classes": classes,
        "candidate_predictions": n,
        "stable_predictions": stable_n,
        "max_prediction_shift": max_shift,
        "alpha": sides.alpha,
    }
    if not n or not stable_n:
        return Check(name, Outcome.INCONCLUSIVE, numbers, f"predictions of {output}: one side has none")
    mine = [counts[i] if i < len(counts) else 0 for i in range(classes)]
    theirs = [stable_counts[i] if i < len(stable_counts) else 0 for i in range(classes)]
    distance = sum(abs(a / n - b / stable_n) for a, b in zip(mine, theirs, strict=True)) / 2
    draws, stable_draws = min(n, sides.candidate.answers), min(stable_n, sides.stable.answers)
    chance = _distance_by_chance(mine, theirs, draws, stable_draws)
    deviation = sum(bounds.mix_deviation(size, classes, sides.alpha) for size in (draws, stable_draws))
    shown = max(0.0, distance - deviation)
    numbers |= {"distance": distance, "distance_by_chance": chance, "deviation": deviation, "distance_lower": shown}
    text = (
        f"mix of predicted classes of {output}: distance {distance:.3f} (surely at least {shown:.3f}; {chance:.3f} is "
        f"expected by chance), allowed {max_shift:.3f}"
    )
    if shown > max_shift:
        return Check(name, Outcome.FAIL, numbers, text)
    within = distance - chance <= max_shift
    return Check(name, Outcome.PASS if within else Outcome.INCONCLUSIVE, numbers, text)


def _distance_by_chance(mine: list[int], theirs: list[int], draws: int, stable_draws: int) -> float:
    """Return the expected distance of two samples of one mix, estimated by the pooled counts.

    The mean of a centred normal's absolute value is sqrt(2/pi) of its deviation; a class that is rarer than one in the
    smaller sample cannot contribute more than its own share.
    """
    n, m = sum(mine), sum(theirs)
    scatter = 1 / max(1, draws) + 1 / max(1, stable_draws)
    total = 0.0
    for a, b in zip(mine, theirs, strict=True):
        share = (a + b) / (n + m)
        total += min(math.sqrt(2 / math.pi * share * (1 - share) * scatter), 2 * share)
    return total / 2
