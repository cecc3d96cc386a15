"""Distributions of values on the wire and in documents."""

from typing import Any

import orjson
import pytest

from services.controller.gateways.values_wire import MAX_VALUES
from services.controller.gateways.wire import report_from
from services.controller.storage.documents import decode_rollout, encode_rollout, judged_document, judged_from
from services.controller.storage.values_document import values_document, values_from, values_view
from services.core.analysis.assessment import Terms, assess
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.report_bounds import MAX_NAME
from services.core.counts.tally import Tally
from services.core.counts.value_histogram import BIN_COUNT, ValueHistogram
from services.core.errors import InvalidRequest
from services.core.rollouts.evidence import Evidence, Seen
from services.core.rollouts.history import Judged
from services.core.rollouts.rollout import new_rollout
from services.core.rollouts.rollout_spec import AnalysisConfig, RolloutSpec
from services.core.route import Role
from services.gateway.control.messages import report_from as message_of
from services.pb.penstock.v1 import statistics_pb2

VALUES = {"confidence:scores": ValueHistogram({1650: 7, 1640: 3}, 16), "mean:price": ValueHistogram({0: 1}, 1)}
TALLY = Tally(10, 1, 1, LatencyHistogram({300: 9}, 0.5), {"scores": (5, 4)}, VALUES)


def test_a_report_is_read_as_it_was_written() -> None:
    report = report_from(message_of("worker-1", 1, 2, {("m", 3, "stable"): TALLY}, {}))
    assert report.tallies["m", 3, Role.STABLE] == TALLY


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"bin": [1, 2], "count": [1]}, "2 bins and 1 counts"),
        ({"bin": [1, 1], "count": [1, 1]}, "each once"),
        ({"bin": [BIN_COUNT], "count": [1]}, "indices from 0"),
        ({"bin": [1], "count": [2**60]}, "2\\^53"),
        ({"bin": [1], "count": [1], "squares": 2**60}, "2\\^53"),
    ],
)
def test_a_distribution_that_contradicts_itself_is_refused_with_words(row: dict[str, Any], words: str) -> None:
    values = statistics_pb2.ValueCounts(**{"what": "mean:price", **row})
    tally = statistics_pb2.Tally(model="m", version=1, role="stable", values=[values])
    with pytest.raises(InvalidRequest, match=words):
        report_from(statistics_pb2.StatisticsReport(instance="w", sequence=1, tallies=[tally]))


def test_unknown_kinds_long_names_and_too_many_distributions_are_left_out_and_the_others_count() -> None:
    known = [f"mean:y{number}" for number in range(MAX_VALUES + 1)]
    names = ["price", "mean:", "mean:" + "x" * (MAX_NAME + 1), *known]
    values = [statistics_pb2.ValueCounts(what=name, bin=[1], count=[2], squares=4) for name in names]
    tally = statistics_pb2.Tally(model="m", version=1, role="stable", requests=2, values=values)
    report = report_from(statistics_pb2.StatisticsReport(instance="w", sequence=1, tallies=[tally]))
    taken = report.tallies["m", 1, Role.STABLE]
    assert taken.requests == 2
    assert dict(taken.values) == {name: ValueHistogram({1: 2}, 4) for name in known[:MAX_VALUES]}


def test_documents_are_read_as_they_were_written_and_views_tell_quantiles() -> None:
    assert values_from(orjson.loads(orjson.dumps(values_document(VALUES)))) == VALUES
    view = values_view(VALUES)["confidence:scores"]
    assert (view["rows"], view["p5"] < view["p50"]) == (10, True)


def test_a_record_from_before_there_were_distributions_is_read_and_replays_to_the_same_verdict() -> None:
    config = AnalysisConfig(max_score_shift=None, max_non_finite_increase=None)
    terms = Terms(config, 50, 5, 3, final=False)
    old = Tally(TALLY.requests, 1, 1, TALLY.latency, TALLY.predictions)
    seen = Seen(old, old)
    document = judged_document(Judged(terms, seen, assess(terms, seen), 7))
    assert document is not None
    del document["terms"]["config"]["max_score_shift"], document["terms"]["config"]["max_non_finite_increase"]
    del document["stable_non_finite_before"]
    for side in ("stable", "candidate"):
        del document[side]["values"], document[side]["unanswered"]
    judged = judged_from(document)
    assert judged is not None
    assert judged.terms == terms
    assert judged.replayed() == judged.verdict


def test_a_rollout_that_was_stored_before_goes_on_without_asking_it() -> None:
    rollout = new_rollout(RolloutSpec("m", 2), 1, 10.0)
    document = orjson.loads(encode_rollout(rollout))
    assert document["spec"]["analysis"].pop("max_score_shift") == 0.2
    assert document["spec"]["analysis"].pop("max_non_finite_increase") == 0.01
    del document["evidence"]["stable_non_finite_before"]
    for side in ("stable", "candidate"):
        del document["evidence"][side]["values"], document["evidence"][side]["unanswered"]
    read = decode_rollout(orjson.dumps(document).decode())
    assert read.spec.analysis.max_score_shift is None
    assert read.spec.analysis.max_non_finite_increase is None
    assert read.evidence == Evidence()
