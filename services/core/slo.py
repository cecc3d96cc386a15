"""Was a service level objective met? Pure arithmetic over what one load run measured; no I/O, no clock.

Every objective but throughput is a claim that some share of the requests stays at or below what is tolerated: p99 <=
20 ms tolerates 1 % of requests slower than 20 ms, ``error_rate`` <= 0.001 tolerates 0.1 % failed ones, ``correctness``
>= 0.98 tolerates 2 % wrong answers. So one rule serves them all (``_judge_share``):

* A request that got no answer is slower than any bound. A refusal in 1 ms is not a fast answer.
* *Enough samples*: a quantile needs 10 requests expected beyond it (p50: 20, p95: 200, p99: 1,000), so that the
  estimate of p99 lies between the true p98.4 and p99.6 in 19 runs of 20, and one outlier decides nothing. A share needs
  3 / tolerated (the rule of three: in fewer, a target that just breaks the bound shows no bad request at all in more
  than 5 % of runs).
* With fewer samples the verdict is void, unless what was seen would happen in less than 5 % of runs of a target that
  keeps the objective (exact binomial tail): 20 failures in 20 requests need no larger sample.

No data is void, and a generator that could not keep its own schedule makes everything void: it did not put the load on
the target that the objectives speak of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from services.core.counts.histogram import LatencyHistogram, bucket_index

QUANTILES = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}
EXPECTED_BEYOND_QUANTILE = 10
RULE_OF_THREE = 3
SIGNIFICANCE = 0.05
# A tolerance of zero can be shown by no sample; it is read as "none seen" in as many as show 1 %.
_LEAST_TOLERANCE = 0.01
_Z_95 = 1.96


class Outcome(StrEnum):
    """What is known about an objective."""

    MET = "met"
    MISSED = "missed"
    VOID = "void"  # nothing was shown


@dataclass(frozen=True, slots=True)
class Objectives:
    """What is promised; None for what is not.

    Attributes:
        p50_ms: Upper bound of the median latency in milliseconds; likewise ``p95_ms`` and ``p99_ms``.
        error_rate: Upper bound of the share of requests without an answer.
        throughput_per_s: Lower bound of answers per second.
        correctness: Lower bound of the share of right answers among the answers.
    """

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    error_rate: float | None = None
    throughput_per_s: float | None = None
    correctness: float | None = None


@dataclass(frozen=True, slots=True)
class GeneratorLimits:
    """What the load generator must have kept for a run to mean anything.

    Attributes:
        max_lateness_ms: Bound on the p99 of how late the generator woke up for its own schedule.
        max_busy_share: Bound on the share of the time in which its thread ran or wanted to run.
    """

    max_lateness_ms: float
    max_busy_share: float


@dataclass(frozen=True, slots=True)
class Observed:
    """What one run measured, of the requests whose intended send time was inside the window.

    Attributes:
        window_s: Length of the measured window in seconds.
        offered: Requests that the schedule called for.
        failed: Of these, the ones that got no answer, for whatever reason.
        latency: Intended send time to answer, of the answered ones.
        answers_in_window: Answers that arrived inside the window, whenever they were asked for.
        items: Items (rows of a batch) that were answered.
        right: Of these, the right ones.
        lateness: How late the generator woke up, its own fault only.
        busy_share: Share of the window in which the generator's thread ran or waited for a CPU; None where unknown.
    """

    window_s: float
    offered: int
    failed: int
    latency: LatencyHistogram
    answers_in_window: int
    items: int
    right: int
    lateness: LatencyHistogram
    busy_share: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One objective with every number that its outcome rests on.

    Attributes:
        objective: Field name in ``Objectives``.
        bound: The promise.
        measured: Point estimate; infinite for a quantile among the unanswered, None without any sample.
        low: Lower end of the 95 % interval of ``measured``; likewise ``high``. None where none is given.
        high: Upper end.
        samples: Number of observations.
        needed: Observations without which the objective cannot be met.
        outcome: Met, missed or void.
        reason: Why, where it is not plain from the numbers; else empty.
    """

    objective: str
    bound: float
    measured: float | None
    low: float | None
    high: float | None
    samples: int
    needed: int
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a run: its findings, and the reasons why the run as a whole shows nothing (none when it does)."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...] = ()


def judge(objectives: Objectives, observed: Observed, limits: GeneratorLimits) -> Verdict:
    """Hold what was measured against what is promised.

    An incapable generator or an empty run is void; then a missed objective is missed; then a void objective is void.
    """
    findings: list[Finding] = []
    for name, q in QUANTILES.items():
        bound = getattr(objectives, name)
        if bound is not None:
            findings.append(_judge_quantile(name, q, bound, observed))
    if objectives.error_rate is not None:
        findings.append(_judge_error_rate(objectives.error_rate, observed))
    if objectives.throughput_per_s is not None:
        findings.append(_judge_throughput(objectives.throughput_per_s, observed))
    if objectives.correctness is not None:
        findings.append(_judge_correctness(objectives.correctness, observed))
    reasons = _why_void(observed, limits) + ([] if findings else ["no objective was given"])
    outcomes = {finding.outcome for finding in findings}
    if reasons:
        outcome = Outcome.VOID
    elif Outcome.MISSED in outcomes:
        outcome = Outcome.MISSED
    else:
        outcome = Outcome.VOID if Outcome.VOID in outcomes else Outcome.MET
    return Verdict(outcome, tuple(findings), tuple(reasons))


def quantile_s(latency: LatencyHistogram, failed: int, q: float) -> float | None:
    """Return the q-quantile in seconds with every unanswered request at infinity; None without any request."""
    total = latency.total + failed
    return _at_rank(latency, math.ceil(q * total)) if total else None


def _why_void(observed: Observed, limits: GeneratorLimits) -> list[str]:
    reasons: list[str] = []
    if not observed.offered:
        reasons.append("no request was due inside the measured window; lengthen duration_s or raise rate_per_s")
    late_s = observed.lateness.quantile(0.99)
    if late_s is None:
        reasons.append("the generator did not once look at its clock inside the measured window")
    elif late_s * 1e3 > limits.max_lateness_ms:
        reasons.append(
            f"the generator woke up {late_s * 1e3:.1f} ms late (p99), {limits.max_lateness_ms:g} ms allowed: it lacks "
            "CPU; lower rate_per_s or run it on another machine"
        )
    if observed.busy_share is not None and observed.busy_share > limits.max_busy_share:
        reasons.append(
            f"the generator ran or waited for a CPU {observed.busy_share:.0%} of the time, {limits.max_busy_share:.0%} "
            "allowed: it is at its own limit; lower rate_per_s or run it on another machine"
        )
    return reasons


def _judge_quantile(name: str, q: float, bound_ms: float, observed: Observed) -> Finding:
    latency, total = observed.latency, observed.latency.total + observed.failed
    measured_s = quantile_s(latency, observed.failed, q)
    last = bucket_index(bound_ms / 1e3)
    slower = total - sum(count for index, count in latency.counts.items() if index <= last)
    needed = math.ceil(EXPECTED_BEYOND_QUANTILE / (1 - q) - 1e-9)
    if measured_s is None:
        return _no_data(name, bound_ms, needed)
    kept = measured_s * 1e3 <= bound_ms
    outcome, reason = _judge_share(kept, slower, total, 1 - q, needed)
    # The interval of a quantile lies between two order statistics: ranks n q -+ 1.96 sqrt(n q (1 - q)).
    spread = _Z_95 * math.sqrt(total * q * (1 - q))
    low, high = (_at_rank(latency, math.ceil(total * q + sign * spread)) * 1e3 for sign in (-1, 1))
    return Finding(name, bound_ms, measured_s * 1e3, low, high, total, needed, outcome, reason)


def _judge_error_rate(bound: float, observed: Observed) -> Finding:
    total = observed.latency.total + observed.failed
    needed = _needed_for_share(bound)
    if not total:
        return _no_data("error_rate", bound, needed)
    share = observed.failed / total
    outcome, reason = _judge_share(share <= bound, observed.failed, total, bound, needed)
    low, high = _wilson(observed.failed, total)
    return Finding("error_rate", bound, share, low, high, total, needed, outcome, reason)


def _judge_correctness(bound: float, observed: Observed) -> Finding:
    total, wrong = observed.items, observed.items - observed.right
    needed = _needed_for_share(1 - bound)
    if not total:
        return _no_data("correctness", bound, needed)
    share = observed.right / total
    outcome, reason = _judge_share(share >= bound, wrong, total, 1 - bound, needed)
    low, high = _wilson(observed.right, total)
    return Finding("correctness", bound, share, low, high, total, needed, outcome, reason)


def _judge_throughput(bound: float, observed: Observed) -> Finding:
    name = "throughput_per_s"
    if not observed.offered or observed.window_s <= 0:
        return _no_data(name, bound, 1)
    measured = observed.answers_in_window / observed.window_s
    offered = observed.offered / observed.window_s
    if measured >= bound:
        outcome, reason = Outcome.MET, ""
    elif offered < bound:
        outcome, reason = Outcome.VOID, f"only {offered:.1f} requests/s were offered; raise rate_per_s"
    else:
        outcome, reason = Outcome.MISSED, ""
    return Finding(name, bound, measured, None, None, observed.answers_in_window, 1, outcome, reason)


def _judge_share(kept: bool, beyond: int, total: int, tolerated: float, needed: int) -> tuple[Outcome, str]:
    if total >= needed:
        return (Outcome.MET if kept else Outcome.MISSED), ""
    if not kept and _binomial_tail(beyond, total, tolerated) < SIGNIFICANCE:
        return Outcome.MISSED, f"{beyond} of {total} beyond the bound leave no doubt"
    return Outcome.VOID, f"{total} samples, {needed} needed"


def _no_data(name: str, bound: float, needed: int) -> Finding:
    return Finding(name, bound, None, None, None, 0, needed, Outcome.VOID, "no data")


def _needed_for_share(tolerated: float) -> int:
    return math.ceil(RULE_OF_THREE / max(tolerated, _LEAST_TOLERANCE if tolerated <= 0 else 0) - 1e-9)


def _at_rank(latency: LatencyHistogram, rank: int) -> float:
    return latency.at_rank(max(1, rank)) if max(1, rank) <= latency.total else math.inf


def _binomial_tail(least: int, total: int, share: float) -> float:
    """Return P(K >= least) for K of Binomial(total, share)."""
    if share <= 0:
        return 0.0 if least > 0 else 1.0
    log_p, log_q = math.log(share), math.log1p(-share) if share < 1 else -math.inf
    below = 0.0
    for k in range(least):
        rest = (total - k) * log_q if total > k else 0.0
        log_choices = math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        below += math.exp(log_choices + k * log_p + rest)
    return max(0.0, 1.0 - below)


def _wilson(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), which stays sensible at 0 and at 1."""
    share, z2 = count / total, _Z_95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)
