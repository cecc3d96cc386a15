"""Looks at the memory of a rollout's versions in the background, for each rollout that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from services.controller.background import BackgroundOwner
from services.core.memory.course import MemoryReading
from services.core.memory.terms import LeakCheck
from services.core.rollouts.rollout import Rollout
from services.triton.memory.source import MemorySource, reports_in_time


class MemoryWatch(BackgroundOwner[str]):
    """Used as a context: what is under way is cancelled at its end.

    Args:
        source: Where memory is known.
        clock: Wall clock, seconds since the epoch.
    """

    def __init__(self, source: MemorySource, clock: Callable[[], float]) -> None:
        super().__init__()
        self._source, self._clock = source, clock
        self._readings: dict[str, MemoryReading] = {}

    def take(self, rollout: Rollout) -> MemoryReading | None:
        """Return the look at memory that was made for a rollout since the last call, and begin one that is due."""
        terms, last_at = rollout.spec.memory, rollout.evidence.memory.last_at
        if terms.leak_check is LeakCheck.OFF:
            return None
        reading = self._readings.pop(rollout.id, None)
        if reading is None and rollout.id not in self._running and self._clock() - last_at >= terms.interval_s:
            self._running.begin(rollout.id, self._look(rollout.id), f"look at the memory for {rollout.id}")
        return reading

    def keep(self, rollouts: Collection[str]) -> None:
        """Drop what is known of every rollout but these, and end what is looked at for others."""
        self._running.keep(lambda rollout: rollout in rollouts)
        self._readings = {rollout: reading for rollout, reading in self._readings.items() if rollout in rollouts}

    def drop(self) -> None:
        """Begin anew: end what is under way, and forget what was seen."""
        self._running.cancel_all()
        self._readings.clear()

    async def _look(self, rollout_id: str) -> None:
        reports = await reports_in_time(self._source)
        self._readings[rollout_id] = MemoryReading(self._clock(), reports)
