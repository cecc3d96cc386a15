"""Comparisons and mirrors arrive as they were sent, are stored as they are, and are refused beyond bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.gateways.comparison_wire import MAX_OUTPUTS, MAX_REPORTED_SLICES
from services.controller.gateways.fleet import Fleet, Report
from services.controller.gateways.wire import MAX_COMPARISONS, report_from, table_message
from services.controller.storage.comparison_document import comparison_document, comparison_from, comparison_view
from services.controller.storage.documents import decode_route, encode_route
from services.core.counts.comparison import Comparison, PairCounts
from services.core.counts.difference import BUCKET_COUNT
from services.core.counts.report_bounds import MAX_NAME
from services.core.errors import InvalidRequest
from services.core.mirror import Mirror
from services.core.route import Route, RouteTable
from services.gateway.control.messages import report_from as report_message
from services.gateway.control.messages import table_from
from services.pb.penstock.v1 import routes_pb2, statistics_pb2
from tests.fakes.clock import FakeClock
from tests.fakes.comparisons import comparisons, mirrors

VERSIONS = frozenset(range(1, 10))


@given(st.dictionaries(st.tuples(st.just("m"), st.integers(1, 3), st.integers(1, 3)), comparisons, max_size=4))
def test_a_workers_comparisons_arrive_as_they_are(sent: dict[tuple[str, int, int], Comparison]) -> None:
    wire = report_message("worker-1", 3, 7, {}, sent).SerializeToString()
    received = report_from(statistics_pb2.StatisticsReport.FromString(wire))
    assert received.comparisons == sent


@given(comparisons)
def test_a_stored_comparison_is_read_as_it_was_and_has_a_view(comparison: Comparison) -> None:
    assert comparison_from(comparison_document(comparison)) == comparison
    view = comparison_view(comparison)
    assert (view["pairs"], view["mirrored"]) == (comparison.pairs, comparison.mirrored)


@given(comparisons)
def test_a_comparison_that_was_stored_before_sides_were_told_apart_is_read_without_them(comparison: Comparison) -> None:
    document = comparison_document(comparison)
    for output in document["outputs"].values():
        del output["original_non_finite"], output["copy_non_finite"], output["both_non_finite"]
    read = comparison_from(document)
    for name, output in read.outputs.items():
        known = comparison.outputs[name]
        assert output == replace(known, original_non_finite=0, copy_non_finite=0, both_non_finite=0)


@given(mirrors)
def test_a_mirror_reaches_the_gateway_and_the_database_as_it_is(mirror: Mirror) -> None:
    table = RouteTable(4, {"m": Route("m", 1, versions=VERSIONS, mirror=mirror), "n": Route("n", 1)})
    wire = table_message(table).SerializeToString()
    assert table_from(routes_pb2.RouteTable.FromString(wire)) == table
    for route in table.routes.values():
        assert decode_route(encode_route(route)) == route


def test_a_route_that_was_stored_before_there_were_mirrors_has_none() -> None:
    text = '{"model": "m", "stable": 1, "candidate": null, "weight_percent": 0, "versions": [1]}'
    assert decode_route(text) == Route("m", 1, versions=frozenset({1}))


def message(**comparison: Any) -> statistics_pb2.StatisticsReport:
    defaults: dict[str, Any] = {"model": "m", "answered": 1, "mirrored": 2}
    entry = statistics_pb2.Comparison(**(defaults | comparison))
    return statistics_pb2.StatisticsReport(instance="worker-1", sequence=1, comparisons=[entry])


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        ({"model": ""}, "model has 0 characters"),
        ({"failed": 2**60}, "at most 2\\^53"),
        ({"all": statistics_pb2.PairCounts(pairs=1, differing=2)}, "no part to be more than its whole"),
        ({"all": statistics_pb2.PairCounts(pairs=1, ranked=1, agree=2)}, "no part"),
        (
            {"outputs": [statistics_pb2.OutputComparison(output="o", non_finite=1, copy_non_finite=2)]},
            "on one side alone",
        ),
        ({"outputs": [statistics_pb2.OutputComparison(output="o", both_non_finite=2**60)]}, "at most 2\\^53"),
        ({"copy": statistics_pb2.Histogram(bucket=[1, 1], count=[1, 1])}, "each once"),
        *(
            ({"outputs": [statistics_pb2.OutputComparison(output="o", cosine=histogram)]}, "histogram of differences")
            for histogram in (
                statistics_pb2.DifferenceHistogram(bucket=[1], count=[1, 2]),
                statistics_pb2.DifferenceHistogram(bucket=[1, 1], count=[1, 2]),
                statistics_pb2.DifferenceHistogram(bucket=[BUCKET_COUNT], count=[1]),
            )
        ),
    ],
)
def test_a_comparison_that_contradicts_itself_is_refused_with_words(comparison: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        report_from(message(**comparison))


def test_outputs_and_slices_beyond_a_bound_are_left_out_and_the_others_count() -> None:
    names = ["", "x" * (MAX_NAME + 1), *(f"o{number}" for number in range(300))]
    report = report_from(
        message(
            failed=3,
            outputs=[statistics_pb2.OutputComparison(output=name, pairs=1) for name in names],
            slices=[statistics_pb2.SliceComparison(slice=name) for name in names],
        )
    )
    comparison = report.comparisons["m", 1, 2]
    assert comparison.failed == 3
    assert list(comparison.outputs) == names[2 : 2 + MAX_OUTPUTS]
    assert list(comparison.slices) == names[2 : 2 + MAX_REPORTED_SLICES]


def test_comparisons_beyond_the_bound_are_left_out_and_one_twice_is_refused() -> None:
    entries = [statistics_pb2.Comparison(model="m", answered=1, mirrored=i) for i in range(MAX_COMPARISONS + 1)]
    report = report_from(statistics_pb2.StatisticsReport(instance="a", comparisons=entries))
    assert len(report.comparisons) == MAX_COMPARISONS
    assert report.without_room == {"m"}
    with pytest.raises(InvalidRequest, match="twice"):
        report_from(statistics_pb2.StatisticsReport(instance="a", comparisons=[entries[0], entries[0]]))


def test_copies_count_in_either_direction_and_those_of_one_version_are_the_floor() -> None:
    fleet = Fleet(FakeClock(), lambda: 5, stale_after_s=10.0)
    counted = {
        ("m", 1, 2): Comparison(PairCounts(10)),
        ("m", 2, 1): Comparison(PairCounts(200)),
        ("m", 1, 1): Comparison(PairCounts(3)),
        ("m", 2, 2): Comparison(PairCounts(4)),
        ("m", 1, 3): Comparison(PairCounts(999)),
        ("n", 1, 2): Comparison(PairCounts(999)),
    }
    fleet.report(Report("a", 1, 5, {}, counted))
    seen = fleet.sightings("m", 1, 2)["a"]
    assert (seen.comparison.pairs, seen.floor.pairs) == (210, 7)
