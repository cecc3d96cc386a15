"""What each end of an attempt says of its replica, and whether a second attempt is safe. Pure: one table.

Safe means that the first attempt changed nothing, or that doing it twice does not matter. A model without sequences has
no memory, so a request that was lost on the way may be asked again; a request of a sequence only if nothing was sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from services.core.errors import DeadlineExceeded, NotFound, Overloaded, PenstockError, Unavailable, UpstreamFailure
from services.triton.faults import (
    AllBusy,
    Broken,
    GivenUp,
    ModelProcessDied,
    NoAnswer,
    Nonsense,
    NotLoaded,
    NotSent,
)
from services.triton.replicas.health import Reason


class Scope(Enum):
    """What is at fault."""

    NOTHING = 0
    REPLICA = 1
    VERSION = 2  # on this replica


@dataclass(frozen=True, slots=True)
class Rule:
    """One row.

    Attributes:
        outcome: What metrics call it; None for the error's own ``Status.outcome``.
        scope: What is at fault.
        reason: Why, where something is.
        at_once: Whether one of it ejects; else several in a row.
        again: Whether another replica may be asked.
        unsent: Whether nothing was sent, so that even a sequence may be asked again.
        broke: Whether the request may have ended the process that it was sent to.
        silent: Whether nothing was heard of the replica.
    """

    outcome: str | None = None
    scope: Scope = Scope.NOTHING
    reason: Reason = Reason.UNAVAILABLE
    at_once: bool = False
    again: bool = False
    unsent: bool = False
    broke: bool = False
    silent: bool = False


_ANSWERED = Rule()

_RULES: dict[type[PenstockError], Rule] = {
    NotSent: Rule("not_sent", Scope.REPLICA, Reason.CONNECT, at_once=True, again=True, unsent=True),
    AllBusy: Rule("all_busy", again=True, unsent=True, silent=True),
    Broken: Rule("broken", Scope.REPLICA, Reason.BROKEN, again=True, broke=True),
    GivenUp: Rule("given_up", again=True, silent=True),
    NoAnswer: Rule("no_answer", Scope.VERSION, Reason.TIMEOUT, again=True),
    NotLoaded: Rule("not_loaded", Scope.VERSION, Reason.NOT_LOADED, at_once=True, again=True),
    NotFound: Rule("not_loaded", Scope.VERSION, Reason.NOT_LOADED, at_once=True, again=True),
    ModelProcessDied: Rule("process_died", Scope.VERSION, Reason.INTERNAL, at_once=True, again=True, broke=True),
    Nonsense: Rule("nonsense", Scope.VERSION, Reason.NONSENSE, again=True),
    UpstreamFailure: Rule(None, Scope.VERSION, Reason.INTERNAL),
    Overloaded: Rule(None, again=True),
    Unavailable: Rule(None, Scope.VERSION, Reason.UNAVAILABLE, again=True),
    DeadlineExceeded: _ANSWERED,  # it expired in Triton's queue: the time is over, and Triton said so
}


def rule_of(error: PenstockError) -> Rule:
    """Return the row of an error: its class's or its nearest ancestor's; every other error is an honest answer."""
    for cls in type(error).__mro__:
        rule = _RULES.get(cls)
        if rule is not None:
            return rule
    return _ANSWERED
