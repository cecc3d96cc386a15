"""What an experiment found, and whether that is what was promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loadtest.chaos.journal import Summary


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
        """Whether every promise held."""
        return all(promise.kept for promise in self.promises)

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
            "kept": self.kept,
        }
