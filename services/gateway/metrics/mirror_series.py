"""Counts of copies, written off the response path: a few additions for each pair."""

from __future__ import annotations

from services.core.counts.comparison import MAX_SLICES, OTHER
from services.core.counts.difference import bucket_of
from services.core.counts.histogram import bucket_index
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.series import (
    COPY,
    DIFFERENCE_CELLS,
    MEASURES,
    MIRROR,
    MIRROR_DIFFERENCE,
    MIRROR_OUTPUT,
    MIRROR_PAIRS,
    MIRROR_TIME,
    NS_PER_S,
    ORIGINAL,
    OUTPUT_COUNTS,
    PAIR_COUNTS,
    REQUEST_CELLS,
)
from services.gateway.mirroring.outcome import Outcome
from services.gateway.mirroring.result import OutputResult, PairResult

# Slice keys that one worker counts by, of two versions, in all its life: a new rollout may ask for another key.
_MAX_KEYS = 4
_MAX_VALUE = 64
# Outputs that are counted, of two versions.
_MAX_OUTPUTS = 64


class MirrorSeries:
    """What one worker counts of copies of one version's requests that another got.

    Args:
        recorder: Gives out cells.
        model: Model name.
        answered: The version that answered.
        mirrored: The version that got the copies.
    """

    def __init__(self, recorder: Recorder, model: str, answered: int, mirrored: int) -> None:
        self._recorder = recorder
        self._labels = (model, str(answered), str(mirrored))
        self._all: int | None = None
        self._times: tuple[int, int] = (0, 0)
        self._slices: dict[tuple[str, str], int] = {}
        self._named: dict[str, int] = {}
        self._outputs: dict[str, _OutputCells] = {}

    def ended(self, outcome: Outcome) -> None:
        """Count one request that was chosen, by what became of it."""
        self._recorder.add(MIRROR, *self._labels, outcome)

    def compared(
        self, result: PairResult, original_s: float, copy_s: float, slice_key: str = "", value: str = ""
    ) -> None:
        """Count a pair.

        Args:
            result: How its two answers differ.
            original_s: Time of the original at Triton, seconds.
            copy_s: The same of the copy.
            slice_key: Name of the attribute by which slices are told apart; empty for no slices.
            value: The request's value of it.
        """
        if self._all is None:
            self._all = self._allocate_pairs()
        self.ended(Outcome.DIFFERENT if result.differing else Outcome.SAME)
        self._count_pair(self._all, result)
        if slice_key:
            self._count_pair(self._slice(slice_key, value), result)
        cells = self._recorder.cells
        for base, seconds in zip(self._times, (original_s, copy_s), strict=True):
            cells[base] += int(seconds * NS_PER_S)
            cells[base + 1 + bucket_index(seconds)] += 1
        for output in result.outputs:
            self._count_output(output)

    def _allocate_pairs(self) -> int:
        allocate, labels = self._recorder.allocate, self._labels
        # Before any pair: where pairs are counted it is counted how many copies had no answer.
        self._recorder.add(MIRROR, *labels, Outcome.FAILED, count=0)
        self._times = (
            allocate(MIRROR_TIME, (*labels, ORIGINAL), REQUEST_CELLS),
            allocate(MIRROR_TIME, (*labels, COPY), REQUEST_CELLS),
        )
        return allocate(MIRROR_PAIRS, (*labels, ""), len(PAIR_COUNTS))

    def _count_pair(self, base: int, result: PairResult) -> None:
        cells = self._recorder.cells
        cells[base] += 1
        cells[base + 1] += result.differing
        cells[base + 2] += result.mismatched
        cells[base + 3] += result.ranked
        cells[base + 4] += result.agree

    def _slice(self, key: str, value: str) -> int:
        """Return the cells of a slice: its own while there is room for one more, else those of all others."""
        value = value[:_MAX_VALUE]
        known = self._slices.get((key, value))
        if known is not None:
            return known
        named = self._named.get(key, 0 if len(self._named) < _MAX_KEYS else MAX_SLICES)
        if named < MAX_SLICES:
            self._named[key] = named + 1
            name, place = f"{key}={value}", (key, value)
        else:
            # Values without a place are not remembered: there may be any number of them.
            name, place = OTHER, ("", OTHER)
            if place in self._slices:
                return self._slices[place]
        base = self._recorder.allocate(MIRROR_PAIRS, (*self._labels, name), len(PAIR_COUNTS))
        self._slices[place] = base
        return base

    def _count_output(self, output: OutputResult) -> None:
        known = self._outputs.get(output.name)
        if known is None:
            if len(self._outputs) >= _MAX_OUTPUTS or not self._recorder.fits(self._labels, output.name):
                return
            known = self._outputs[output.name] = _OutputCells(self._recorder, (*self._labels, output.name))
        known.count(output)


class _OutputCells:
    """The cells of one output."""

    __slots__ = ("_base", "_labels", "_measures", "_recorder")

    def __init__(self, recorder: Recorder, labels: tuple[str, ...]) -> None:
        self._recorder = recorder
        self._labels = labels
        self._base = recorder.allocate(MIRROR_OUTPUT, labels, len(OUTPUT_COUNTS))
        self._measures: dict[str, int] = {}

    def count(self, output: OutputResult) -> None:
        """Count one pair's differences of this output."""
        cells, base = self._recorder.cells, self._base
        cells[base] += 1
        cells[base + 1] += output.ranked
        cells[base + 2] += output.agree
        cells[base + 3] += output.non_finite
        cells[base + 4] += output.original_non_finite
        cells[base + 5] += output.copy_non_finite
        cells[base + 6] += output.both_non_finite
        for measure in MEASURES:
            difference: float | None = getattr(output, measure)
            if difference is not None:
                cells[self._cells_of(measure) + bucket_of(difference)] += 1

    def _cells_of(self, measure: str) -> int:
        first = self._measures.get(measure)
        if first is None:
            first = self._recorder.allocate(MIRROR_DIFFERENCE, (*self._labels, measure), DIFFERENCE_CELLS)
            self._measures[measure] = first
        return first
