"""What can happen to a rollout."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.core.analysis.verdict import Verdict

CONTROLLER = "controller"


class EventKind(StrEnum):
    """An observation of the controller, or a verb of a person."""

    LOADED = "loaded"  # the candidate is ready in Triton
    LOAD_FAILED = "load_failed"  # Triton cannot load the candidate, and says why
    WARMED = "warmed"  # the candidate's latency has settled, and it answers as when it was built
    WARM_FAILED = "warm_failed"  # it fails, or gives other answers
    ASSESSED = "assessed"  # the evidence was looked at
    EXPIRED = "expired"  # the longest time without a pass is over
    DRAINED = "drained"  # no gateway routes to the version that is on its way out
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"


VERBS = (EventKind.PAUSE, EventKind.RESUME, EventKind.PROMOTE, EventKind.ABORT)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: What it was.
        actor: Who did it: the controller, or the name that a person gave.
        reason: Why, in plain words; may be empty where the verdict says it.
        verdict: What the analysis found; present with ``ASSESSED`` and with ``EXPIRED`` where there was evidence.
        held: Whether a pass raises no weight now, because something beside the evidence speaks against it.
    """

    kind: EventKind
    actor: str = CONTROLLER
    reason: str = ""
    verdict: Verdict | None = None
    held: bool = False
