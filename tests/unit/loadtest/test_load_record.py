"""Counts belong to the intended send time; latency runs from there; every second of a run has a row."""

import json

import pytest

from loadtest.arrivals import Arrival
from loadtest.record import NOT_SENT, Answer, Failure, Record

RIGHT = Answer(version="1", role="stable", items=1, right=1)
WRONG = Answer(version="2", role="candidate", items=1, right=0)


def started(at_s: float, window_s: tuple[float, float]) -> Record:
    record = Record(window_s)
    record.start(at_s)
    return record


def test_latency_runs_from_the_intended_send_time() -> None:
    record = started(100.0, (0.0, 10.0))
    record.answer(Arrival(0, 101.0, overdue=True), 103.0, "rest", RIGHT)
    assert record.latency.quantile(0.5) == pytest.approx(2.0, rel=0.02)
    assert record.summary()["waited_for_a_connection"] == 1


def test_the_warm_up_is_in_the_timeline_and_in_nothing_else() -> None:
    record = started(100.0, (2.0, 4.0))
    record.answer(Arrival(0, 101.0), 101.5, "rest", RIGHT)
    record.fail(Arrival(1, 101.9), 102.5, Failure("HTTP 503", "busy"))
    record.late(101.0, 101.5)
    assert (record.offered, record.answered, record.failed, record.latency.total, record.lateness.total) == (0,) * 5
    assert [(row["answers"], row["failed"]) for row in record.timeline()] == [({}, 0), ({"1": 1}, 0), ({}, 1)]


def test_throughput_counts_the_answers_that_arrive_inside_the_window() -> None:
    record = started(100.0, (1.0, 2.0))
    record.answer(Arrival(0, 100.5), 101.5, "rest", RIGHT)  # of the warm-up, answered in the window
    record.answer(Arrival(1, 101.5), 102.5, "rest", RIGHT)  # of the window, answered after it
    assert record.answers_in_window == 1
    assert record.answered == 1


def test_answers_are_counted_by_version_role_and_second() -> None:
    record = started(0.0, (0.0, float("inf")))
    for number in range(4):
        record.answer(Arrival(number, number / 2), number / 2 + 0.1, "grpc", WRONG if number == 3 else RIGHT)
    summary = record.summary()
    assert summary["versions"] == {"1": 3, "2": 1}
    assert summary["roles"] == {"candidate": 1, "stable": 3}
    assert summary["wrong"] == 1
    assert record.timeline() == [
        {"second": 0, "answers": {"1": 2}, "failed": 0, "wrong": 0},
        {"second": 1, "answers": {"1": 1, "2": 1}, "failed": 0, "wrong": 1},
    ]


def test_failures_are_counted_by_kind_with_the_first_message_as_example() -> None:
    record = started(0.0, (0.0, 10.0))
    for number, message in enumerate(["first", "second"]):
        record.fail(Arrival(number, 1.0), 2.0, Failure("timeout", message))
    record.drop(Arrival(2, 1.5, overdue=True))
    summary = record.summary()
    assert summary["failures"] == {"timeout": 2, NOT_SENT: 1}
    assert summary["examples"]["timeout"] == "first"
    assert (summary["requests"], summary["failed"]) == (3, 3)


def test_quantiles_that_fall_on_unanswered_requests_are_null_and_the_summary_is_json() -> None:
    record = started(0.0, (0.0, 10.0))
    for number in range(90):
        record.answer(Arrival(number, 1.0), 1.01, "rest", RIGHT)
    for number in range(10):
        record.fail(Arrival(90 + number, 1.0), 2.0, Failure("timeout", ""))
    latency = json.loads(json.dumps(record.summary(), allow_nan=False))["latency_ms"]
    assert latency["p50"] == pytest.approx(10, rel=0.02)
    assert latency["p95"] is None
