"""A worker whose counters are full says so: what is missing of its counts never looks like nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from services.controller.gateways.fleet import Report
from services.controller.gateways.wire import report_from
from services.core.route import Role
from services.gateway.control.messages import report_from as message_of
from services.gateway.metrics.comparisons import comparisons
from services.gateway.metrics.mirror_series import MirrorSeries
from services.gateway.metrics.recorder import MAX_PLAIN_SERIES, Recorder
from services.gateway.metrics.series import ATTEMPTS
from services.gateway.metrics.slab import SlabReader, SlabWriter, create_slab_file
from services.gateway.metrics.tallies import tallies
from services.gateway.mirroring.outcome import Outcome
from services.gateway.mirroring.result import OutputResult, PairResult

_USED = 1  # place in the header of a slab
_HEAD_CELLS = 3  # of a record whose key is short


class Counting:
    """One worker's recorder, its slab, and what it reports."""

    def __init__(self, folder: Path, size: int = 1 << 20) -> None:
        create_slab_file(folder / "slab", size)
        self.writer = SlabWriter(folder / "slab")
        self.reader = SlabReader(folder / "slab")
        self.recorder = Recorder(self.writer)

    def fill(self) -> None:
        """Leave no room."""
        cells = self.writer.cells
        assert self.writer.allocate(("x",), len(cells) - cells[_USED] - _HEAD_CELLS) is not None
        assert self.reader.room_used == 1.0

    def report(self) -> Report:
        """Return the report as the controller takes it."""
        found, copies = tallies(self.reader.records()), comparisons(self.reader.records())
        return report_from(message_of("worker-1", 1, 1, found, copies, without_room=self.recorder.without_room))


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    return Counting(tmp_path)


def pair() -> PairResult:
    return PairResult(False, False, True, True, (OutputResult("y", True, True, absolute=0.5),))


def test_where_answers_are_counted_there_is_room_for_failures_and_for_answers_that_are_not_finite(
    counting: Counting,
) -> None:
    series = counting.recorder.requests("rest", "m", 2, "candidate")
    answers = counting.recorder.answers("m", 2, "candidate")
    series.finish("ok", 0.01)
    counting.fill()
    for outcome in ("upstream_failure", "deadline_exceeded", "upstream_failure", "internal"):
        series.finish(outcome, 0.01)
    answers.count_non_finite()
    tally = counting.report().tallies["m", 2, Role.CANDIDATE]
    assert (tally.requests, tally.failed, tally.non_finite, tally.latency.total) == (5, 4, 1, 1)
    assert counting.recorder.without_room == set()


def test_where_pairs_are_counted_there_is_room_for_copies_without_an_answer(counting: Counting) -> None:
    series = MirrorSeries(counting.recorder, "m", 1, 2)
    series.compared(pair(), 0.01, 0.01)
    counting.fill()
    series.compared(pair(), 0.01, 0.01)
    series.ended(Outcome.FAILED)
    comparison = counting.report().comparisons["m", 1, 2]
    assert (comparison.pairs, comparison.failed) == (2, 1)
    assert counting.recorder.without_room == set()


def test_a_model_without_room_is_named_and_left_out_of_the_report_and_others_are_not(
    counting: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    known = counting.recorder.requests("rest", "m", 1, "stable")
    known.finish("ok", 0.01)
    half = counting.recorder.requests("grpc", "n", 1, "stable")
    half.finish("ok", 0.01)
    counting.fill()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            known.finish("ok", 0.01)
            half.finish("ok", 0.01)
            counting.recorder.requests("grpc", "n", 2, "candidate").finish("ok", 0.01)
    report = counting.report()
    assert report.without_room == {"n"}
    assert {key: tally.requests for key, tally in report.tallies.items()} == {("m", 1, Role.STABLE): 4}
    assert counting.reader.without_room == 1
    [line] = [record.getMessage() for record in caplog.records]
    assert "model 'n' version 2" in line


@pytest.mark.parametrize(
    "count",
    [
        lambda recorder: recorder.requests("rest", "m", 2, "candidate").finish("ok", 0.01),
        lambda recorder: recorder.requests("rest", "m", 2, "candidate").finish("internal", 0.01),
        lambda recorder: recorder.answers("m", 2, "candidate").count_non_finite(),
        lambda recorder: recorder.answers("m", 2, "candidate").count_class("scores", 1, 10),
        lambda recorder: recorder.answers("m", 2, "candidate").confidences.count("scores", 0.5),
        lambda recorder: recorder.answers("m", 2, "candidate").means.count_rows("price", [1.0]),
        lambda recorder: MirrorSeries(recorder, "m", 1, 2).compared(pair(), 0.01, 0.01),
        lambda recorder: MirrorSeries(recorder, "m", 1, 2).ended(Outcome.FAILED),
    ],
    ids=["answers", "failures", "not finite", "classes", "confidences", "means", "pairs", "copies"],
)
def test_whatever_has_no_room_and_is_evidence_is_told(counting: Counting, count: Callable[[Recorder], None]) -> None:
    counting.fill()
    count(counting.recorder)
    report = counting.report()
    assert report.without_room == {"m"}
    assert not report.tallies
    assert not report.comparisons


def test_what_is_no_evidence_may_have_no_room(counting: Counting) -> None:
    series = counting.recorder.requests("rest", "m", 1, "stable")
    series.finish("ok", 0.01)
    counting.fill()
    series.answered([0.0, 0.1, 0.2, 0.3, 0.4], 0.1)
    counting.recorder.requests("rest", "", None, "").finish("not_found", 0.01)
    counting.recorder.requests("rest", "m", None, "").finish("invalid_argument", 0.01)
    counting.recorder.add(ATTEMPTS, "10.0.0.1:8000", "m", "1", "ok")
    assert counting.recorder.without_room == set()


def test_replicas_that_come_and_go_take_no_place_from_what_became_of_copies(tmp_path: Path) -> None:
    counting = Counting(tmp_path, 4 << 20)
    for number in range(MAX_PLAIN_SERIES + 1):
        counting.recorder.add(ATTEMPTS, f"10.0.0.1:{number}", "m", "1", "ok")
    MirrorSeries(counting.recorder, "m", 1, 2).ended(Outcome.FAILED)
    assert counting.report().comparisons["m", 1, 2].failed == 1
