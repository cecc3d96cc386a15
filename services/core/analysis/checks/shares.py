"""Comparisons of the share of answers of one kind: bad ones, slow ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.core.analysis import bounds
from services.core.analysis.checks.sides import Numbers, Sides, percent
from services.core.analysis.verdict import Check, Outcome
from services.core.counts.histogram import LatencyHistogram, bucket_index


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the check's name, the kind of answers in words, and the allowed increase of their share."""

    name: str
    what: str
    max_increase: float


@dataclass(frozen=True, slots=True)
class Share:
    """Of n answers, so many are of the kind in question."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.total


def errors(sides: Sides, max_increase: float) -> Check:
    """Does the candidate give more bad answers, failed or not finite, than stable?"""
    stable, candidate = sides.stable, sides.candidate
    question = Question("errors", "bad answers", max_increase)
    return compare(question, sides, Share(stable.bad, stable.requests), Share(candidate.bad, candidate.requests))


def slow(sides: Sides, bound_s: float, max_increase: float) -> Check:
    """Does the candidate give more answers that take longer than a bound, such as a service level objective's?"""
    question = Question("slow", f"answers over {1000 * bound_s:g} ms", max_increase)
    return compare(question, sides, _over(sides.stable.latency, bound_s), _over(sides.candidate.latency, bound_s))


def _over(latency: LatencyHistogram, bound_s: float) -> Share:
    """Count what is in buckets above the bound's own: it counts as rounded up to that one's edge, 2.2 % at most."""
    own = bucket_index(bound_s)
    return Share(sum(count for index, count in latency.counts.items() if index > own), latency.total)


def compare(question: Question, sides: Sides, stable: Share, candidate: Share) -> Check:
    """Compare two shares; harm needs two proofs, each of which is wrong with no more than its probability.

    One is the distance of the bounds. The other holds also when both versions fail in bursts, of which each may get
    more by chance: the router deals every request out by itself, so of the answers of this kind no more than its
    weight would be the candidate's if it made no difference which version answers.
    """
    name, allowed = question.name, question.max_increase
    numbers: Numbers = {
        "candidate_count": candidate.count,
        "candidate_total": candidate.total,
        "stable_count": stable.count,
        "stable_total": stable.total,
        "max_increase": allowed,
        "alpha": sides.alpha,
        "beta": sides.beta,
    }
    if not candidate.total or not stable.total:
        return Check(name, Outcome.INCONCLUSIVE, numbers, f"{question.what}: one side has no answers")
    lower = bounds.lower_share(candidate.count, candidate.total, sides.alpha)
    stable_upper = bounds.upper_share(stable.count, stable.total, sides.alpha)
    weight = max(sides.weight, candidate.total / (candidate.total + stable.total))
    log_evidence = bounds.log_evidence(candidate.count, candidate.count + stable.count, weight)
    numbers |= {
        "candidate_share": candidate.value,
        "candidate_lower": lower,
        "stable_share": stable.value,
        "stable_upper": stable_upper,
        "weight": weight,
        "log_evidence": log_evidence,
    }
    text = (
        f"{question.what}: candidate {percent(candidate.value)} (surely at least {percent(lower)}), "
        f"stable {percent(stable.value)} (surely at most {percent(stable_upper)}), "
        f"allowed increase {percent(allowed)}"
    )
    if lower - stable_upper > allowed and log_evidence >= -math.log(sides.alpha):
        return Check(name, Outcome.FAIL, numbers, text)
    within = candidate.value - stable.value <= allowed
    if sides.final:
        upper = bounds.upper_share(candidate.count, candidate.total, sides.beta)
        stable_lower = bounds.lower_share(stable.count, stable.total, sides.beta)
        numbers |= {"candidate_upper": upper, "stable_lower": stable_lower}
        text += f"; surely at most {percent(max(0.0, upper - stable_lower))} more"
        within = upper - stable_lower <= allowed
    return Check(name, Outcome.PASS if within else Outcome.INCONCLUSIVE, numbers, text)
