"""What versions answered in the last minute, from the workers' cumulative reports. Bounded: a few states a worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from services.core.counts.tally import Tally
from services.core.route import Role

TallyKey = tuple[str, int, Role]
_SPAN_S = 60.0
_APART_S = 10.0
_EMPTY = Tally()


class RecentTraffic:
    """Earlier states of each worker's counts, some seconds apart."""

    def __init__(self) -> None:
        self._states: dict[str, deque[tuple[float, Mapping[TallyKey, Tally]]]] = {}

    def note(self, instance: str, tallies: Mapping[TallyKey, Tally], now: float) -> None:
        """Take in a worker's counts since its start."""
        states = self._states.setdefault(instance, deque())
        # The last but one is far enough from the newest: that one is the newest no longer.
        if len(states) > 1 and states[-1][0] - states[-2][0] < _APART_S:
            states.pop()
        states.append((now, tallies))
        while len(states) > 2 and now - states[1][0] >= _SPAN_S:  # noqa: PLR2004 - two states make a difference
            states.popleft()

    def keep_only(self, instances: Iterable[str]) -> None:
        """Forget the workers that are gone."""
        self._states = {name: states for name in instances if (states := self._states.get(name)) is not None}

    def answered(self, model: str, version: int, role: Role) -> tuple[Tally, float]:
        """Return what a version answered lately in a role, and in how many seconds; nothing in 0 s where unknown."""
        total, seconds = _EMPTY, 0.0
        for states in self._states.values():
            (begun, earlier), (ended, latest) = states[0], states[-1]
            key = (model, version, role)
            if ended > begun and key in latest:  # a worker without room for it tells nothing of it any more
                total += latest[key] - earlier.get(key, _EMPTY)
                seconds = max(seconds, ended - begun)
        return total, seconds
