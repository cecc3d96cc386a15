"""Looks at the memory of a rollout's versions in the background, for each rollout that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from services.controller.background import BackgroundOwner
from services.core.memory.course import MemoryReading
from services.core.memory.terms import LeakCheck
from services.core.rollouts.rollout import Rollout
from services.triton.memory.source import MemorySource, reports_in_time


@dataclass(frozen=True, slots=True)
class _Look:
    """When the last look was made: by the monotonic clock, and as it was told."""

    at: float
    told_at: float


class MemoryWatch(BackgroundOwner[str]):
    """Used as a context: what is under way is cancelled at its end.

    A slope is made of the times of looks. That of the first is the wall clock's, and the others follow it as the
    monotonic clock goes: a wall clock that is set, back or forward, moves none of them.

    Args:
        source: Where memory is known.
        clock: Wall clock, seconds since the epoch.
        monotonic: Monotonic clock, seconds.
    """

    def __init__(self, source: MemorySource, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._source, self._clock, self._monotonic = source, clock, monotonic
        self._looks: dict[str, _Look] = {}
        self._readings: dict[str, MemoryReading] = {}

    def take(self, rollout: Rollout) -> MemoryReading | None:
        """Return the look at memory that was made for a rollout since the last call, and begin one that is due."""
        if rollout.spec.memory.leak_check is LeakCheck.OFF:
            return None
        reading = self._readings.pop(rollout.id, None)
        if reading is None and rollout.id not in self._running and self._is_due(rollout):
            self._running.begin(rollout.id, self._look(rollout), f"look at the memory for {rollout.id}")
        return reading

    def keep(self, rollouts: Collection[str]) -> None:
        """Drop what is known of every rollout but these, and end what is looked at for others."""
        self._running.keep(lambda rollout: rollout in rollouts)
        self._looks = {rollout: look for rollout, look in self._looks.items() if rollout in rollouts}
        self._readings = {rollout: reading for rollout, reading in self._readings.items() if rollout in rollouts}

    def drop(self) -> None:
        """Begin anew: end what is under way, and forget what was seen."""
        self._running.cancel_all()
        self._looks.clear()
        self._readings.clear()

    def _is_due(self, rollout: Rollout) -> bool:
        look, interval_s = self._looks.get(rollout.id), rollout.spec.memory.interval_s
        if look is None:  # by this process, as it leads now; the time of the look before is all that is known
            return not 0.0 <= self._clock() - rollout.evidence.memory.last_at < interval_s
        return self._monotonic() - look.at >= interval_s

    async def _look(self, rollout: Rollout) -> None:
        reports = await reports_in_time(self._source)
        look = self._looks[rollout.id] = self._now(rollout)
        self._readings[rollout.id] = MemoryReading(look.told_at, reports)

    def _now(self, rollout: Rollout) -> _Look:
        now, before = self._monotonic(), self._looks.get(rollout.id)
        if before is not None:
            return _Look(now, before.told_at + now - before.at)
        # Where the clock was set back since the last look of another process, it counts as one interval ago.
        last_at = rollout.evidence.memory.last_at
        return _Look(now, max(self._clock(), last_at + rollout.spec.memory.interval_s))
