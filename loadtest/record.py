"""What one run saw: totals, a latency histogram and one row per second. Counting only: no clock, no network.

Counts belong to a request's *intended* time: those before the window (the warm-up) are left out of everything but the
timeline. Latency runs from the intended send time to the answer, so a request that waited for a connection because the
target stalled carries that wait.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from loadtest.arrivals import Arrival
from services.core.counts.histogram import LatencyHistogram
from services.core.slo import QUANTILES, Observed, quantile_s

NOT_SENT = "not sent: backlog full"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that could be read.

    Attributes:
        version: The model version that the answer names; empty where it names none.
        role: The gateway's role for that version (stable, candidate, pinned); empty where it says none.
        items: Rows answered.
        right: Rows whose best class is the label.
    """

    version: str
    role: str
    items: int
    right: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a readable answer.

    Attributes:
        kind: A short, countable name such as ``HTTP 503``.
        message: What was seen, for a person.
    """

    kind: str
    message: str


@dataclass(slots=True)
class Second:
    """What arrived in one second of a run.

    Attributes:
        answers: Answers by model version.
        failed: Failed requests.
        wrong: Items answered wrongly.
    """

    answers: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    wrong: int = 0


class Record:
    """Counts of one run.

    Args:
        window_s: Offsets (from, to) of the measured window in seconds; ``to`` is infinite for a run without an end.
    """

    def __init__(self, window_s: tuple[float, float]) -> None:
        self._window_s = window_s
        self.start(0.0)
        self.offered = 0
        self.answered = 0
        self.answers_in_window = 0
        self.items = 0
        self.right = 0
        self.overdue = 0
        self.latency = LatencyHistogram()
        self.lateness = LatencyHistogram()
        self.by_protocol: dict[str, LatencyHistogram] = defaultdict(LatencyHistogram)
        self.failures: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.versions: Counter[str] = Counter()
        self.roles: Counter[str] = Counter()
        self._timeline: dict[int, Second] = defaultdict(Second)

    def start(self, at_s: float) -> None:
        """Fix the start of the schedule on the caller's clock, in seconds, before anything is counted."""
        self._start_s = at_s
        self._from_s, self._to_s = at_s + self._window_s[0], at_s + self._window_s[1]

    @property
    def failed(self) -> int:
        """Requests of the window without an answer."""
        return self.failures.total()

    def answer(self, arrival: Arrival, done_s: float, protocol: str, answer: Answer) -> None:
        """Count an answer that arrived at ``done_s``."""
        second = self._timeline[int(done_s - self._start_s)]
        second.answers[answer.version] += 1
        second.wrong += answer.items - answer.right
        if self._from_s <= done_s < self._to_s:
            self.answers_in_window += 1
        if not self._measured(arrival):
            return
        self._offer(arrival)
        self.answered += 1
        self.items += answer.items
        self.right += answer.right
        self.versions[answer.version] += 1
        self.roles[answer.role] += 1
        self.latency.observe(done_s - arrival.due_s)
        self.by_protocol[protocol].observe(done_s - arrival.due_s)

    def fail(self, arrival: Arrival, done_s: float, failure: Failure) -> None:
        """Count a request that got no answer, given up at ``done_s``; the first of each kind is kept as an example."""
        self._timeline[int(done_s - self._start_s)].failed += 1
        self.examples.setdefault(failure.kind, failure.message)
        if self._measured(arrival):
            self._offer(arrival)
            self.failures[failure.kind] += 1

    def drop(self, arrival: Arrival) -> None:
        """Count an arrival that was never sent: no connection was free before the backlog was full or the run over."""
        waiting = "no connection became free for it; the target is slower than the load, or connections are too few"
        self.fail(arrival, arrival.due_s, Failure(NOT_SENT, waiting))

    def late(self, due_s: float, now_s: float) -> None:
        """Note how late the generator woke up at ``now_s`` for something due at ``due_s``."""
        if self._from_s <= due_s < self._to_s:
            self.lateness.observe(max(0.0, now_s - due_s))

    def observed(self, busy_share: float | None) -> Observed:
        """Return the numbers that an SLO is judged by."""
        return Observed(
            window_s=self._to_s - self._from_s,
            offered=self.offered,
            failed=self.failed,
            latency=self.latency,
            answers_in_window=self.answers_in_window,
            items=self.items,
            right=self.right,
            lateness=self.lateness,
            busy_share=busy_share,
        )

    def summary(self) -> dict[str, Any]:
        """Return all counts as JSON-able values; latencies in milliseconds, None for "no answer"."""
        return {
            "requests": self.offered,
            "answered": self.answered,
            "failed": self.failed,
            "failures": dict(self.failures.most_common()),
            "examples": {kind: self.examples[kind] for kind in self.failures},
            "items": self.items,
            "wrong": self.items - self.right,
            "waited_for_a_connection": self.overdue,
            "versions": dict(sorted(self.versions.items())),
            "roles": dict(sorted((role or "unnamed", count) for role, count in self.roles.items())),
            "latency_ms": _quantiles_ms(self.latency, self.failed),
            "answered_latency_ms": {name: _quantiles_ms(one) for name, one in sorted(self.by_protocol.items())},
        }

    def timeline(self) -> list[dict[str, Any]]:
        """Return one row per second from the start, silent seconds included."""
        last = max(self._timeline, default=-1)
        silent = Second()
        rows = ((number, self._timeline.get(number, silent)) for number in range(last + 1))
        return [
            {"second": number, "answers": dict(sorted(row.answers.items())), "failed": row.failed, "wrong": row.wrong}
            for number, row in rows
        ]

    def _measured(self, arrival: Arrival) -> bool:
        return self._from_s <= arrival.due_s < self._to_s

    def _offer(self, arrival: Arrival) -> None:
        self.offered += 1
        self.overdue += arrival.overdue


def _quantiles_ms(latency: LatencyHistogram, failed: int = 0) -> dict[str, float | None]:
    """Return p50, p95 and p99 in milliseconds; failed requests lie at infinity, which JSON has as null."""
    quantiles: dict[str, float | None] = {}
    for name, q in QUANTILES.items():
        seconds = quantile_s(latency, failed, q)
        finite = seconds is not None and seconds != float("inf")
        quantiles[name.removesuffix("_ms")] = round(seconds * 1e3, 3) if finite and seconds is not None else None
    return quantiles
