"""Which changes of which strategies a kill has followed, and where one is wanted most. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Self

from loadtest.controller_kills.scenarios import CASES, Case, Change, changes_by_strategy


class Coverage:
    """Counts the kills that followed each change.

    Attributes:
        kills: How many, by strategy and change.
    """

    def __init__(self) -> None:
        self.kills = {strategy: dict.fromkeys(sorted(changes), 0) for strategy, changes in _CHANGES.items()}
        self._begun: Counter[Case] = Counter()

    @classmethod
    def merged(cls, parts: Iterable[Self]) -> Self:
        """Return what several saw together."""
        whole = cls()
        for part in parts:
            for strategy, kills in part.kills.items():
                for change, count in kills.items():
                    whole.add(strategy, change, count)
        return whole

    def add(self, strategy: str, change: Change, count: int = 1) -> None:
        """Count kills right after a change."""
        kills = self.kills[strategy]
        kills[change] = kills.get(change, 0) + count

    def is_rarest(self, strategy: str, change: Change) -> bool:
        """Return whether no other change of the strategy was followed by fewer kills."""
        kills = self.kills[strategy]
        return kills.get(change, 0) == min(kills.values())

    def next_case(self) -> Case:
        """Return the case to begin: each once, then those with changes to catch, those that were begun often last."""
        case = max(CASES, key=lambda each: (not self._begun[each], self._promise(each), -self._begun[each]))
        self._begun[case] += 1
        return case

    def never(self) -> list[str]:
        """Return the changes that no kill has followed, with their strategy."""
        return [
            f"{strategy}: {change}"
            for strategy, kills in self.kills.items()
            for change, count in kills.items()
            if not count
        ]

    def as_json(self) -> dict[str, dict[str, int]]:
        """Return the kills by strategy and change."""
        return {
            strategy: {str(change): count for change, count in kills.items()} for strategy, kills in self.kills.items()
        }

    def _promise(self, case: Case) -> float:
        kills = self.kills[case.strategy]
        return sum(not kills[change] for change in case.changes) / (1 + self._begun[case])


_CHANGES = changes_by_strategy()
