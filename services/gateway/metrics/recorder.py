"""The worker's counters, written in the request path: a dictionary look-up and a few additions per request."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from services.core.counts.histogram import bucket_index
from services.core.counts.report_bounds import MAX_NAME, MAX_OUTPUTS, fits
from services.core.counts.value_histogram import CONFIDENCE, MEAN
from services.gateway.metrics import comparisons, tallies
from services.gateway.metrics.series import (
    DIFFERENCE_CELLS,
    EXCHANGE,
    EXCHANGE_CELLS,
    FAILED,
    FAILURES,
    GAUGES,
    IN_FLIGHT,
    LABELS,
    LOOP_LAG,
    MIRROR_DIFFERENCE,
    MIRROR_OUTPUT,
    MIRROR_PAIRS,
    MIRROR_TIME,
    NON_FINITE,
    NS_PER_S,
    OUTPUT_COUNTS,
    PAIR_COUNTS,
    PREDICTIONS,
    REQUEST,
    REQUEST_CELLS,
    STAGE,
    STAGE_CELLS,
    STAGES,
    VALUE_CELLS,
    VALUES,
    overflow_key,
)
from services.gateway.metrics.slab import SlabWriter
from services.gateway.metrics.value_series import NOT_COUNTED, ValueSeries

# A vocabulary is no class list: beyond this the mix of predictions says nothing and only takes room.
MAX_CLASSES = 4096
# Series of plain counters and gauges: replicas that come and go under new addresses must not fill the memory.
MAX_PLAIN_SERIES = 4096
# Two cells of a gauge: whether this worker has it (0 or 1), and its value.
_GAUGE_CELLS = 2
_SHOWN_NAME = 80  # characters of an output's name in the log
# What versions are judged by: what is missing of these must not look like nothing.
_EVIDENCE = tallies.FAMILIES | comparisons.FAMILIES

_SIZES = {
    REQUEST: REQUEST_CELLS,
    STAGE: STAGE_CELLS,
    EXCHANGE: EXCHANGE_CELLS,
    PREDICTIONS: MAX_CLASSES,
    VALUES: VALUE_CELLS,
    LOOP_LAG: STAGE_CELLS,
    MIRROR_PAIRS: len(PAIR_COUNTS),
    MIRROR_TIME: REQUEST_CELLS,
    MIRROR_OUTPUT: len(OUTPUT_COUNTS),
    MIRROR_DIFFERENCE: DIFFERENCE_CELLS,
    **dict.fromkeys(GAUGES, _GAUGE_CELLS),
}

_log = logging.getLogger(__name__)


class Recorder:
    """Gives out the series of one worker, each allocated when it is first counted.

    Args:
        slab: Where the counts live.

    Attributes:
        without_room: Models of whose answers or copies something had no room: what is counted of them is no evidence.
    """

    def __init__(self, slab: SlabWriter) -> None:
        self.without_room: set[str] = set()
        self._left_out: set[tuple[str, str, str]] = set()
        self._slab = slab
        self._requests: dict[tuple[str, str, int | None, str], RequestSeries] = {}
        self._answers: dict[tuple[str, int, str], AnswerSeries] = {}
        # Made first, so that there is room for them. A family without labels has this one series.
        self._overflow = {family: self._overflow_series(family) for family in LABELS}
        self._plain: dict[tuple[str, ...], int] = {(f,): self._overflow[f] for f in LABELS if not LABELS[f]}

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

    def add(self, family: str, *labels: str, count: int = 1) -> None:
        """Count in a series of a plain counter."""
        key = (family, *labels)
        cell = self._plain.get(key)
        if cell is None:
            cell = self._plain_series(key)
        self._slab.cells[cell] += count

    def add_time(self, family: str, seconds: float) -> None:
        """Count a duration in a family that is a histogram without labels."""
        cell = self._plain[family,]
        ns = int(seconds * NS_PER_S)
        self._slab.cells[cell] += ns
        self._slab.cells[cell + 1 + ns.bit_length()] += 1

    def put(self, family: str, labels: tuple[str, ...], value: int | None) -> None:
        """Publish the present value of a gauge; None takes it back."""
        key = (family, *labels)
        cell = self._plain.get(key)
        if cell is None:
            if value is None:
                return
            cell = self._plain_series(key)
        if labels and cell == self._overflow[family]:
            return  # of gauges, a sum of those that have no room would say nothing
        self._slab.cells[cell] = int(value is not None)
        self._slab.cells[cell + 1] = value or 0

    @property
    def cells(self) -> memoryview:
        """The cells of the slab."""
        return self._slab.cells

    def allocate(self, family: str, labels: tuple[str, ...], size: int, instead: int | None = None) -> int:
        """Return the first cell of a new series.

        Args:
            family: Its family.
            labels: Values of the family's labels.
            size: Number of cells.
            instead: Where to count when the slab is full; by default in the family's overflow series, which is no
                evidence.
        """
        start = self._slab.allocate((family, *labels), size)
        if start is not None:
            return start
        if instead is not None:
            return instead
        self._miss(family, labels)
        return self._overflow[family]

    def fits(self, labels: tuple[str, ...], output: str) -> bool:
        """Return whether an output's name has its place in a report; labels begin with model and version."""
        if not fits(output):
            self.leave_out(labels, output, f"its name has {len(output):,} characters; reports take {MAX_NAME:,}")
            return False
        return True

    def leave_out(self, labels: tuple[str, ...], output: str, why: str) -> None:
        """Log, once for a version, that an output is not compared with that of other versions."""
        model, version = labels[:2]
        if (model, version, output) not in self._left_out:
            self._left_out.add((model, version, output))
            words = "output '%s' of model '%s' version %s is not compared with other versions: %s"
            _log.warning(words, output[:_SHOWN_NAME], model, version, why)

    def _miss(self, family: str, labels: tuple[str, ...]) -> None:
        """Note that the counts of a model have a gap from now on."""
        if family not in _EVIDENCE:
            return
        model, version = labels[:2]
        if version and model not in self.without_room:
            self.without_room.add(model)
            self._slab.set_without_room(len(self.without_room))
            _log.warning(
                "the memory of this worker's counters is full: model '%s' version %s cannot be counted completely; "
                "until the worker is replaced its reports leave the model out, and rollouts of it wait",
                model,
                version,
            )

    def _plain_series(self, key: tuple[str, ...]) -> int:
        family, *labels = key
        if len(self._plain) >= MAX_PLAIN_SERIES and family not in _EVIDENCE:
            return self._overflow[family]
        cell = self._plain[key] = self.allocate(family, tuple(labels), _SIZES.get(family, 1))
        return cell

    def _overflow_series(self, family: str) -> int:
        start = self._slab.allocate(overflow_key(family), _SIZES.get(family, 1))
        if start is None:
            raise ValueError("the slab is too small for its overflow series; make it at least 1 MiB")
        return start


class RequestSeries:
    """Counts and times of the requests of one model, version, protocol and role."""

    __slots__ = ("_answered", "_cells", "_failures", "_in_flight", "_labels", "_outcomes", "_recorder")

    def __init__(self, recorder: Recorder, labels: tuple[str, ...]) -> None:
        self._recorder = recorder
        self._cells = recorder.cells
        self._labels = labels
        self._outcomes: dict[str, int] = {}
        self._failures: int | None = None
        self._answered: tuple[int, ...] | None = None
        self._in_flight = 0

    def begin(self) -> None:
        """Count a request as in flight, until ``end``."""
        cell = self._in_flight
        if not cell:
            base = self._recorder.allocate(IN_FLIGHT, self._labels, _GAUGE_CELLS)
            self._cells[base] = 1
            cell = self._in_flight = base + 1
        self._cells[cell] += 1

    def end(self) -> None:
        """Take back what ``begin`` counted."""
        self._cells[self._in_flight] -= 1

    def finish(self, outcome: str, duration_s: float) -> None:
        """Count one request by its outcome.

        Args:
            outcome: A value of ``Status.outcome`` or of ``services.gateway.outcomes``.
            duration_s: Time from its arrival to its end, seconds.
        """
        base = self._outcomes.get(outcome)
        if base is None:
            base = self._outcomes[outcome] = self._begin(outcome)
        cells = self._cells
        cells[base] += int(duration_s * NS_PER_S)
        cells[base + 1 + bucket_index(duration_s)] += 1

    def answered(self, marks: Sequence[float], exchange_s: float, *, rode_along: bool = False) -> None:
        """Count where the time of an answered request went.

        Args:
            marks: The time of arrival and then the ends of ``STAGES``; seconds on one clock.
            exchange_s: Of the stage ``forward``, the time from the write of the request to the answer's last byte.
            rode_along: Whether that exchange is counted for another request.
        """
        arrived, ready, admitted, forwarded, encoded = marks
        edge, admission, forward, answer, exchange = self._answered or self._allocate()
        cells, per_s = self._cells, NS_PER_S
        # Written out, because a loop over the stages costs as much as the counting.
        ns = int((ready - arrived) * per_s)
        cells[edge] += ns
        cells[edge + 1 + ns.bit_length()] += 1
        ns = int((admitted - ready) * per_s)
        cells[admission] += ns
        cells[admission + 1 + ns.bit_length()] += 1
        ns = int((forwarded - admitted) * per_s)
        cells[forward] += ns
        cells[forward + 1 + ns.bit_length()] += 1
        ns = int((encoded - forwarded) * per_s)
        cells[answer] += ns
        cells[answer + 1 + ns.bit_length()] += 1
        cells[exchange] += 1
        ns = int(exchange_s * per_s)
        cells[exchange + 1] += ns
        if not rode_along:
            cells[exchange + 2] += 1
            cells[exchange + 3] += ns

    def _begin(self, outcome: str) -> int:
        """Return the first cell of an outcome, which for failures without room is one of all of them."""
        allocate, labels = self._recorder.allocate, self._labels
        if self._failures is None and labels[1]:
            # Before anything else of the version: where its answers are counted its failures are too.
            self._failures = allocate(REQUEST, (*labels, FAILED), REQUEST_CELLS)
        instead = self._failures if outcome in FAILURES else None
        return allocate(REQUEST, (*labels, outcome), REQUEST_CELLS, instead)

    def _allocate(self) -> tuple[int, ...]:
        allocate, labels = self._recorder.allocate, self._labels
        stages = [allocate(STAGE, (*labels, stage), STAGE_CELLS) for stage in STAGES]
        self._answered = (*stages, allocate(EXCHANGE, labels, EXCHANGE_CELLS))
        return self._answered


class AnswerSeries:
    """Counts of what the answers of one model, version and role said.

    Attributes:
        confidences: Scores of the first classes of outputs with class labels.
        means: Means of the rows of numeric outputs without.
    """

    __slots__ = ("_cells", "_labels", "_non_finite", "_outputs", "_recorder", "confidences", "means")

    def __init__(self, recorder: Recorder, labels: tuple[str, ...]) -> None:
        self._recorder = recorder
        self._cells = recorder.cells
        self._labels = labels
        # Before any value of an answer: where those are counted it is counted which answers are not finite.
        self._non_finite = recorder.allocate(NON_FINITE, labels, 1)
        self._outputs: dict[str, tuple[int, int]] = {}
        self.confidences = ValueSeries(self._cells, self._begin_values, CONFIDENCE)
        self.means = ValueSeries(self._cells, self._begin_values, MEAN)

    def count_non_finite(self) -> None:
        """Count an answer that has a NaN or an infinity in it."""
        self._cells[self._non_finite] += 1

    def count_class(self, output: str, index: int, classes: int) -> None:
        """Count one row whose best class is ``index`` of ``classes``.

        More than ``MAX_CLASSES`` are not counted, nor is what has no place in a report.
        """
        known = self._outputs.get(output)
        if known is None:
            if classes > MAX_CLASSES:
                return
            known = self._outputs[output] = self._begin_classes(output, classes)
        if index < known[1]:
            self._cells[known[0] + index] += 1

    def _begin_classes(self, output: str, classes: int) -> tuple[int, int]:
        """Return the first cell of an output's classes and their number; 0 of them where it is not counted."""
        if sum(size > 0 for _, size in self._outputs.values()) >= MAX_OUTPUTS:
            self._recorder.leave_out(self._labels, output, f"{MAX_OUTPUTS} others with class labels are counted")
            return NOT_COUNTED, 0
        if not self._recorder.fits(self._labels, output):
            return NOT_COUNTED, 0
        return self._recorder.allocate(PREDICTIONS, (*self._labels, output), classes), classes

    def _begin_values(self, kind: str, output: str) -> int:
        """Return the first cell of a distribution of an output's values; ``NOT_COUNTED`` where there is none."""
        if not self._recorder.fits(self._labels, output):
            return NOT_COUNTED
        return self._recorder.allocate(VALUES, (*self._labels, f"{kind}:{output}"), VALUE_CELLS)
