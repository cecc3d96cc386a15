"""What an experiment found, and whether that is what was promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loadtest.chaos.journal import Summary

# A process that gets no CPU for this long finds the servers in the same state.
MOST_LATE_S = 0.5


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise and what became of it.

    Attributes:
        words: What was promised, such as ``0 failed``.
        kept: Whether it held.
    """

    words: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One experiment.

    Attributes:
        name: What was done.
        summary: Every request that was due meanwhile.
        seconds: How long it took.
        facts: Further findings, by name.
        promises: What should hold.
    """

    name: str
    summary: Summary
    seconds: float
    promises: list[Promise]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether every promise held, on a machine that could show it."""
        return not self.void and all(promise.kept for promise in self.promises)

    @property
    def void(self) -> bool:
        """Whether the load generator itself was held up for so long that failures say nothing of the system."""
        return self.summary.generator_late_s > MOST_LATE_S

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; latencies in milliseconds."""
        summary = self.summary
        return {
            "experiment": self.name,
            "seconds": round(self.seconds, 1),
            "requests": summary.requests,
            "failed": summary.failed,
            "over_deadline": summary.over_deadline,
            "resent_by_clients": summary.resent,
            "failures": summary.kinds,
            "examples": summary.examples,
            "p50_ms": summary.quantile_ms(0.5),
            "p99_ms": summary.quantile_ms(0.99),
            "max_ms": summary.quantile_ms(1.0),
            "facts": self.facts,
            "promises": [{"promise": one.words, "kept": one.kept} for one in self.promises],
            "generator_late_s": round(summary.generator_late_s, 3),
            "void": self.void,
            "kept": self.kept,
        }
