"""The rollout's state machine, as a table.

``TRANSITIONS`` is all there is: the first row whose source, event and guard fit decides. The picture in ARCHITECTURE.md
is drawn from it (``python -m services.core.rollouts.transitions_diagram``). What is done in the world follows from
the state alone, see ``actions``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from services.core.analysis.checks.lift import winner_of
from services.core.analysis.verdict import Outcome
from services.core.errors import Conflict
from services.core.rollouts.actions import Action, actions_of
from services.core.rollouts.custom_metric import METRIC_PREFIX
from services.core.rollouts.event import VERBS, Event, EventKind
from services.core.rollouts.experiment import OnWin
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import OnInconclusive, Strategy


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition with a name for the picture."""

    name: str
    holds: Callable[[Rollout, Event, float], bool]


@dataclass(frozen=True, slots=True)
class Effect:
    """What changes in the state beside its phase, with a name for the picture."""

    name: str
    apply: Callable[[Rollout, Event, float], Rollout]


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table."""

    source: Phase
    event: EventKind
    target: Phase
    guard: Guard | None = None
    effect: Effect | None = None


def _failed(_rollout: Rollout, event: Event, _now: float) -> bool:
    return event.verdict is not None and event.verdict.outcome is Outcome.FAIL


def _may_leave_step(rollout: Rollout, event: Event, now: float) -> bool:
    passed = event.verdict is not None and event.verdict.outcome is Outcome.PASS
    return passed and not event.held and rollout.step_is_over(now)


def _lost_a_metric(_rollout: Rollout, event: Event, _now: float) -> bool:
    """Whether a metric gave no value more often in a row than is tolerated."""
    checks = () if event.verdict is None else event.verdict.checks
    return any(check.outcome is Outcome.ERROR and check.name.startswith(METRIC_PREFIX) for check in checks)


def _is_shadow(rollout: Rollout) -> bool:
    return rollout.spec.strategy is Strategy.SHADOW


def ends_without_promotion(rollout: Rollout, event: Event) -> bool:
    """Return whether what has passed is an A/B test that is for a person to decide, or has no winner."""
    experiment = rollout.spec.experiment
    return experiment is not None and (experiment.on_win is OnWin.CONCLUDE or winner_of(event.verdict) is None)


def _inconclusive_pauses(rollout: Rollout, _event: Event, _now: float) -> bool:
    return rollout.spec.on_inconclusive is OnInconclusive.PAUSE


def _begin_step(rollout: Rollout, index: int, now: float) -> Rollout:
    evidence = rollout.evidence.next_step()
    return replace(rollout, step=index, step_entered_at=now, evidence_since=now, evidence=evidence)


def _judged(rollout: Rollout, event: Event, _now: float) -> Rollout:
    return rollout if event.verdict is None else replace(rollout, verdict=event.verdict)


PAUSE_IF_INCONCLUSIVE = Guard("inconclusive pauses", _inconclusive_pauses)
HARM_SHOWN = Guard("harm shown", _failed)
METRIC_LOST = Guard("metric lost", _lost_a_metric)
METRIC_LOST_PAUSES = Guard(
    "metric lost, inconclusive pauses", lambda r, e, now: _lost_a_metric(r, e, now) and _inconclusive_pauses(r, e, now)
)
SHADOW_PASSED = Guard("shadow passed", lambda r, e, now: _is_shadow(r) and _may_leave_step(r, e, now))
EXPERIMENT_DECIDED = Guard(
    "A/B decided, nothing to promote",
    lambda r, e, now: ends_without_promotion(r, e) and _may_leave_step(r, e, now),
)
LAST_STEP_PASSED = Guard("last step passed", lambda r, e, now: r.on_last_step and _may_leave_step(r, e, now))
STEP_PASSED = Guard("step passed", lambda r, e, now: not r.on_last_step and _may_leave_step(r, e, now))

FIRST_STEP = Effect("first step", lambda r, _e, now: _begin_step(r, 0, now))
NEXT_STEP = Effect("next step", lambda r, e, now: _begin_step(_judged(r, e, now), r.step + 1, now))
JUDGED = Effect("keep the verdict", _judged)
# It has had its time: when a person lets it go on, the time begins again.
WAITS = Effect(
    "keep the verdict, time begins again", lambda r, e, now: replace(_judged(r, e, now), step_entered_at=now)
)
# A pause takes nothing from the step's time: neither from its shortest nor from its longest.
RESUMED = Effect(
    "go on with the step",
    lambda r, _e, now: replace(r, step_entered_at=r.step_entered_at + max(0.0, now - r.phase_entered_at)),
)

_P = Phase
_E = EventKind
TRANSITIONS: tuple[Transition, ...] = (
    Transition(_P.PREPARING, _E.LOADED, _P.WARMING),
    Transition(_P.PREPARING, _E.LOAD_FAILED, _P.FAILED),
    Transition(_P.PREPARING, _E.EXPIRED, _P.FAILED),
    Transition(_P.PREPARING, _E.ABORT, _P.ABORTED),
    Transition(_P.WARMING, _E.WARMED, _P.PROGRESSING, effect=FIRST_STEP),
    Transition(_P.WARMING, _E.WARM_FAILED, _P.FAILED),
    Transition(_P.WARMING, _E.LOAD_FAILED, _P.FAILED),
    Transition(_P.WARMING, _E.EXPIRED, _P.FAILED),
    Transition(_P.WARMING, _E.ABORT, _P.ABORTED),
    Transition(_P.PROGRESSING, _E.ASSESSED, _P.ROLLING_BACK, HARM_SHOWN, JUDGED),
    Transition(_P.PROGRESSING, _E.ASSESSED, _P.PAUSED, METRIC_LOST_PAUSES, WAITS),
    Transition(_P.PROGRESSING, _E.ASSESSED, _P.ROLLING_BACK, METRIC_LOST, JUDGED),
    Transition(_P.PROGRESSING, _E.ASSESSED, _P.CONCLUDING, SHADOW_PASSED, JUDGED),
    Transition(_P.PROGRESSING, _E.ASSESSED, _P.CONCLUDING, EXPERIMENT_DECIDED, JUDGED),
    Transition(_P.PROGRESSING, _E.ASSESSED, _P.PROMOTING, LAST_STEP_PASSED, JUDGED),
    Transition(_P.PROGRESSING, _E.ASSESSED, _P.PROGRESSING, STEP_PASSED, NEXT_STEP),
    Transition(_P.PROGRESSING, _E.ASSESSED, _P.PROGRESSING, effect=JUDGED),
    Transition(_P.PROGRESSING, _E.EXPIRED, _P.PAUSED, PAUSE_IF_INCONCLUSIVE, WAITS),
    Transition(_P.PROGRESSING, _E.EXPIRED, _P.ROLLING_BACK, effect=JUDGED),
    Transition(_P.PROGRESSING, _E.LOAD_FAILED, _P.ROLLING_BACK),
    Transition(_P.PROGRESSING, _E.PAUSE, _P.PAUSED),
    Transition(_P.PROGRESSING, _E.PROMOTE, _P.PROMOTING),
    Transition(_P.PROGRESSING, _E.ABORT, _P.ABORTING),
    Transition(_P.PAUSED, _E.ASSESSED, _P.ROLLING_BACK, HARM_SHOWN, JUDGED),
    Transition(_P.PAUSED, _E.ASSESSED, _P.PAUSED, effect=JUDGED),
    Transition(_P.PAUSED, _E.LOAD_FAILED, _P.ROLLING_BACK),
    Transition(_P.PAUSED, _E.RESUME, _P.PROGRESSING, effect=RESUMED),
    Transition(_P.PAUSED, _E.PROMOTE, _P.PROMOTING),
    Transition(_P.PAUSED, _E.ABORT, _P.ABORTING),
    Transition(_P.PROMOTING, _E.DRAINED, _P.PROMOTED),
    Transition(_P.ROLLING_BACK, _E.DRAINED, _P.ROLLED_BACK),
    Transition(_P.ABORTING, _E.DRAINED, _P.ABORTED),
    Transition(_P.CONCLUDING, _E.DRAINED, _P.CONCLUDED),
)


def verbs_in(phase: Phase) -> tuple[EventKind, ...]:
    """Return the verbs that a person may use in a phase."""
    return tuple(verb for verb in VERBS if any(t.source is phase and t.event is verb for t in TRANSITIONS))


def advance(rollout: Rollout, event: Event, now: float) -> tuple[Rollout, tuple[Action, ...]]:
    """Return what a rollout becomes by an event, and what must then hold in the world.

    Args:
        rollout: The present state.
        event: What happened.
        now: Seconds since the epoch.

    Raises:
        Conflict: The event has no place in the present phase.
    """
    for row in TRANSITIONS:
        if row.source is rollout.phase and row.event is event.kind:
            if row.guard is not None and not row.guard.holds(rollout, event, now):
                continue
            after = row.effect.apply(rollout, event, now) if row.effect else rollout
            if row.target is not rollout.phase:
                # Why it ended the way it did stays the reason when the gateways have let go.
                reason = rollout.reason if event.kind is EventKind.DRAINED else explain(rollout, event)
                after = replace(after, phase=row.target, phase_entered_at=now, reason=reason)
            elif after.step != rollout.step:
                after = replace(after, reason=explain(rollout, event))
            return after, actions_of(after)
    raise Conflict(_refusal(rollout, event.kind))


def explain(before: Rollout, event: Event) -> str:
    """Say in plain words why an event takes a rollout out of its phase or step."""
    step, place = before.current_step, f"step {before.step + 1} of {len(before.spec.steps)}"
    at = f"{place} ({step.weight_percent} %)"
    found = event.verdict.text if event.verdict else ""
    more = f"; {event.reason}" if event.reason else ""
    words = {
        EventKind.LOADED: f"version {before.candidate} is loaded and ready{more}",
        EventKind.LOAD_FAILED: f"version {before.candidate} cannot be loaded: {event.reason}",
        EventKind.WARMED: f"version {before.candidate} is warm: {event.reason}",
        EventKind.WARM_FAILED: f"version {before.candidate} gets no traffic: {event.reason}",
        EventKind.ASSESSED: f"{at} {_ended(before, event)}: {found}",
        EventKind.EXPIRED: f"inconclusive: {event.reason}" + (f"; {found}" if found else ""),
        EventKind.DRAINED: event.reason or "every gateway has let go of the version on its way out",
    }
    if event.kind in words:
        return words[event.kind]
    said = f": {event.reason}" if event.reason else ""
    return f"{event.actor} said {event.kind.value} at {at}{said}"


def _ended(before: Rollout, event: Event) -> str:
    if _failed(before, event, 0.0):
        return "failed"
    if _lost_a_metric(before, event, 0.0):
        return "cannot be judged"
    if before.spec.experiment is None:
        return "passed"
    winner = winner_of(event.verdict)
    return "is decided, no arm wins" if winner is None else f"is decided, version {winner} wins"


def _refusal(rollout: Rollout, kind: EventKind) -> str:
    verbs = ", ".join(verbs_in(rollout.phase))
    allowed = f"it allows {verbs}" if verbs else "it allows no verb"
    return f"rollout {rollout.id} is {rollout.phase.value}: '{kind.value}' is not possible there; {allowed}"
