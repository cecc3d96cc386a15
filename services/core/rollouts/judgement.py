"""What a rollout's evidence calls for, and when its time is over.

Looking costs nothing, because every bound holds at all times at once: it is done at every tick.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.core.analysis.assessment import assess
from services.core.analysis.verdict import Outcome
from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.rollout import Phase, Rollout


def judge(rollout: Rollout, now: float, waits: Sequence[str] = ()) -> Event | None:
    """Return the event that the evidence or the clock calls for, or None where nothing is new.

    Args:
        rollout: The present state, with all evidence absorbed.
        now: Seconds since the epoch.
        waits: Which answers of others it waits for, and what they said.
    """
    longest = rollout.spec.max_step_duration_s
    if rollout.phase.early and now - rollout.phase_entered_at > longest:
        return Event(EventKind.EXPIRED, reason=_overdue(rollout, waits))
    if not rollout.phase.weighted:
        return None
    verdict = assess(rollout.terms, rollout.evidence.seen)
    progressing = rollout.phase is Phase.PROGRESSING
    passes = progressing and verdict.outcome is Outcome.PASS and rollout.step_is_over(now)
    if progressing and not passes and verdict.outcome is not Outcome.FAIL and now - rollout.step_entered_at > longest:
        words = f"no pass within {longest:g} s at {rollout.current_step.weight_percent} %, and silence never promotes"
        return Event(EventKind.EXPIRED, reason=words, verdict=verdict)
    if passes or verdict != rollout.verdict:
        return Event(EventKind.ASSESSED, verdict=verdict)
    return None


def _overdue(rollout: Rollout, waits: Sequence[str]) -> str:
    """Say what did not come in time before the first step."""
    within = f"within {rollout.spec.max_step_duration_s:g} s"
    if waits:
        return f"no good answer {within}: {'; '.join(waits)}"
    what = "loaded" if rollout.phase is Phase.PREPARING else "warm"
    return f"version {rollout.candidate} was not {what} {within}"
