"""All workers' counts added up. A worker that dies leaves its counts behind: a counter never goes down.

Its gauges go with it: what it had in flight is in flight no more. Of series that no worker has counted for long, which
are of versions that are gone, only the sum is kept.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from services.gateway.metrics.series import GAUGES, LABELS, overflow_key
from services.gateway.metrics.slab import SLAB_BYTES, Record, SeriesKey, SlabReader, Values, WorkerState

Merged = dict[SeriesKey, Values]

# Of dead workers: twice what a worker has at most.
_MOST_RETIRED_CELLS = 2 * SLAB_BYTES // 8


class MergedSlabs:
    """The slabs of the workers that live, and the sum of those that died.

    Args:
        most_retired_cells: Bound on what is kept of those that died, beside the overflow series.
    """

    def __init__(self, most_retired_cells: int = _MOST_RETIRED_CELLS) -> None:
        self._most_retired_cells = most_retired_cells
        self._live: dict[str, SlabReader] = {}
        self._retired: Merged = {}  # what was retired last comes last

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
        if slab is None:
            return
        for key, values in slab.records():
            if key[0] not in GAUGES and values.any():
                self._retired[key] = _added(self._retired.pop(key, None), values)
        self._bound_retired()

    def _bound_retired(self) -> None:
        """Add the series up that no worker counts, and that were not counted for the longest."""
        cells = sum(map(len, self._retired.values()))
        if cells <= self._most_retired_cells:
            return
        counted = {key for slab in self._live.values() for key in slab.keys()}  # noqa: SIM118 - no dictionary
        counted |= {overflow_key(family) for family in LABELS}
        for key in [key for key in self._retired if key not in counted]:
            if cells <= self._most_retired_cells:
                return
            values, overflow = self._retired.pop(key), overflow_key(key[0])
            cells -= len(values)
            self._retired[overflow] = _added(self._retired.get(overflow), values)

    def merged(self, families: frozenset[str] | None = None) -> Merged:
        """Return every series, or those of some families, added up over all workers that ever were.

        The caller may keep it, and changes no values.
        """
        total = {key: values for key, values in self._retired.items() if families is None or key[0] in families}
        for slab in self._live.values():
            _add(total, slab.records(families))
        return total

    def gauges(self) -> Merged:
        """Return the gauges alone."""
        total: Merged = {}
        for slab in self._live.values():
            _add(total, slab.records(GAUGES))
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


def _add(total: Merged, records: Iterable[Record]) -> None:
    for key, values in records:
        total[key] = _added(total.get(key), values)


def _added(present: Values | None, values: Values) -> Values:
    """Return a sum in which the shorter one's missing cells are 0; what is given stays as it is."""
    if present is None:
        return values
    longer, shorter = (present, values) if len(present) >= len(values) else (values, present)
    total = longer.copy()
    total[: len(shorter)] += shorter
    return total


def difference(now: Merged, earlier: Merged) -> Merged:
    """Return what was counted between two states of the same sums."""
    return {key: _minus(values, earlier.get(key)) for key, values in now.items()}


def _minus(values: Values, earlier: Values | None) -> Values:
    if earlier is None:
        return values
    grown = np.zeros_like(values)
    grown[: len(earlier)] = earlier
    return values if (values < grown).any() else values - grown  # less than before: it was begun anew
