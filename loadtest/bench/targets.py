"""What the gateway aims at, and whether a measurement met it. A target without a measurement is not met.

CPU and throughput are judged where the machine is full (32 connections), latency where it is idle (1 connection).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.bench.measure import Case
from loadtest.bench.model import LARGE, SMALL

MET = "met"
MISSED = "missed"
NOT_MEASURED = "not measured"
_FORMS = {"gateway_cpu_us": "{:.0f} us", "ratio": "{:.2f}", "added_p50_us": "{:.0f} us"}
_NAMES = {
    "gateway_cpu_us": "gateway CPU per request",
    "ratio": "requests/s, share of Triton direct",
    "added_p50_us": "added p50",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on one number of one case.

    Attributes:
        case: Where it is judged.
        metric: Name of the number in a comparison; the median over the rounds is judged.
        bound: Microseconds, or a ratio.
        at_most: Whether the number may not be more than the bound; else it may not be less.
    """

    case: Case
    metric: str
    bound: float
    at_most: bool

    @property
    def words(self) -> str:
        """What is bounded, and where."""
        protocol = {"rest": "REST", "grpc": "gRPC"}[self.case.protocol]
        title = {SMALL.name: SMALL.title, LARGE.name: LARGE.title}[self.case.model]
        connections = f"{self.case.concurrency} connection{'s' if self.case.concurrency > 1 else ''}"
        return f"{protocol}, {title}, {connections}: {_NAMES[self.metric]}"

    @property
    def bound_words(self) -> str:
        """The bound."""
        return f"{'at most' if self.at_most else 'at least'} {_FORMS[self.metric].format(self.bound)}"

    def judge(self, measured: float | None) -> Finding:
        """Compare the bound with a number, or with none."""
        if measured is None:
            return Finding(self, None, NOT_MEASURED)
        met = measured <= self.bound if self.at_most else measured >= self.bound
        return Finding(self, measured, MET if met else MISSED)


@dataclass(frozen=True, slots=True)
class Finding:
    """A target and what was measured."""

    target: Target
    measured: float | None
    verdict: str

    @property
    def measured_words(self) -> str:
        """The number, or nothing."""
        return "" if self.measured is None else _FORMS[self.target.metric].format(self.measured)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        target = self.target
        return {
            "target": target.words,
            "metric": target.metric,
            "bound": target.bound,
            "at_most": target.at_most,
            "measured": self.measured,
            "verdict": self.verdict,
        }


TARGETS = (
    Target(Case("rest", 32), "gateway_cpu_us", 110.0, at_most=True),
    Target(Case("grpc", 32), "gateway_cpu_us", 130.0, at_most=True),
    Target(Case("rest", 32), "ratio", 0.65, at_most=False),
    Target(Case("grpc", 32), "ratio", 0.65, at_most=False),
    Target(Case("rest", 1), "added_p50_us", 350.0, at_most=True),
    Target(Case("grpc", 1), "added_p50_us", 350.0, at_most=True),
    *(
        Target(Case(protocol, concurrency, LARGE.name), "ratio", 0.75, at_most=False)
        for protocol in ("rest", "grpc")
        for concurrency in (1, 8)
    ),
)


def judge(measured: Mapping[tuple[Case, str], float], targets: Sequence[Target] = TARGETS) -> list[Finding]:
    """Judge every target by the numbers of a run, by case and metric."""
    return [target.judge(measured.get((target.case, target.metric))) for target in targets]
