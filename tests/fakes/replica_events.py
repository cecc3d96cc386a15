"""``ReplicaEvents`` that remembers everything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class RecordedEvents:
    """What a set of replicas told.

    Attributes:
        attempts: How often each replica and outcome came.
        second: Kinds of second attempts.
        ejections: Replica, model, version and reason, in order.
        readmissions: Replica, model and version, in order.
    """

    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    second: Counter[str] = field(default_factory=Counter)
    ejections: list[tuple[str, str | None, int | None, str]] = field(default_factory=list)
    readmissions: list[tuple[str, str | None, int | None]] = field(default_factory=list)

    def attempt(self, replica: str, model: str, version: int, outcome: str) -> None:
        self.attempts[replica, outcome] += 1

    def again(self, replica: str, model: str, version: int, kind: str) -> None:
        self.second[kind] += 1

    def ejected(self, replica: str, model: str | None, version: int | None, reason: str) -> None:
        self.ejections.append((replica, model, version, str(reason)))

    def readmitted(self, replica: str, model: str | None, version: int | None) -> None:
        self.readmissions.append((replica, model, version))

    def reasons(self, replica: str) -> set[str]:
        """Return why a replica, or something on it, was ejected."""
        return {reason for name, _, _, reason in self.ejections if name == replica}
