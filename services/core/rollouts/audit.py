"""Who did what, when, and from which state: one record for every write, and for every attempt that was refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from services.core.rollouts.event import CONTROLLER
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.rollout import Phase, Rollout
from services.core.route import Route

ROUTE = "route"
PRUNE = "prune"
MAX_REASON = 4000
"""Longest reason in a record, characters; the history of a rollout has the whole."""
# The log is kept for ever, and whoever reaches the port can write to it: nothing in a record is without a bound.
_LONGEST = {"actor": 200, "model": 255, "rollout": 300, "reason": MAX_REASON}


class AuditOutcome(StrEnum):
    """What became of an attempt."""

    DONE = "done"
    REPEATED = "repeated"  # asked for what is so already, or for a second time: nothing was changed
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a rollout, or a route alone, had come.

    Attributes:
        stable: The stable version.
        candidate: The candidate, or None for a route without one.
        weight_percent: The candidate's share.
        phase: The rollout's phase; None for a route.
        step: Index of the rollout's step, from 0; None for a route.
    """

    stable: int
    candidate: int | None
    weight_percent: int
    phase: Phase | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One attempt to change something. Texts that are too long are cut, and end with an ellipsis then.

    Attributes:
        at: When, seconds since the epoch.
        actor: Who: the controller, or the name that a person gave.
        action: A verb, ``start``, ``route``, ``prune``, or the event that the controller saw.
        model: Model name; empty where it concerns none.
        rollout: The rollout's id; None for a route, and for a start that was refused.
        outcome: What became of it.
        source: State before; None where there was none.
        target: State after; None where nothing was changed.
        reason: Why it was done, or why it was refused.
        instance: The controller that did it.
        request_id: What the client named its request, so that it can repeat it; empty for none.
    """

    at: float
    actor: str
    action: str
    model: str
    rollout: str | None
    outcome: AuditOutcome
    source: Standing | None
    target: Standing | None
    reason: str
    instance: str
    request_id: str = ""

    def __post_init__(self) -> None:
        for name, most in _LONGEST.items():
            text = getattr(self, name)
            if text is not None and len(text) > most:
                object.__setattr__(self, name, f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}")


def standing_of(rollout: Rollout) -> Standing:
    """Return how far a rollout has come."""
    return Standing(rollout.stable, rollout.contender, rollout.weight_percent, rollout.phase, rollout.step)


def route_standing(route: Route | None) -> Standing | None:
    """Return how a model is routed; None where it is not."""
    return None if route is None else Standing(route.stable, route.candidate, route.weight_percent)


def change_of(
    before: Rollout | None, after: Rollout, entry: HistoryEntry, instance: str, request_id: str = ""
) -> AuditRecord:
    """Return the record of a transition, or of a beginning where there is no state before."""
    return AuditRecord(
        at=entry.at,
        actor=entry.actor,
        action=entry.event,
        model=after.model,
        rollout=after.id if after.number else None,
        outcome=AuditOutcome.DONE,
        source=None if before is None else standing_of(before),
        target=standing_of(after),
        reason=entry.reason,
        instance=instance,
        request_id=request_id,
    )


def pruning_of(removed: int, older_than: float, days: int, at: float, instance: str) -> AuditRecord:
    """Return the record of old records that were removed.

    Args:
        removed: How many.
        older_than: They were from before, seconds since the epoch.
        days: For how long records are kept.
        at: When, seconds since the epoch.
        instance: The controller that removed them.
    """
    until = datetime.fromtimestamp(older_than, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return AuditRecord(
        at=at,
        actor=CONTROLLER,
        action=PRUNE,
        model="",
        rollout=None,
        outcome=AuditOutcome.DONE,
        source=None,
        target=None,
        reason=f"{removed:,} records from before {until} were removed: controller.audit_days is {days}",
        instance=instance,
    )
