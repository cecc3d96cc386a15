"""What was seen while controllers were killed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from loadtest.controller_kills.coverage import Coverage


@dataclass
class Finding:
    """What was seen on one kind of database.

    Attributes:
        kills: How many, right after a change and at any moment.
        followed: Which changes the kills of a leader followed.
        freezes: Leaders that were stopped for longer than their lease, and woken.
        rollouts: Rollouts that are over, by strategy and how they ended.
        outcomes: Outcomes that were acknowledged.
        repeated: Outcomes that were told again after a call that failed, and were stored already.
        longest_s: Longest time from a controller's return to the end of a rollout, without another kill between.
        away_s: Longest time from a kill until some controller led again.
        frozen_away_s: Longest time from a leader's stop until another led.
        broken: Every broken promise, once.
    """

    kills: dict[str, int] = field(default_factory=dict)
    followed: Coverage = field(default_factory=Coverage)
    freezes: int = 0
    rollouts: dict[str, int] = field(default_factory=dict)
    outcomes: int = 0
    repeated: int = 0
    longest_s: float = 0.0
    away_s: float = 0.0
    frozen_away_s: float = 0.0
    broken: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """How many controllers were killed."""
        return sum(self.kills.values())

    def note(self, broken: Iterable[str]) -> None:
        """Add broken promises that were not found before."""
        self.broken += [line for line in dict.fromkeys(broken) if line not in self.broken]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "killed": self.killed,
            "kills": self.kills,
            "followed": self.followed.as_json(),
            "freezes": self.freezes,
            "rollouts": self.rollouts,
            "outcomes": self.outcomes,
            "repeated": self.repeated,
            "longest_s": round(self.longest_s, 2),
            "away_s": round(self.away_s, 2),
            "frozen_away_s": round(self.frozen_away_s, 2),
            "broken": self.broken,
        }
