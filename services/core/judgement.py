"""When a rollout's evidence is looked at, and when its time is over.

Looking is not free: each look spends some of the false-rollback bound. Looks are therefore due at geometrically growing
numbers of candidate requests, and once more when the step could end.
"""

from __future__ import annotations

from services.core.analysis import assess
from services.core.event import Event, EventKind
from services.core.rollout import Phase, Rollout
from services.core.verdict import Outcome, Verdict


def judge(rollout: Rollout, now: float) -> Event | None:
    """Return the event that the evidence or the clock calls for, or None.

    Args:
        rollout: The present state, with all evidence absorbed.
        now: Seconds since the epoch.
    """
    longest = rollout.spec.max_step_duration_s
    if rollout.phase is Phase.PREPARING and now - rollout.phase_entered_at > longest:
        return Event(EventKind.EXPIRED, reason=f"version {rollout.candidate} was not loaded within {longest:g} s")
    if not rollout.phase.weighted:
        return None
    if _look_is_due(rollout, now):
        return Event(EventKind.ASSESSED, verdict=_look(rollout))
    if rollout.phase is Phase.PROGRESSING and now - rollout.step_entered_at > longest:
        weight = rollout.current_step.weight_percent
        verdict = _look(rollout)
        if verdict.outcome in {Outcome.PASS, Outcome.FAIL}:
            return Event(EventKind.ASSESSED, verdict=verdict)
        words = f"no pass within {longest:g} s at {weight} %, and silence never promotes"
        return Event(EventKind.EXPIRED, reason=words, verdict=verdict)
    return None


def _look_is_due(rollout: Rollout, now: float) -> bool:
    if rollout.evidence.candidate.requests >= rollout.next_look_at:
        return True
    may_ask = rollout.phase is Phase.PROGRESSING and not rollout.asked
    return may_ask and rollout.has_enough_answers and rollout.step_is_over(now)


def _look(rollout: Rollout) -> Verdict:
    seen = rollout.evidence
    look = rollout.looks + 1
    return assess(rollout.spec.analysis, seen.stable, seen.candidate, look, rollout.current_step.min_requests)
