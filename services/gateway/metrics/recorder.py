"""The worker's counters, written in the request path: a dictionary look-up and a few additions per request."""

from __future__ import annotations

from collections.abc import Sequence

from services.core.histogram import bucket_index
from services.gateway.metrics.series import (
    LABELS,
    NON_FINITE,
    NS_PER_S,
    OVERFLOW,
    PREDICTIONS,
    REQUEST,
    REQUEST_CELLS,
    STAGE,
    STAGE_CELLS,
    STAGES,
    stage_bucket,
)
from services.gateway.metrics.slab import SlabWriter

# A vocabulary is no class list: beyond this the mix of predictions says nothing and only takes room.
MAX_CLASSES = 4096


class Recorder:
    """Gives out the series of one worker, each allocated when it is first counted.

    Args:
        slab: Where the counts live.
    """

    def __init__(self, slab: SlabWriter) -> None:
        self._slab = slab
        self._requests: dict[tuple[str, str, int | None, str], RequestSeries] = {}
        self._answers: dict[tuple[str, int, str], AnswerSeries] = {}
        sizes = {REQUEST: REQUEST_CELLS, STAGE: STAGE_CELLS, NON_FINITE: 1, PREDICTIONS: MAX_CLASSES}
        self._overflow = {family: self._overflow_series(family, size) for family, size in sizes.items()}

    def requests(self, protocol: str, model: str, version: int | None, role: str) -> RequestSeries:
        """Return the series of one kind of request.

        Args:
            protocol: ``rest`` or ``grpc``.
            model: A model of the route table; empty for any other, so that clients cannot make series.
            version: The version that was chosen, or None when it did not come to that.
            role: What part the version played; empty where there is none.
        """
        key = (protocol, model, version, role)
        series = self._requests.get(key)
        if series is None:
            labels = (model, "" if version is None else str(version), protocol, role)
            series = self._requests[key] = RequestSeries(self, labels)
        return series

    def answers(self, model: str, version: int, role: str) -> AnswerSeries:
        """Return what is counted of the content of one version's answers."""
        key = (model, version, role)
        series = self._answers.get(key)
        if series is None:
            series = self._answers[key] = AnswerSeries(self, (model, str(version), role))
        return series

    @property
    def cells(self) -> memoryview:
        """The cells of the slab."""
        return self._slab.cells

    def allocate(self, family: str, labels: tuple[str, ...], size: int) -> int:
        """Return the first cell of a series; that of the family's overflow series when the slab is full."""
        start = self._slab.allocate((family, *labels), size)
        return self._overflow[family] if start is None else start

    def _overflow_series(self, family: str, size: int) -> int:
        labels = (OVERFLOW, *("" for _ in LABELS[family][1:]))
        start = self._slab.allocate((family, *labels), size)
        if start is None:
            raise ValueError("the slab is too small for its overflow series; make it at least 1 MiB")
        return start


class RequestSeries:
    """Counts and times of the requests of one model, version, protocol and role."""

    __slots__ = ("_cells", "_labels", "_outcomes", "_recorder", "_stages")

    def __init__(self, recorder: Recorder, labels: tuple[str, ...]) -> None:
        self._recorder = recorder
        self._cells = recorder.cells
        self._labels = labels
        self._outcomes: dict[str, int] = {}
        self._stages: list[int] = []

    def finish(self, outcome: str, marks: Sequence[float], now: float) -> None:
        """Count one request.

        Args:
            outcome: A value of ``Status.outcome``, or ``cancelled`` or ``expired``.
            marks: The time of arrival and then the ends of the completed stages, in the order of ``STAGES``; seconds.
            now: The end; seconds on the same clock.
        """
        cells = self._cells
        base = self._outcomes.get(outcome)
        if base is None:
            base = self._recorder.allocate(REQUEST, (*self._labels, outcome), REQUEST_CELLS)
            self._outcomes[outcome] = base
        begin = marks[0]
        seconds = now - begin
        cells[base] += int(seconds * NS_PER_S)
        cells[base + 1 + bucket_index(seconds)] += 1
        for base, mark in zip(self._stages or self._allocate_stages(), marks[1:]):  # noqa: B905 - a failure has fewer
            seconds = mark - begin
            begin = mark
            cells[base] += int(seconds * NS_PER_S)
            cells[base + 1 + stage_bucket(bucket_index(seconds))] += 1

    def _allocate_stages(self) -> list[int]:
        self._stages = [self._recorder.allocate(STAGE, (*self._labels, stage), STAGE_CELLS) for stage in STAGES]
        return self._stages


class AnswerSeries:
    """Counts of what the answers of one model, version and role said."""

    __slots__ = ("_cells", "_labels", "_non_finite", "_outputs", "_recorder")

    def __init__(self, recorder: Recorder, labels: tuple[str, ...]) -> None:
        self._recorder = recorder
        self._cells = recorder.cells
        self._labels = labels
        self._non_finite: int | None = None
        self._outputs: dict[str, tuple[int, int]] = {}

    def count_non_finite(self) -> None:
        """Count an answer that has a NaN or an infinity in it."""
        if self._non_finite is None:
            self._non_finite = self._recorder.allocate(NON_FINITE, self._labels, 1)
        self._cells[self._non_finite] += 1

    def count_class(self, output: str, index: int, classes: int) -> None:
        """Count one row whose best class is ``index`` of ``classes``; more than ``MAX_CLASSES`` are not counted."""
        known = self._outputs.get(output)
        if known is None:
            if classes > MAX_CLASSES:
                return
            known = (self._recorder.allocate(PREDICTIONS, (*self._labels, output), classes), classes)
            self._outputs[output] = known
        if index < known[1]:
            self._cells[known[0] + index] += 1
