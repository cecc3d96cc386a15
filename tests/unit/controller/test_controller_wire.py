import math
from typing import Any

import pytest

from services.controller.gateways.wire import MAX_CLASSES, MAX_TALLIES, report_from, table_message
from services.core.counts.histogram import BUCKET_COUNT
from services.core.counts.report_bounds import MAX_NAME, MAX_OUTPUTS
from services.core.errors import InvalidRequest
from services.core.route import Role, Route, RouteTable
from services.pb.penstock.v1 import statistics_pb2


def message(**tally: Any) -> statistics_pb2.StatisticsReport:
    defaults: dict[str, Any] = {"model": "digits", "version": 2, "role": "candidate", "requests": 5}
    return statistics_pb2.StatisticsReport(
        instance="worker-1", sequence=3, served_generation=7, tallies=[statistics_pb2.Tally(**(defaults | tally))]
    )


def test_a_report_is_read_with_every_count() -> None:
    report = report_from(
        message(
            failed=1,
            non_finite=2,
            unanswered=1,
            latency=statistics_pb2.Histogram(bucket=[3, 400], count=[1, 3], sum_s=0.5),
            predictions=[statistics_pb2.ClassCounts(output="scores", counts=[1, 0, 3])],
        )
    )
    assert (report.instance, report.sequence, report.served_generation) == ("worker-1", 3, 7)
    tally = report.tallies["digits", 2, Role.CANDIDATE]
    assert (tally.requests, tally.failed, tally.non_finite, tally.unanswered) == (5, 1, 2, 1)
    assert (tally.latency.counts, tally.latency.sum_s) == ({3: 1, 400: 3}, 0.5)
    assert tally.predictions == {"scores": (1, 0, 3)}


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        ({"role": "canary"}, "stable, candidate, pinned"),
        ({"model": ""}, "model has 0 characters"),
        ({"model": "m" * 300}, "model has 300 characters"),
        ({"requests": 2**63}, "2\\^53"),
        ({"latency": statistics_pb2.Histogram(bucket=[1, 2], count=[1])}, "2 buckets and 1 counts"),
        ({"latency": statistics_pb2.Histogram(bucket=[BUCKET_COUNT], count=[1])}, "indices from 0"),
        ({"latency": statistics_pb2.Histogram(bucket=[1, 1], count=[1, 1])}, "each once"),
        ({"latency": statistics_pb2.Histogram(sum_s=math.nan)}, "sum is nan"),
    ],
)
def test_a_report_that_makes_no_sense_is_refused_with_words(tally: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        report_from(message(**tally))


def test_outputs_beyond_a_bound_are_left_out_and_the_others_count() -> None:
    fitting = [f"o{number}" for number in range(MAX_OUTPUTS + 1)]
    predictions = [
        statistics_pb2.ClassCounts(output="", counts=[1]),
        statistics_pb2.ClassCounts(output="x" * (MAX_NAME + 1), counts=[1]),
        statistics_pb2.ClassCounts(output="vocabulary", counts=[1] * (MAX_CLASSES + 1)),
        *(statistics_pb2.ClassCounts(output=name, counts=[2]) for name in fitting),
    ]
    tally = report_from(message(predictions=predictions)).tallies["digits", 2, Role.CANDIDATE]
    assert tally.requests == 5
    assert tally.predictions == dict.fromkeys(fitting[:MAX_OUTPUTS], (2,))


def test_models_that_a_worker_has_no_room_to_count_are_named() -> None:
    report = report_from(statistics_pb2.StatisticsReport(instance="a", sequence=1, without_room=["digits"]))
    assert report.without_room == {"digits"}


def test_a_report_without_a_name_or_with_a_tally_twice_is_refused_and_tallies_beyond_the_bound_are_left_out() -> None:
    with pytest.raises(InvalidRequest, match="instance"):
        report_from(statistics_pb2.StatisticsReport())
    tallies = [statistics_pb2.Tally(model="m", version=index, role="stable") for index in range(MAX_TALLIES + 1)]
    tallies[0].model = "whole"
    report = report_from(statistics_pb2.StatisticsReport(instance="a", tallies=tallies, without_room=["full"]))
    assert len(report.tallies) == MAX_TALLIES
    assert report.without_room == {"full", "m"}  # what is left of them passes nothing
    with pytest.raises(InvalidRequest, match="twice"):
        report_from(statistics_pb2.StatisticsReport(instance="a", tallies=[tallies[0], tallies[0]]))


def test_a_table_is_sent_whole_and_none_is_zero() -> None:
    table = RouteTable(9, {"b": Route("b", 1, 2, 25, frozenset({2, 1})), "a": Route("a", 4, versions=frozenset({4}))})
    sent = table_message(table)
    assert sent.generation == 9
    assert [(r.model, r.stable, r.candidate, r.weight_percent, list(r.versions)) for r in sent.routes] == [
        ("a", 4, 0, 0, [4]),
        ("b", 1, 2, 25, [1, 2]),
    ]


def test_a_report_of_nothing_is_a_sign_of_life() -> None:
    report = report_from(statistics_pb2.StatisticsReport(instance="a", sequence=1))
    assert report.tallies == {}
