"""What shots mean: goodput, refusals, quantiles, recovery. No clock, no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtest.raw_generator import NOT_SENT, Shot

OK = 200
REFUSED = 429

SERVED_WELL = 0.95
"""Share of the requests of one second that are answered in time once the gateway has recovered."""
SERVED_ON = 0.97
"""The same of all requests from then on."""
_WINDOW_S = 1.0
_STEP_S = 0.1


@dataclass(frozen=True, slots=True)
class Span:
    """What happened to the requests that were due in one span of time.

    Attributes:
        begin: Seconds from the start.
        end: Seconds from the start.
        offered: Requests due.
        good: Answered within their deadline, counted from when they were due.
        refused: Answered with 429.
        failed: Everything else: late, other errors, no answer, not sent.
        latency_s: From due to answered, of those answered with 200, ascending.
        refusal_s: From sent to refused, ascending.
    """

    begin: float
    end: float
    offered: int
    good: int
    refused: int
    failed: int
    latency_s: Sequence[float]
    refusal_s: Sequence[float]

    @property
    def goodput(self) -> float:
        """Good answers per second."""
        return self.good / (self.end - self.begin)


def span(shots: Iterable[Shot], begin: float, end: float, deadline_s: float) -> Span:
    """Count the requests that were due from ``begin`` to before ``end``."""
    inside = [shot for shot in shots if begin <= shot.due < end]
    answered = [shot for shot in inside if shot.status == OK]
    refused = [shot for shot in inside if shot.status == REFUSED]
    good = sum(shot.done - shot.due <= deadline_s for shot in answered)
    return Span(
        begin,
        end,
        len(inside),
        good,
        len(refused),
        len(inside) - good - len(refused),
        sorted(shot.done - shot.due for shot in answered),
        sorted(shot.done - shot.sent for shot in refused),
    )


def quantile(ascending: Sequence[float], q: float) -> float:
    """Return the q-quantile (nearest rank); infinite where there is nothing, which meets no target."""
    if not ascending:
        return math.inf
    return ascending[max(0, math.ceil(q * len(ascending)) - 1)]


def recovery_s(shots: Sequence[Shot], begin: float, end: float, deadline_s: float) -> float:
    """Return how long after ``begin`` the load is carried again: infinite when it is not before ``end``.

    It is when the first second begins in which ``SERVED_WELL`` of the requests are answered in time, after which
    ``SERVED_ON`` of all are.
    """
    inside = sorted((shot for shot in shots if begin <= shot.due < end), key=lambda shot: shot.due)
    good = [shot.status == OK and shot.done - shot.due <= deadline_s for shot in inside]
    steps = int((end - begin - _WINDOW_S) / _STEP_S + 1e-9)
    for step in range(steps + 1):
        since = begin + step * _STEP_S
        second = [ok for shot, ok in zip(inside, good, strict=True) if since <= shot.due < since + _WINDOW_S]
        rest = [ok for shot, ok in zip(inside, good, strict=True) if since <= shot.due]
        if second and sum(second) >= SERVED_WELL * len(second) and sum(rest) >= SERVED_ON * len(rest):
            return since - begin
    return math.inf


def lateness_s(shots: Iterable[Shot]) -> list[float]:
    """Return how late requests were sent, ascending, without those that were not."""
    return sorted(shot.sent - shot.due for shot in shots if shot.status != NOT_SENT)
