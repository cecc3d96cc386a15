"""Whether a gateway kept its promises under overload: met, missed, or void because the generator was not able."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loadtest.overload.arithmetic import quantile
from loadtest.overload.experiment import Run
from services.core.slo import Outcome

GOODPUT = 0.90
"""Least goodput under overload, as a share of what Triton carries."""
P99_FACTOR = 2.5
"""Most p99 of answered requests under overload, as a multiple of the p99 before it: batches are full all the time, the
next one always waits, and a short queue stands before the gateway's limit."""
REFUSAL_S = 0.010
"""Most p99 of the time to a refusal."""
RECOVERY_S = 2.0
"""Most time until the load is carried again."""
FAILED = 0.001
"""Most requests that are neither answered in time nor refused, as a share."""

_MOST_LATE_S = 0.005
_MOST_NOT_SENT = 0.001


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise.

    Attributes:
        promise: What it is about.
        found: The figure.
        target: Its bound.
        at_most: Whether the bound is an upper one.
        unit: Of both.
    """

    promise: str
    found: float
    target: float
    at_most: bool
    unit: str

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of its bound; one that is missing never is."""
        if math.isnan(self.found):
            return False
        return self.found <= self.target if self.at_most else self.found >= self.target


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome, the findings, and why it is void if it is."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...]


def judge(run: Run) -> Judgement:
    """Compare one run with the promises."""
    before, overload, _ = run.phases
    findings = (
        Finding("goodput at 10x, of the capacity", overload.goodput / run.capacity * 100, GOODPUT * 100, False, "%"),
        Finding(
            "p99 of answers at 10x",
            quantile(overload.latency_s, 0.99) * 1e3,
            P99_FACTOR * quantile(before.latency_s, 0.99) * 1e3,
            True,
            "ms",
        ),
        Finding("p99 of the time to a refusal", quantile(overload.refusal_s, 0.99) * 1e3, REFUSAL_S * 1e3, True, "ms"),
        Finding(
            "failed or late, of all at 10x", overload.failed / max(1, overload.offered) * 100, FAILED * 100, True, "%"
        ),
        Finding("recovery", run.recovery_s, RECOVERY_S, True, "s"),
    )
    reasons = tuple(doubts(run))
    if reasons:
        return Judgement(Outcome.VOID, findings, reasons)
    met = all(finding.met for finding in findings)
    return Judgement(Outcome.MET if met else Outcome.MISSED, findings, ())


def doubts(run: Run) -> list[str]:
    """Return why a run shows nothing, if it does not."""
    found: list[str] = []
    if run.late_p99_s > _MOST_LATE_S:
        found.append(
            f"the generator sent its requests up to {run.late_p99_s * 1e3:.1f} ms late (p99; at most "
            f"{_MOST_LATE_S * 1e3:g} ms): it had too little CPU"
        )
    offered = sum(phase.offered for phase in run.phases)
    if run.not_sent > _MOST_NOT_SENT * offered:
        found.append(f"{run.not_sent} of {offered} requests could not be sent: every connection was busy")
    if not run.phases[1].refused:
        found.append("nothing was refused at ten times the capacity: there was no overload")
    return found
