"""All workers' counts added up. A worker that dies leaves its counts behind: a counter never goes down.

Its gauges go with it: what it had in flight is in flight no more.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from services.gateway.metrics.series import GAUGES
from services.gateway.metrics.slab import Record, SeriesKey, SlabReader, Values, WorkerState

Merged = dict[SeriesKey, Values]


class MergedSlabs:
    """The slabs of the workers that live, and the sum of those that died."""

    def __init__(self) -> None:
        self._live: dict[str, SlabReader] = {}
        self._retired: Merged = {}

    def add(self, worker: str, slab: SlabReader) -> None:
        """Take in the slab of a new worker.

        Args:
            worker: A name of its own, also among the dead.
            slab: Where it counts.
        """
        self._live[worker] = slab

    def retire(self, worker: str) -> None:
        """Keep the last counts of a worker that has ended."""
        slab = self._live.pop(worker, None)
        if slab is not None:
            self._retired = _sum(self._retired, (r for r in slab.records() if r.key[0] not in GAUGES))

    def merged(self) -> Merged:
        """Return every series, added up over all workers that ever were; the caller may keep it."""
        total = {key: values.copy() for key, values in self._retired.items()}
        for slab in self._live.values():
            total = _sum(total, slab.records())
        return total

    def gauges(self) -> Merged:
        """Return the gauges alone."""
        total: Merged = {}
        for slab in self._live.values():
            total = _sum(total, slab.records(GAUGES))
        return total

    @property
    def listening(self) -> int:
        """Workers that accept requests."""
        return sum(slab.state is WorkerState.LISTENING for slab in self._live.values())

    @property
    def in_flight(self) -> int:
        """Requests that are being forwarded now."""
        return sum(slab.in_flight for slab in self._live.values())

    @property
    def generation(self) -> int:
        """The oldest generation of the route table that a worker still serves with."""
        return min((slab.generation for slab in self._live.values()), default=0)

    @property
    def room_used(self) -> float:
        """The share of its room for counters that the fullest worker has used, from 0 to 1."""
        return max((slab.room_used for slab in self._live.values()), default=0.0)

    @property
    def without_room(self) -> int:
        """The most models of which a worker cannot count everything any more."""
        return max((slab.without_room for slab in self._live.values()), default=0)


def _sum(total: Merged, records: Iterable[Record]) -> Merged:
    for key, values in records:
        present = total.get(key)
        if present is None:
            total[key] = values
        elif len(present) >= len(values):
            present[: len(values)] += values
        else:
            values[: len(present)] += present
            total[key] = values
    return total


def difference(now: Merged, earlier: Merged) -> Merged:
    """Return what was counted between two states of the same sums."""
    return {key: _minus(values, earlier.get(key)) for key, values in now.items()}


def _minus(values: Values, earlier: Values | None) -> Values:
    if earlier is None:
        return values
    grown = np.zeros_like(values)
    grown[: len(earlier)] = earlier
    return values - grown
