"""A worker's counts of how the values of one version's answers are distributed, written in the request path."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.core.counts.value_histogram import bin_of

# Outputs of one version, role and kind that are counted, the first that answer: 25 KB each.
MAX_OUTPUTS = 16
NOT_COUNTED = 0  # the first cell of a slab is none of a series


class ValueSeries:
    """The values of one kind in the answers of one model, version and role.

    Args:
        cells: The cells of the slab.
        begin: Gives the first cell of a new series of a kind and an output; ``NOT_COUNTED`` where it gets none.
        kind: ``CONFIDENCE`` or ``MEAN`` of ``services.core.counts.value_histogram``.
    """

    __slots__ = ("_begin", "_cells", "_kind", "_starts")

    def __init__(self, cells: memoryview, begin: Callable[[str, str], int], kind: str) -> None:
        self._cells = cells
        self._begin = begin
        self._kind = kind
        self._starts: dict[str, int] = {}

    def count(self, output: str, value: float) -> None:
        """Count the finite value of an answer of one row."""
        start = self._starts.get(output)
        if start is None:
            start = self._start(output)
        if start:
            self._cells[start] += 1
            self._cells[start + 1 + bin_of(value)] += 1

    def count_rows(self, output: str, values: Sequence[float]) -> None:
        """Count the finite values of one answer's rows."""
        start = self._starts.get(output)
        if start is None:
            start = self._start(output)
        if start:
            cells, first = self._cells, start + 1
            cells[start] += len(values) ** 2
            for value in values:
                cells[first + bin_of(value)] += 1

    def _start(self, output: str) -> int:
        """Return the first cell of a series."""
        counted = sum(start != NOT_COUNTED for start in self._starts.values())
        start = self._starts[output] = self._begin(self._kind, output) if counted < MAX_OUTPUTS else NOT_COUNTED
        return start
