"""One line of a rollout's history: what changed, who did it and why."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.analysis.assessment import Terms, assess
from services.core.analysis.verdict import Verdict
from services.core.rollouts.event import Event
from services.core.rollouts.evidence import Seen
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.transitions import explain


@dataclass(frozen=True, slots=True)
class Judged:
    """Everything that a verdict was made of, so that anyone can make it again.

    Attributes:
        terms: Tolerances, and how sure one must be.
        seen: What was answered.
        verdict: What was found.
        route_generation: The generation of the route table under which it was seen.
    """

    terms: Terms
    seen: Seen
    verdict: Verdict
    route_generation: int = 0

    def replayed(self) -> Verdict:
        """Return the verdict that the same evidence gives today."""
        return assess(self.terms, self.seen)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A change of phase or of step.

    Attributes:
        at: When, seconds since the epoch.
        source: Phase before; None for the rollout's beginning.
        target: Phase after.
        source_weight_percent: Candidate's share before.
        target_weight_percent: Candidate's share after.
        event: What happened, or ``start``.
        actor: Who did it: the controller, or the name that a person gave.
        reason: Why, in plain words.
        judged: The verdict and what it was made of, where there was one.
    """

    at: float
    source: Phase | None
    target: Phase
    source_weight_percent: int
    target_weight_percent: int
    event: str
    actor: str
    reason: str
    judged: Judged | None = None


def beginning(rollout: Rollout, actor: str) -> HistoryEntry:
    """Return the first line of a new rollout's history."""
    return HistoryEntry(rollout.created_at, None, rollout.phase, 0, 0, "start", actor, rollout.reason)


def entry_of(before: Rollout, after: Rollout, event: Event, now: float) -> HistoryEntry | None:
    """Return the line for a transition; None where neither phase nor step changed."""
    if before.phase is after.phase and before.step == after.step:
        return None
    judged = None
    if event.verdict is not None:
        evidence = before.evidence
        judged = Judged(before.terms, evidence.seen, event.verdict, evidence.route_generation)
    return HistoryEntry(
        now,
        before.phase,
        after.phase,
        before.weight_percent,
        after.weight_percent,
        event.kind.value,
        event.actor,
        explain(before, event),
        judged,
    )
